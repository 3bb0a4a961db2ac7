"""Arguments that several commands take, and their refusals."""

import os

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
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UsageError, match=f"^--history {tmp_path}/new: {tmp_path} cannot be written"):
        arguments.check_folder("--history", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_policies_are_all_some_or_none():
    assert arguments.policies(None) == []
    assert arguments.policies("all") == [policy.name for policy in POLICIES]
    assert arguments.policies("retry16,kick_vcpus") == ["retry16", "kick_vcpus"]
    with pytest.raises(UsageError, match="'retry17' is not a policy; known: all, .*; did you mean retry16?"):
        arguments.policies("retry17")
