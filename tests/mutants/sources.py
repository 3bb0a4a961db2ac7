"""Mutants of source text: one operator, constant, condition or statement of a file changed; the tests run in a copy.

Made from the syntax tree, so that they go on applying when a file changes; what is changed is named by its function
and its text, not by its line.  The copy of the tree has no caches: what was compiled from other text is not used.
A change with which a file cannot be imported is called so: no test has seen it, but nobody could miss it.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Iterable, Iterator, NamedTuple

from tests.leash import end_with
from tests.mutants.running import KILLED, SURVIVED, UNIMPORTED, UNMADE

ROOT = Path(__file__).parent.parent.parent
CACHES = shutil.ignore_patterns("__pycache__", "*.egg-info", ".pytest_cache", ".hypothesis")


def left_behind(folder: str, names: list[str]) -> set[str]:
    """What a copy of the tree does without: caches, and at the top what was installed, measured and committed."""
    top = {".git", ".venv", "results"} if Path(folder) == ROOT else set()
    return CACHES(folder, names) | top & set(names)


class Target(NamedTuple):
    """A file, the tests that are asked about its mutants, and functions of it that are left alone."""

    file: str
    tests: tuple[str, ...]
    but: tuple[str, ...] = ()


CALLS = ("tests/protocol/test_orders.py", "tests/protocol/test_seamcalls.py", "tests/protocol/test_interleavings.py")
TARGETS = (
    Target("kernels/locks.py", ("tests/kernels/test_locks.py", *CALLS), but=("apply",)),
    Target("kernels/epoch.py", ("tests/kernels/test_epoch.py", *CALLS)),
    Target("kernels/stepping.py", ("tests/kernels/test_stepping.py", "tests/protocol/test_interleavings.py")),
    Target("kernels/rwlock.py", ("tests/kernels/test_rwlock.py", "tests/protocol/test_flows.py", "tests/protocol/test_policies.py")),
    Target("harness/results/inference.py", ("tests/results/test_inference.py", "tests/results/test_comparison.py")),
    Target("harness/results/trust.py", ("tests/results/test_trust.py",)),
    Target("harness/results/changes.py", ("tests/results/test_changes.py",)),
    Target("harness/results/histogram.py", ("tests/results/test_histogram.py",)),
)

COMPARISONS = {ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"), ast.Eq: ("==", "!="),
               ast.NotEq: ("!=", "=="), ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"), ast.Is: ("is", "is not"),
               ast.IsNot: ("is not", "is")}
ARITHMETIC = {ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "+"), ast.Div: ("/", "*"), ast.FloorDiv: ("//", "*"),
              ast.Mod: ("%", "*"), ast.LShift: ("<<", ">>"), ast.RShift: (">>", "<<"), ast.BitAnd: ("&", "|"),
              ast.BitOr: ("|", "&"), ast.Pow: ("**", "*")}


class SourceMutant(NamedTuple):
    """`old` at [start, end) of a file's text becomes `new`."""

    target: Target
    function: str
    start: int
    end: int
    said: str
    new: str

    @property
    def name(self) -> str:
        return f"sources {self.target.file} {self.function}: {self.said}"


def mutants() -> Iterator[SourceMutant]:
    for target in TARGETS:
        text = (ROOT / target.file).read_text()
        names: dict[str, int] = {}
        for function, start, end, new in _changes(text):
            if function.split(".")[-1] in target.but:
                continue
            said = f"{_around(text, start, end)} -> {' '.join(new.split()) or 'nothing'}"
            names[f"{function}: {said}"] = count = names.get(f"{function}: {said}", 0) + 1
            yield SourceMutant(target, function, start, end, said + (f" ({count})" if count > 1 else ""), new)


def _around(text: str, start: int, end: int) -> str:
    """What is changed, with a little of its line."""
    line = text[text.rfind("\n", 0, start) + 1:(text + "\n").find("\n", end)]
    return f"`{' '.join(text[start:end].split())}` in `{' '.join(line.split())[:90]}`"


def _changes(text: str):
    """(function, start, end, new text) for every change."""
    lines = [0]
    for line in text.splitlines(keepends=True):
        lines.append(lines[-1] + len(line.encode()))
    raw = text.encode()
    assert len(raw) == len(text), "columns are counted in bytes"

    def at(node) -> tuple[int, int]:
        return lines[node.lineno - 1] + node.col_offset, lines[node.end_lineno - 1] + node.end_col_offset

    def operator(left, right, old):
        start, end = at(left)[1], at(right)[0]
        found = re.search(rf"(?<![\w<>=!*/]){re.escape(old)}(?![\w<>=*/])", text[start:end])
        return (start + found.start(), start + found.end()) if found else None

    def visit(node, function):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            function = f"{function}.{node.name}" if function else node.name
            for child in node.body:
                yield from visit(child, function)
            return
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) or isinstance(node, ast.Import | ast.ImportFrom | ast.Assert):
            return
        inside = bool(function)
        if inside and isinstance(node, ast.Assign | ast.AugAssign | ast.Expr | ast.Raise):
            yield function, *at(node), "pass"
        if isinstance(node, ast.If | ast.While | ast.IfExp):
            for new in ("True", "False") if not isinstance(node, ast.While) else ("False",):
                yield function, *at(node.test), new
        if isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
            for left, right, kind in zip(operands, operands[1:], node.ops):
                old, new = COMPARISONS[type(kind)]
                if place := operator(left, right, old):
                    yield function, *place, new
        if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            old, new = ARITHMETIC[type(node.op)]
            if place := operator(node.left, node.right, old):
                yield function, *place, new
        if isinstance(node, ast.BoolOp):
            old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
            for left, right in zip(node.values, node.values[1:]):
                if place := operator(left, right, old):
                    yield function, *place, new
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield function, *at(node), text[slice(*at(node.operand))]
        if isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
            new = repr(not node.value) if isinstance(node.value, bool) else repr(node.value * 2 or 1) \
                if isinstance(node.value, float) else repr(node.value + 1)
            yield function, *at(node), new
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "type_comment"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from visit(child, function)

    yield from visit(ast.parse(text), "")


# --- running ---

# What pytest answers where no test has begun: pytest.ExitCode.INTERRUPTED with -x, and USAGE_ERROR of a conftest.
NOT_BEGUN = (2, 4)


def judge(mutant: SourceMutant) -> tuple[str, str]:
    """(verdict, by whom), in a copy of the tree with the change."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        place = copy(Path(folder)) / mutant.target.file
        text = place.read_text()
        place.write_text(text[:mutant.start] + mutant.new + text[mutant.end:])
        code, said = ask(Path(folder), "-x", *mutant.target.tests)
    failed = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR", "E  "))]
    by = failed[-1] if failed else f"pytest ended with {code}"
    if code in NOT_BEGUN:
        return UNIMPORTED, by
    return {0: (SURVIVED, "")}.get(code, (KILLED, by) if code == 1 or code < 0 else (UNMADE, by))


def refused(folder: Path, targets: Iterable[Target]) -> str:
    """Why the tests of some targets cannot be collected in the tree as it is; "" if they can."""
    tests = sorted({test for target in targets for test in target.tests})
    code, said = ask(copy(folder), "--collect-only", *tests)
    return "" if code == 0 else f"the tests cannot be collected without a change either: {said.strip().splitlines()[-1]}"


def copy(folder: Path) -> Path:
    """A copy of the tree, without caches: none that knows a changed file by its time is right."""
    shutil.copytree(ROOT, folder, ignore=left_behind, dirs_exist_ok=True)
    return folder


def ask(folder: Path, *arguments: str) -> tuple[int, str]:
    """How pytest ends in a tree, and what it says."""
    parent = os.getpid()
    asked = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments], cwd=folder,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=lambda: end_with(parent),
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"})
    return asked.returncode, asked.stdout
