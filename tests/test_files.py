"""Files: written whole or not at all; what is wrong with one that is read is said in one line."""

import pytest

from harness.errors import ResultError, UsageError
from harness.files import read_json, read_toml


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
