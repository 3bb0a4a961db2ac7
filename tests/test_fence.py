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
from harness.__main__ import COMMANDS

ROOT = Path(__file__).parent.parent
EVERYBODYS = {"errors", "files", "stops", "printing"}
SOURCES = sorted([*ROOT.glob("kernels/*.py"), *ROOT.glob("harness/**/*.py")])


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    """Of a file's syntax tree; the file itself is the first."""
    return list(ast.walk(ast.parse(path.read_text())))


@functools.cache
def imported(path: Path) -> set[str]:
    names = set()
    for node in nodes(path):
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


def test_llvmlite_is_known_in_two_places():
    assert importers("llvmlite") == {"kernels/instructions.py", "kernels/plain_calls.py"}


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


PRINTING = {"print", "sys.stdout", "sys.stderr", "sys.exit", "exit", "quit", "SystemExit", "input"}     # (os._exit ends a worker)


def test_only_commands_print_and_exit():
    for path in SOURCES:
        room = path.relative_to(ROOT).parts[:2]
        if room in (("harness", "commands"), ("harness", "__main__.py"), ("harness", "printing.py")):
            continue
        used = {ast.unparse(node) for node in nodes(path) if isinstance(node, ast.Name) and node.id in PRINTING
                or isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys"} & PRINTING
        assert not used, f"{path.relative_to(ROOT)} uses {sorted(used)}"


def test_only_commands_answer_ctrl_c_and_engines_keep_what_they_have():
    for path in SOURCES:
        room = path.relative_to(ROOT).parts[:2]
        caught = {name.id for node in nodes(path) if isinstance(node, ast.ExceptHandler)
                  for name in ast.walk(node.type or ast.Name("BaseException")) if isinstance(name, ast.Name)}
        if caught & {"KeyboardInterrupt", "BaseException"}:
            assert room[1:] in (("commands",), ("__main__.py",), ("engines",)), path


def test_each_command_is_a_file_with_its_arguments_and_what_it_does_and_no_other_file_is():
    commands = set()
    for path in (ROOT / "harness/commands").glob("*.py"):
        functions = {node.name for node in nodes(path)[0].body if isinstance(node, ast.FunctionDef)}
        assert len(functions & {"add", "do"}) != 1, path
        commands |= {path.stem} if "do" in functions else set()
    assert commands == {name.replace("-", "_") for name in COMMANDS}


def test_below_a_command_there_are_values_in_place_of_parsed_arguments():
    for path in (ROOT / "harness").glob("**/*.py"):
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef) and node.name != "do" and "commands" in path.parts:
                assert "options" not in {argument.arg for argument in node.args.args}, (path, node.name)
        assert "argparse" not in imported(path) or path.name == "__main__.py", path


def test_a_command_knows_no_engine_but_those_that_it_is_about():
    allowed = {file: engines.split(", ") for files, engines in re.findall(
        r"^    ([\w., ]+) => ([\w, ]+)$", harness.__doc__, re.MULTILINE) for file in files.split(", ")}
    for path in (ROOT / "harness/commands").glob("*.py"):
        used = {name for name in imported(path) if name.startswith("harness.engines") or name == "harness.engines"}
        mine = allowed.pop(path.name, [])
        rooms = ["harness.engines" if engine == "any" else f"harness.engines.{engine}" for engine in mine]
        for room in rooms:
            found = {name for name in used if name == room or name.startswith(room + ".")}
            assert found, f"{path.name} uses nothing of {room}"
            used -= found
        assert not used, f"{path.name} uses {sorted(used)}"
    assert not allowed


def test_engines_do_not_know_one_another():
    engines = {path.parent.name for path in ROOT.glob("harness/engines/*/__init__.py")}
    for engine in engines:
        users = {path for path in importers(f"harness.engines.{engine}") if path.startswith("harness/engines/")}
        assert all(path.startswith(f"harness/engines/{engine}/") for path in users), users


PURE = {"all", "any", "at", "int", "isinstance", "len", "signed"}


def test_no_work_stands_in_an_assert():
    """`python -O` leaves asserts out: what a function does must not depend on one.  (Tables check themselves as they load.)"""
    for path in SOURCES:
        tables = {id(node) for node in nodes(path)[0].body}
        for check in (node for node in nodes(path) if isinstance(node, ast.Assert) and id(node) not in tables):
            within = list(ast.walk(check.test))
            called = {ast.unparse(node.func).rpartition(".")[2] for node in within if isinstance(node, ast.Call)}
            assert called <= PURE and not any(isinstance(node, ast.NamedExpr) for node in within), \
                f"{path.relative_to(ROOT)}:{check.lineno}: {called}"


def test_few_modules_stand_outside_the_rooms():
    assert len({path.stem for path in ROOT.glob("harness/*.py")} - {"__init__", "__main__"}) <= 4


@pytest.mark.parametrize("package", [kernels, *(importlib.import_module(str(path.parent.relative_to(ROOT)).replace("/", "."))
                                                for path in sorted(ROOT.glob("harness/**/*/__init__.py")))],
                         ids=lambda package: package.__name__)
def test_the_tour_of_a_package_names_its_modules(package):
    folder = Path(package.__file__).parent
    there = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    assert set(re.findall(r"^    (\w+)(?:\.py|/) ", package.__doc__, re.MULTILINE)) == there - {"__init__"}


WITHOUT_NUMBA = [["--help"], [], ["policies"], ["decode", "0", "EBUSY", "TDX_OPERAND_BUSY|RCX"], ["decode", "--list"], ["seamcalls"],
                 ["contention"], ["schema"], ["configs"], ["explore", "--list", "configs/explore/fault_zap.toml"],
                 ["decode", "tdh_mem_page_remove 0x8000020000000092"], ["decode", "TDX_OPERAND_BUSY", "--module", "1.5.25"],
                 *([name, "--help"] for name in ("run", "sweep", "nightly", "compare", "report", "decode"))]


def test_what_executes_no_row_imports_no_numba():
    code = ("import sys\n"
            "from harness.__main__ import main\n"
            "for words in %r:\n"
            "    try: main(words)\n"
            "    except SystemExit: pass\n"
            "    print(words, 'numba' in sys.modules, file=sys.stderr)" % WITHOUT_NUMBA)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    said = [line for line in result.stderr.splitlines() if line.startswith("[")]
    assert said == [f"{words} False" for words in WITHOUT_NUMBA]


def test_every_compiled_function_uses_the_one_decorator():
    for path in SOURCES:
        if path.name in ("numba_side.py", "locks.py"):
            continue
        assert "njit(" not in path.read_text() and "@jit" not in path.read_text(), path
