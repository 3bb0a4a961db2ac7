"""What `run` takes for a config: standard input beside files."""

import io

from harness.experiment import config_file, shipped
from tests.command_line import command


def given(monkeypatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_a_dash_is_a_config_on_standard_input(monkeypatch):
    given(monkeypatch, 'policy = "retry16"\nduration_s = 0.25\n')
    assert shipped.paths(["-"]) == ["-"]
    config = config_file.load("-", ["seed=7"])
    assert (config.name, config.policy.name, config.duration_s, config.seed) == ("stdin", "retry16", 0.25, 7)


def test_a_mistake_on_standard_input_is_one_line_that_says_so(monkeypatch, capsys):
    for text, says in (("policy = 3\n", "standard input: policy = 3: must be"), ("x\n", "standard input: not TOML"),
                       ("# " + "x" * (1 << 20), "standard input: is longer than 1 MiB")):
        given(monkeypatch, text)
        code, out, err = command(capsys, "run", "-")
        assert code == 2 and not out and err.startswith(says) and err.count("\n") == 1, err


def test_a_folder_of_litmus_tests_is_run_as_such(capsys, tmp_path):
    (tmp_path / "a.litmus").write_text("no test")
    code, _, err = command(capsys, "run", str(tmp_path), "--repeats", "2")
    assert code == 2 and "not of C litmus tests" in err
