"""What the initial state of a litmus test says of the TD: each form is understood, what is nearly one is a mistake with its place."""

import re

import pytest

from harness.engines.explore import search
from harness.errors import UsageError
from harness.experiment import litmus, litmus_td


MISSPELT = {
    "pair = false;": "`pair`: no process, condition or `locations` names it; did you mean `pairs = true` or `pairs = false`?",
    "dynamic_pmat = true;": "did you mean `dynamic_pamt = true`", "modul = 1.5.24;": "did you mean `module = 1.5.24`?",
    "pairs = 0;": "`pairs = 0`: must be `pairs = true` or `pairs = false`", "page 3 = 5;": "must be `page 3 = FREE`",
    "start.pairs = false;": "`start.pairs = false`: must be `pairs = true`", "page3 = FREE;": "did you mean `page 3 = FREE`",
    "pages 3 = MAPPED;": "not understood in an initial state; did you mean `page 3 = FREE` or `page 0 level 1 = MAPPED`? Of the TD `page N = STATE`, `mod",
    "!!;": "`page N = STATE`, `module = RELEASE`, `pairs = false`, `listed vcpuN", "must_violate = no_halt;": "must be `must_violate = {no_halt}`",
    "large_pages = true;": "`large_pages`: a key of scenarios in TOML, not of a litmus test", "P1 interrupt P0;": "must be `P1 interrupts P0`",
    "int refcont = 1;": "did you mean `refcount`?", "z = 1; refcont = 1;": "did you mean `refcount`?",
    "pairs = false;": "start.pairs = false: only together with dynamic_pamt = true", "crossed = true;": "crossed = true: only together with",
}


@pytest.mark.parametrize("items", MISSPELT)
def test_what_is_nearly_a_word_of_the_initial_state_is_a_mistake(items):
    """As a shared word that nothing names it would leave another world than is meant, without a word about it."""
    with pytest.raises(UsageError) as mistake:
        litmus.parse(f"C t\n{{\n\t{items}\n}}\nP0(atomic_t *refcount) {{ int pairs, page; u64 err = tdh_mem_track(td); }}\nforall (true)\n", "t")
    assert str(mistake.value).startswith(f"t:3:{2 + items.find('refcont =') if items.startswith('z') else 2}: ") and MISSPELT[items] in str(mistake.value)


def test_a_word_that_nothing_names_is_allowed_where_it_is_near_nothing():
    """As herd7 has it; words that differ in a digit are two on purpose, one that is pointed to is named, a helper's too."""
    test = litmus.parse("C t\n{ z = 1; x1 = 1; x2 = 3; int listd; y = &fresh; fresh = 5; spinlock_t pair; }\n"
                        "static void f(void) { spin_lock(&pair); }\nP0(int *x1, int **y) { f(); }\nexists (x1=1)\n", "t")
    assert {each.name for each in test.variables} == {"z", "x1", "x2", "listd", "y", "fresh", "pair"}


def test_a_word_about_the_td_may_be_a_shared_word_by_its_type_or_as_a_parameter():
    test = litmus.parse("C t\n{ int pairs = 3; page = 4; }\nP0(int *page) { int r = *page; }\nlocations [pairs; page]\nforall (true)\n", "t")
    assert [ending.words for ending in search.run(test).endings] == [("4", "3")]


def test_true_and_null_are_values_and_no_words():
    found = search.run(litmus.parse("C t\n{ bool no = false; bool yes = true; int *p = NULL; }\nP0(bool *no) { }\nlocations [no; yes; p]\nforall (true)\n", "t"))
    assert [ending.words for ending in found.endings] == [("0", "0", "1")]


def test_the_form_of_each_word_about_the_td_is_understood():
    for key, forms in litmus_td.FORMS.items():
        for form in re.findall("`([^`]*)`", forms):
            assert form.startswith(key) and litmus_td.take({}, form, 0)
