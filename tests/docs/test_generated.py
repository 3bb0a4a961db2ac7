"""docs/commands.md, columns.md and exit_codes.md are of the parser and the tables as they are now."""

import re

import pytest

from harness import errors, stops
from harness.__main__ import COMMANDS, JUDGE, parser
from harness.reports import columns, exit_codes
from harness.results.metrics import METRICS
from tests.docs import commands
from tests.docs.pages import ROOT


@pytest.mark.parametrize("made", [columns, exit_codes], ids=lambda made: made.PAGE.stem)
def test_a_page_is_as_the_tables_are_now(made):
    assert (ROOT / made.PAGE).read_text() == made.page(), "make docs"


def test_commands_are_as_the_parser_is_now():
    assert commands.PAGE.read_text() == commands.page(), "make docs"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_line_that_says_something(name):
    section = commands.page().partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    for option in re.findall(r"--[a-z-]+", parser(name)._subparsers._group_actions[0].choices[name].format_usage()):
        assert re.search(rf"^\| `[^`]*{option}\b[^`]*` \| \w.{{8,}} \|$", section, re.MULTILINE), option


def test_every_number_has_a_line():
    for metric in METRICS:
        assert f"| `{metric.key}` | {metric.name} |" in columns.page()


def test_every_exit_code_has_a_meaning():
    codes = {value for name, value in vars(errors).items() if name.isupper() and isinstance(value, int)} - {errors.LENGTH, errors.WORD}
    assert codes == {*errors.MEANINGS, errors.INTERRUPTED} and set(errors.GRAVITY) <= codes
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", exit_codes.page(), re.MULTILINE)}
    assert listed == {*codes, *(128 + number for number in stops.SIGNALS)}


def test_the_page_of_exit_codes_names_the_commands_that_judge():
    named = re.search(r"commands that judge \((.*?)\)", exit_codes.page())[1]
    assert set(re.findall(r"`(.*?)`", named)) == set(JUDGE)
