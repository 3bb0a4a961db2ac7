"""Arguments that several commands take, and their refusals."""

import os
from pathlib import Path

import pytest

from harness.commands import arguments
from harness.errors import UsageError
from harness.protocol.policies import POLICIES


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
    for path, says in ((tmp_path, "is a folder; must be a file"), (tmp_path / "no" / "x.svg", f"{tmp_path}/no is no folder; must be"),
                       (Path("/proc/x.svg"), "/proc cannot be written")):
        with pytest.raises(UsageError, match=f"^--picture {path}: {says}"):
            arguments.check_file("--picture", path)
    assert not list(tmp_path.iterdir())


def test_policies_are_all_some_or_none():
    assert arguments.policies(None) == []
    assert arguments.policies("all") == [policy.name for policy in POLICIES]
    assert arguments.policies("retry16,kick_vcpus") == ["retry16", "kick_vcpus"]
    with pytest.raises(UsageError, match="'retry17' is not a policy; known: all, .*; did you mean retry16?"):
        arguments.policies("retry17")
