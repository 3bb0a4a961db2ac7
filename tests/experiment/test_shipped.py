"""Which files the words of a command line mean."""

import os

import pytest

from harness.commands.configs import question
from harness.errors import UsageError
from harness.experiment import shipped


@pytest.fixture
def empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(words):
    return [os.path.relpath(path, shipped.folder()) for path in shipped.paths(words)]


def test_a_name_a_path_and_a_pattern_find_what_is_shipped_from_anywhere(empty):
    assert names(["kick_vcpus"]) == names(["configs/kick_vcpus.toml"]) == names(["kick_vcpus.toml"]) == ["kick_vcpus.toml"]
    assert names(["explore/pairs"]) == names(["pairs"]) == ["explore/pairs.toml"]
    assert names(["guests/accept_zap"]) == names(["guests/accept_zap.toml"]) == ["explore/guests/accept_zap.toml"]
    assert names(["classic/SB"]) == names(["classic/SB.litmus"]) == ["litmus/classic/SB.litmus"]
    assert names(["SB"]) if (shipped.folder() / "litmus/SB.litmus").exists() else True
    assert names(["configs/broken/*.toml"]) == sorted(f"broken/{path.name}" for path in (shipped.folder() / "broken").glob("*.toml"))


def test_what_lies_here_comes_first(empty):
    (empty / "kick_vcpus").write_text("")
    assert shipped.paths(["kick_vcpus"]) == ["kick_vcpus"]
    (empty / "some").mkdir()
    for name in ("b.toml", "a.toml", "notes.txt"):
        (empty / "some" / name).write_text("")
    assert shipped.paths(["some"]) == shipped.paths(["some/*"]) == ["some/a.toml", "some/b.toml"]


@pytest.mark.parametrize("word, said", [
    ("kick_vcpu", "kick_vcpu: no such file, and no shipped config or scenario is called so; did you mean kick_vcpus?"),
    ("kikc", "kikc: no such file, and no shipped config or scenario is called so"),
    ("mirror_race", "mirror_race: several shipped files are called so: broken/mirror_race, explore/mirror_race"),
    ("nothing/*.toml", "nothing/*.toml: no file is like that, here or among those that are shipped"),
    (".", ".: a folder without *.toml and *.litmus"),
])
def test_what_can_not_be_meant_is_one_line(empty, word, said):
    with pytest.raises(UsageError) as refused:
        shipped.paths([word])
    assert str(refused.value) == said


def test_every_shipped_file_begins_with_its_question():
    for path in shipped.all_files():
        assert len(question(path.read_text(encoding="utf-8"))) > 8, path
