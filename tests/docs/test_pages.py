"""README and docs/: every page is linked, every link leads somewhere, every command can be parsed."""

import glob
import re

import pytest

from harness.__main__ import COMMANDS, parser
from tests.docs.pages import BLOCK, PAGES, ROOT, anchors, commands, links, samples

README = PAGES[0]


def test_the_readme_is_a_door_and_not_a_house():
    assert len(README.read_text().splitlines()) <= 150


def test_the_readme_leads_to_every_page():
    assert {f"docs/{page.name}" for page in PAGES[1:]} <= {link.partition("#")[0] for link in links(README)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_begins_with_its_title_and_no_sample_is_too_wide():
    for page in PAGES:
        assert page.read_text().startswith("# "), page
        for block in BLOCK.finditer(page.read_text()):
            for line in block["text"].splitlines():
                assert len(line) <= 140, (page, line)


@pytest.mark.parametrize("page, arguments", commands(), ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else value)
def test_every_command_can_be_parsed_and_its_configs_exist(page, arguments):
    command = arguments[0]
    assert command in COMMANDS
    parser(command).parse_args(arguments)
    for argument in arguments[1:]:
        if argument.startswith("configs/"):
            names = re.sub(r"\{(.*?)\}(.*)", lambda match: match[1].partition(",")[0] + match[2], argument)
            assert glob.glob(str(ROOT / names)), argument


def test_samples_say_how_they_are_compared():
    assert len(samples()) >= 12 and {sample.how for sample in samples()} <= {"lines", "shape", "no"}
