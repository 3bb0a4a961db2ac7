"""Who may import whom, and what must not be imported at all."""

import ast
import functools
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import harness
import kernels

ROOT = Path(__file__).parent.parent
EVERYBODYS = {"errors", "files"}
SOURCES = sorted([*ROOT.glob("kernels/*.py"), *ROOT.glob("harness/**/*.py")])


@functools.cache
def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def importers(prefix: str) -> set[str]:
    return {str(path.relative_to(ROOT)) for path in SOURCES
            if any(name == prefix or name.startswith(prefix + ".") for name in imported(path))}


def test_kernels_know_nothing_of_the_harness():
    assert not {path for path in importers("harness") if path.startswith("kernels/")}


def test_kernels_know_no_process_file_or_clock_of_python():
    for module in ("multiprocessing", "subprocess", "threading", "datetime", "signal"):
        assert not {path for path in importers(module) if path.startswith("kernels/")}


def test_llvmlite_is_known_in_one_place():
    assert importers("llvmlite") == {"kernels/atomics.py"}


def test_numba_is_known_to_kernels_only():
    assert {path.split("/")[0] for path in importers("numba")} == {"kernels"}


def drawn() -> dict[str, set[str]]:
    """The arrows of harness/__init__.py, and where they lead to in turn: {room: rooms it may use}."""
    arrows: dict[str, set[str]] = {}
    for user, used in re.findall(r"^    (\w+) -> ([\w, ]+)$", harness.__doc__, re.MULTILINE):
        arrows.setdefault(user, set()).update(used.split(", "))
    def behind(room: str) -> set[str]:
        return {room}.union(*(behind(other) for other in arrows.get(room, ())))
    return {room: behind(room) - {room} for room in arrows}


def rooms_used(path: Path) -> set[str]:
    """The rooms of the harness that a file imports from."""
    return {parts[1] for parts in (name.split(".") for name in imported(path)) if parts[0] == "harness" and len(parts) > 1}


def test_each_room_uses_only_what_the_drawing_allows():
    allowed = drawn()
    for path in ROOT.glob("harness/**/*.py"):
        room = path.relative_to(ROOT / "harness").parts[0].removesuffix(".py")
        if room in allowed:
            used = rooms_used(path) - {room, *EVERYBODYS}
            assert used <= allowed[room], f"{path.relative_to(ROOT)} uses {sorted(used - allowed[room])}"
        else:
            assert room in {*EVERYBODYS, "__init__"} and rooms_used(path) <= EVERYBODYS, path


def test_engines_do_not_know_one_another():
    engines = {path.parent.name for path in ROOT.glob("harness/engines/*/__init__.py")}
    for engine in engines:
        users = {path for path in importers(f"harness.engines.{engine}") if path.startswith("harness/engines/")}
        assert all(path.startswith(f"harness/engines/{engine}/") for path in users), users


def test_few_modules_stand_outside_the_rooms():
    assert len({path.stem for path in ROOT.glob("harness/*.py")} - {"__init__", "__main__"}) <= 4


@pytest.mark.parametrize("package", [kernels, *(importlib.import_module(str(path.parent.relative_to(ROOT)).replace("/", "."))
                                                for path in sorted(ROOT.glob("harness/**/*/__init__.py")))],
                         ids=lambda package: package.__name__)
def test_the_tour_of_a_package_names_its_modules(package):
    folder = Path(package.__file__).parent
    there = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    assert set(re.findall(r"^    (\w+)(?:\.py|/) ", package.__doc__, re.MULTILINE)) == there - {"__init__"}


@pytest.mark.parametrize("arguments", [["--help"], [], ["run", "--help"], ["policies"]])
def test_help_does_not_import_numba(arguments):
    code = ("import sys; sys.argv = ['harness', *%r]\n"
            "from harness.__main__ import main\n"
            "try: main(sys.argv[1:])\n"
            "except SystemExit: pass\n"
            "print('numba' in sys.modules, file=sys.stderr)" % arguments)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.stderr.splitlines()[-1] == "False"


def test_every_compiled_function_uses_the_one_decorator():
    for path in SOURCES:
        if path.name in ("compiling.py", "locks.py"):
            continue
        assert "njit(" not in path.read_text() and "@jit" not in path.read_text(), path
