"""Files: written whole or not at all; what is wrong with one that is read is said in one line."""

import os

import pytest

from harness.errors import ResultError, UsageError
from harness.files import read_json, read_toml, reason, write_file
from harness.results import history, store
from tests.fuzz.readers import NIGHT
from tests.made import made


@pytest.mark.parametrize("content, says", [
    (None, r"no such file; did you mean .*there\.toml\?"), (b"\xff\xfe", "cannot be read: .*codec"), (b"a = ", "not TOML: ")])
def test_every_toml_file_that_cannot_be_read_is_refused_in_the_same_words(tmp_path, content, says):
    """Configs, scenarios and files of costs all come this way."""
    (tmp_path / "there.toml").write_text("a = 1")
    path = tmp_path / "ther.toml"
    if content is not None:
        path.write_bytes(content)
    for named in ("", "machine.costs = 'x'"):
        with pytest.raises(UsageError, match=f"^{named or path}: {says}") as caught:
            read_toml(path, named)
        assert "\n" not in str(caught.value)
    assert read_toml(tmp_path / "there.toml") == {"a": 1}


@pytest.mark.parametrize("content, says", [
    (None, "no such file$"), (b"\xff", "cannot be read"), (b'{"a": ', r"not JSON \(damaged or cut off\)")])
def test_a_json_file_that_cannot_be_read_is_a_mistake_in_a_result(tmp_path, content, says):
    path = tmp_path / "result.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ResultError, match=says):
        read_json(path)


def full(*_):
    raise OSError(28, "No space left on device")


def test_what_cannot_be_written_leaves_nothing_and_takes_nothing_away(tmp_path, monkeypatch):
    """An empty folder that was there before is its owner's."""
    (tmp_path / "mine").mkdir()
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_file("text", tmp_path / "mine" / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"] and not list((tmp_path / "mine").iterdir())
    with pytest.raises(OSError, match="No space left"):
        store.write(made(), tmp_path / "mine")
    assert not list((tmp_path / "mine").iterdir()), "the folder of the result was made for it"


def test_a_link_stays_and_what_is_no_file_is_written_to_and_not_replaced(tmp_path):
    """A page to /dev/stdout as root must not take the machine its /dev/stdout."""
    (tmp_path / "link").symlink_to(tmp_path / "there")
    write_file("text", tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there").read_text() == "text"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        write_file("text", tmp_path / "loop")
    (tmp_path / "loop").unlink()             # it is still there
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device") as caught:       # nobody reads: not waited for
        write_file("text", tmp_path / "pipe")
    assert caught.value.filename == str(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError) as caught:
        write_file("text", tmp_path / "none" / "x")
    assert caught.value.filename == str(tmp_path / "none/x")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_file("text", tmp_path / "pipe")
    assert os.read(reader, 10) == b"text" and (tmp_path / "pipe").is_fifo()
    os.close(reader)
    if os.geteuid() == 0 or os.access("/dev", os.W_OK):
        (tmp_path / "null").symlink_to("/dev/null")
        write_file("text", tmp_path / "null")
        assert not os.path.isfile("/dev/null")
    assert {path.name for path in tmp_path.iterdir()} <= {"link", "there", "pipe", "null"}


def test_results_of_the_same_second_have_folders_of_their_own(tmp_path):
    assert len({store.write(made(), tmp_path) for _ in range(3)}) == 3


def test_a_history_on_a_full_disk_says_so(tmp_path, monkeypatch):
    night = history.Night.model_validate(NIGHT)
    series = history.Series(night.series, tmp_path / "x.jsonl", [], [])
    monkeypatch.setattr("os.write", lambda handle, raw, write=os.write: write(handle, raw[:7]) if len(raw) > 50 else full())
    with pytest.raises(OSError, match="No space left"):
        history.append(series, night)
    monkeypatch.undo()
    history.append(series, night)
    nights, problems = history.read(series.path)
    assert nights == [night] and len(problems) == 1


@pytest.mark.parametrize("problem, says", [(OSError(28, "No space left on device"), "No space left on device"),
                                           (OSError("odd"), "odd"), (OSError(), "OSError")])
def test_the_reason_of_an_error_is_never_none(problem, says):
    assert reason(problem) == says
