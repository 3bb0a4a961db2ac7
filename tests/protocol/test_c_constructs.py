"""C means here what C means: a case for each construct, atomic, lock and assertion, held against hand-written values and the compiler."""

import re
import shutil
import subprocess

import pytest

from harness.engines.explore import search
from harness.experiment import litmus
from harness.protocol.litmus.functions import PRIMITIVES
from tests.protocol.constructs import CASES, HELPERS, KERNEL, WORDS


def ours(statements: str, count: int) -> tuple[int, ...]:
    """The values of a, b, c of a process alone."""
    parameters = ", ".join(f"{of.removesuffix(' [4]')} {'' if of.endswith(']') else '*'}{name}{'[4]' * of.endswith(']')}" for name, of in WORDS.items())
    names = [f"0:{name}" for name in "abc"[:count]]
    text = f"C t\n{{ }}\n{HELPERS}\nP0({parameters})\n{{ {statements} }}\nlocations [{'; '.join(names)}]\nforall (true)\n"
    found = search.run(litmus.parse(text, "t"))
    may = {"quiet_locks"} if "lock" in statements else set()             # one that was got may be held at the end
    assert set(found.violations) <= may and [ending.kind for ending in found.endings] == ["done"]
    return tuple(int(word) for word in found.endings[0].words)


@pytest.mark.parametrize("statements, values", CASES)
def test_each_construct_and_function_does_what_it_does_in_c(statements, values):
    assert ours(statements, len(values)) == values


def test_the_compiler_has_the_same_values(tmp_path):
    """The table itself, in one program that cc builds."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no cc on this machine")
    words = "".join(f"static {of.removesuffix(' [4]')} word_{name}{'[4]' * of.endswith(']')};\n" for name, of in WORDS.items())
    lines = [f'#include "{KERNEL}"', HELPERS, words]
    for number, (statements, values) in enumerate(CASES):
        bound = "".join(f"{of.removesuffix(' [4]')} *{name} = {'' if of.endswith(']') else '&'}word_{name}; (void){name};"
                        f" __builtin_memset({name}, 0, sizeof(word_{name}));" for name, of in WORDS.items())
        shown = ", ".join(f"(long){name}" for name in "abc"[:len(values)])
        lines.append(f"static void case_{number}(void) {{ {bound} {{ {statements} printf(\"{'%ld ' * len(values)}\\n\", {shown}); }} }}")
    lines.append("int main(void) {" + "".join(f"case_{number}();" for number in range(len(CASES))) + "}")
    source = tmp_path / "cases.c"
    source.write_text("\n".join(lines))
    subprocess.run([compiler, "-std=gnu11", "-O0", "-w", "-o", tmp_path / "cases", source], check=True)
    printed = subprocess.run([tmp_path / "cases"], check=True, capture_output=True, text=True).stdout.splitlines()
    assert [tuple(map(int, line.split())) for line in printed] == [values for _, values in CASES]


def same(write) -> tuple:
    """What a function of the table writes: two names with the same of this are one function."""
    cells = [cell.cell_contents for cell in write.__closure__ or ()]
    return write.__code__, *(same(cell) if hasattr(cell, "__code__") else repr(cell) for cell in cells)


def test_no_function_is_without_a_case():
    """But hints, of which both answers are tried (tests/experiment/test_litmus.py)."""
    used = set(re.findall(r"\w+", " ".join(statements for statements, _ in CASES) + HELPERS))
    tried = {same(PRIMITIVES[name].write) for name in PRIMITIVES if name in used}
    assert {name for name in PRIMITIVES if same(PRIMITIVES[name].write) not in tried} == {
        "need_resched", "spin_needbreak", "rwlock_needbreak", "cond_resched_lock", "cond_resched_rwlock_read", "cond_resched_rwlock_write"}
