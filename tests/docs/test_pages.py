"""README and docs/: every page is linked, every link leads somewhere, every command can be parsed."""

import glob
import importlib
import importlib.util
import re
import tempfile
import tomllib

import pytest

from harness.__main__ import COMMANDS, parser
from harness.experiment import config_file, litmus
from tests.docs.pages import BARE, BLOCK, PAGES, PROMPT, ROOT, anchors, blocks, links

README = PAGES[0]
MAKEFILE = (ROOT / "Makefile").read_text()


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


COMMANDS_SHOWN = [(block.page, command) for block in blocks() for command in block.commands]


@pytest.mark.parametrize("page, command", COMMANDS_SHOWN, ids=lambda value: getattr(value, "words", value)[:50])
def test_every_command_can_be_parsed_and_its_configs_exist(page, command):
    name = command.arguments[0]
    assert name in COMMANDS
    parser(name).parse_args(command.arguments)
    for argument in command.arguments[1:]:
        if argument.startswith("configs/"):
            names = re.sub(r"\{(.*?)\}(.*)", lambda match: match[1].partition(",")[0] + match[2], argument)
            assert glob.glob(str(ROOT / names)), argument


def test_there_are_commands_and_samples():
    assert len(COMMANDS_SHOWN) > 50 and sum(bool(command.printed) for _, command in COMMANDS_SHOWN) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_fenced_block_is_held_by_something(page):
    """By test_samples.py, as a config or a litmus test here, or by the test or the target that its comment names."""
    for block in BLOCK.finditer(page.read_text()):
        said = block["how"] or ""
        if said.startswith("no,"):
            named = re.search(r"tests/[\w/.]+|make \w[\w-]*", said)
            assert named, (said, "names no test and no target")
            assert (ROOT / named[0]).exists() or re.search(rf"^{named[0].removeprefix('make ')}:", MAKEFILE, re.MULTILINE), said
        elif block["language"] == "toml":
            _check_toml(block["text"])
        elif block["language"] == "c":
            litmus.parse(block["text"], page.name)
        elif block["language"] == "python":
            compile(block["text"], page.name, "exec")
        else:
            lines = block["text"].splitlines()
            made = [re.match(r"make ([\w-]+)", line) for line in lines]
            assert lines[0].startswith((BARE, PROMPT)) or all(
                found and re.search(rf"^{found[1]}:", MAKEFILE, re.MULTILINE) for found in made), (page.name, lines[0])


def _check_toml(text: str) -> None:
    """As a config, or as the part of one."""
    table = tomllib.loads(text)
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(text if "policy" in table else f'policy = "kick_on_busy"\n{text}')
        file.flush()
        config_file.load(file.name)


def test_other_programs_of_ours_that_the_pages_name_exist():
    for page in PAGES:
        for name in re.findall(r"python -m (tests[\w.]*)", page.read_text()):
            assert importlib.util.find_spec(f"{name}.__main__") or importlib.util.find_spec(name), (page.name, name)
        for name in re.findall(r"`make ([\w-]+)`", page.read_text()):
            assert re.search(rf"^{name}:", MAKEFILE, re.MULTILINE), (page.name, name)
        for name in re.findall(r"help\('([\w.]+)'\)", page.read_text()):
            assert importlib.import_module(name).__doc__, name
