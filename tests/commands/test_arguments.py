"""Arguments that several commands take, and their refusals."""

import contextlib
import os
import resource
from pathlib import Path

import pytest

from harness.commands import arguments, doctor
from harness.errors import UsageError
from harness.protocol.policies import POLICIES
from tests.command_line import command
from tests.made import made


@pytest.mark.parametrize("value, least, most, says", [
    (0, 1, 9, "--n 0: must be at least 1 and at most 9"), (10, 1, 9, "--n 10: must be at least 1 and at most 9"),
    (0, 1, None, "--n 0: must be at least 1"), (None, 1, 9, ""), (9, 1, 9, ""), (10**9, 1, None, ""),
])
def test_a_number_out_of_its_range_is_refused_with_the_range(value, least, most, says):
    if not says:
        arguments.check_range("--n", value, least, most)
        return
    with pytest.raises(UsageError) as caught:
        arguments.check_range("--n", value, least, most)
    assert str(caught.value) == says


def test_a_folder_that_cannot_be_made_or_written_is_refused(tmp_path, monkeypatch):
    arguments.check_folder("--out", tmp_path / "new" / "deep")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=f"^--out {tmp_path}/file/deep: {tmp_path}/file is a file; must be a folder$"):
        arguments.check_folder("--out", tmp_path / "file" / "deep")
    for place, says in (("/proc/nowhere", "/proc cannot be written: No such file or directory; must be"),
                        (tmp_path / "new" / ("x" * 300), f"{tmp_path} cannot be written: File name too long; must be")):
        with pytest.raises(UsageError, match=f"^--out .*: {says}"):
            arguments.check_folder("--out", Path(place))

    def full(*_, **__):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "mkdir", full)
    with pytest.raises(UsageError, match=f"^--history {tmp_path}/new: {tmp_path} cannot be written: No space left on device"):
        arguments.check_folder("--history", tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_cannot_be_written_is_refused(tmp_path):
    arguments.check_file("--picture", tmp_path / "x.svg")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UsageError, match="loop: Too many levels of symbolic links; must be"):
        arguments.check_file("--picture", tmp_path / "loop")
    (tmp_path / "loop").unlink()
    for path, says in ((tmp_path, "is a folder; must be a file"), (tmp_path / "no" / "x.svg", f"{tmp_path}/no is no folder; must be"),
                       (Path("/proc/x.svg"), "/proc cannot be written"), (tmp_path / f"{'x' * 300}.svg", "File name too long; must be")):
        with pytest.raises(UsageError, match=f"^--picture .*{path.name[-40:]}: {says}"):
            arguments.check_file("--picture", path)
    assert not list(tmp_path.iterdir())


@contextlib.contextmanager
def full_disk():
    """No file can grow.  No fixture: pytest itself may print to a file, as soon as a test's function has returned."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("words, option", [
    (("run", "configs/kick_vcpus.toml", "--out"), "--out"), (("nightly", "configs/nightly", "--history"), "--history"),
    (("explore", "accept_block", "--html"), "--html"), (("configs", "explore/accept", "--copy"), "--copy"),
])
def test_a_disk_that_is_full_is_said_before_anything_is_done_and_nothing_is_left_there(capsys, tmp_path, words, option):
    with full_disk():
        code, out, err = command(capsys, *words, tmp_path / "x")
    assert code == 2 and not out and err.count("\n") == 1
    assert err.startswith(f"{option} {tmp_path}/x: ") and "File too large" in err          # a full disk by another name
    assert not [path for path in tmp_path.rglob("*") if not path.is_dir()]


LONG = "9" * 5_000


@pytest.mark.parametrize("given, says", [
    (("run", LONG), ": no such file, and no shipped config"), (("explore", f"x/{LONG}"), "File name too long"),
    (("run", "**x"), "**x: Invalid pattern"), (("run", "/*x"), "/*x: Non-relative patterns are unsupported; must be"),
    (("configs", "--copy", LONG), ": File name too long"), (("nightly", LONG), ": File name too long"),
    (("import-trace", "README.md", "--out", "/proc/nowhere"), "--out /proc/nowhere: /proc cannot be written"),
    (("import-trace", "no-such-trace", "--out", "/dev/null"), "--out /dev/null: /dev/null is a file; must be a folder"),
    (("sweep", "scale/published", "--picture", f"{LONG}.svg"), ": File name too long; must be"),
    (("run", "kick_vcpus", "--out", ""), "argument --out: is empty; must be given a value"), (("run", "kick_vcpus", "--out="), "--out: is empty"),
    (("configs", "--copy", ""), "argument --copy: is empty"), (("explore", "accept_block", "--html", ""), "argument --html: is empty"),
    (("run", "litmus/classic/SB.litmus", "--out", "/proc/nowhere"), "--out: not of C litmus tests"),
    (("report", "RESULT", "--out", "/proc/x"), "--out /proc/x: /proc cannot be written"),
    (("report", "RESULT", "--plots", "/proc/nowhere"), "--plots /proc/nowhere: /proc cannot be written"),
    (("histograms", "RESULT", "--hdr", "/proc/x"), "--hdr /proc/x: /proc cannot be written"),
    (("seamcalls", "--module", "configs/kick_vcpus.toml"), "--module configs/kick_vcpus.toml: names no module; must have module ="),
    (("doctor", "--calibrate", LONG), ": File name too long; must be"), (("doctor", "--calibrate", "/tmp"), "/tmp: is a folder"),
])
def test_a_path_that_the_system_refuses_is_a_mistake_and_refused_before_anything_is_done(given, says, capsys, monkeypatch):
    for name in ("harness.commands.running.measure", "harness.commands.calibrate.Calibrator", "harness.traces.gathered.Gathered.line"):
        monkeypatch.setattr(name, lambda *_: pytest.fail("something is done"))
    monkeypatch.setattr("harness.results.store.read", lambda path: made())
    code, out, err = command(capsys, *given)
    assert (code, out, err.count("\n")) == (2, "", 1) and says in err and len(err) <= 301


def test_a_file_that_is_calibrated_is_not_there_before_it_is_measured(tmp_path, monkeypatch):
    def stop():
        raise KeyboardInterrupt
    monkeypatch.setattr("harness.commands.calibrate.Calibrator", stop)
    with pytest.raises(KeyboardInterrupt):
        doctor.write_costs(str(tmp_path / "costs.toml"))
    assert not list(tmp_path.iterdir())


def test_policies_are_all_some_or_none():
    assert arguments.policies(None) == []
    assert arguments.policies("all") == [policy.name for policy in POLICIES]
    assert arguments.policies("retry16,kick_vcpus") == ["retry16", "kick_vcpus"]
    with pytest.raises(UsageError, match="'retry17' is not a policy; did you mean retry16\\? known: all, "):
        arguments.policies("retry17")
