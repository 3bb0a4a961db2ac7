"""Who may use whom: harness/__init__.py draws the layers, this test holds them."""

import ast
import re
from pathlib import Path

import pytest

import harness
import harness.engines
import harness.protocol
import kernels

ROOT = Path(harness.__file__).parent
SMALL_CHANGE = {"errors", "machine", "only_one", "progress"}


def layers() -> list[str]:
    """The tour's lines, from the lowest up."""
    return re.findall(r"^    (\w+)(?:\.py|/) ", harness.__doc__, re.MULTILINE)


def imports(path: Path, package: str) -> set[str]:
    """The modules of `package` that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            if parts[0] == package:
                found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith(f"{package}.")}
    return found


def layer_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def test_the_tour_names_every_module():
    named = {*layers(), *SMALL_CHANGE, "__init__"}
    assert {layer_of(path) for path in ROOT.rglob("*.py")} == named


@pytest.mark.parametrize("package", [harness.protocol, harness.engines, kernels], ids=lambda each: each.__name__)
def test_the_tour_of_a_package_names_its_modules(package):
    folder = Path(package.__file__).parent
    there = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    assert set(re.findall(r"^    (\w+)(?:\.py|/) ", package.__doc__, re.MULTILINE)) == there - {"__init__"}


def test_each_layer_uses_only_what_stands_above_it_in_the_tour():
    order = layers()
    for path in ROOT.rglob("*.py"):
        layer = layer_of(path)
        if layer == "__init__":
            continue
        used = imports(path, "harness") - {layer}
        allowed = SMALL_CHANGE - {layer} | set(order[:order.index(layer)] if layer in order else ())
        assert used <= allowed, f"{path.name} uses {sorted(used - allowed)}"


def test_kernels_know_nothing_of_the_harness():
    for path in (ROOT.parent / "kernels").glob("*.py"):
        assert not imports(path, "harness"), path
