"""Who may import whom, and what must not be imported at all."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
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


def test_engines_do_not_know_one_another():
    engines = [path.stem for path in ROOT.glob("harness/engines/*.py")]
    for engine in ("processes", "simulate", "explore", "turns"):
        if engine in engines:
            users = {path for path in importers(f"harness.engines.{engine}")}
            assert not {path for path in users if path.startswith("harness/engines/")}, users


def test_reports_know_no_engine():
    for name in ("report", "results", "compare", "statistics", "history", "changes", "exports", "nightly", "page"):
        assert not any(other.startswith("harness.engines") for other in imported(ROOT / f"harness/{name}.py"))


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
