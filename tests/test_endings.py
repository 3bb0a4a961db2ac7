"""How the program ends: printing never decides, a fault of its own has a code of its own, each request to stop its own."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness import __main__ as program, stops
from harness.errors import NOT_PRINTED, READER_GONE, UNEXPECTED

ROOT = Path(__file__).parent.parent
LIST = [sys.executable, "-m", "harness", "seamcalls"]
SIMULATED = [sys.executable, "-m", "harness", "run", "configs/kick_vcpus.toml", "--set", "engine=simulate",
             "--set", "duration_s=0.002", "--set", "warmup_s=0"]


def end(command, **streams) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, **streams)


def closed_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("stream, list_code, said", [
    (closed_pipe, READER_GONE, ""), (lambda: os.open("/dev/full", os.O_WRONLY), NOT_PRINTED, "No space left on device")],
    ids=["no reader", "full"])
def test_what_cannot_be_printed_never_decides(stream, list_code, said):
    ended = end(LIST, stdout=stream())
    assert ended.returncode == list_code and said in ended.stderr and "Traceback" not in ended.stderr
    ended = end([*LIST[:3], "run", "--help"], stdout=stream())           # nothing has been judged yet
    assert ended.returncode == list_code and said in ended.stderr


@pytest.mark.parametrize("stream", [lambda: os.open("/dev/full", os.O_WRONLY), pytest.param(closed_pipe, marks=pytest.mark.slow)],
                         ids=["full", "no reader"])
def test_a_run_that_cannot_be_printed_is_kept_and_ends_as_it_came_out(tmp_path, stream):
    ended = end([*SIMULATED, "--out", str(tmp_path)], stdout=stream())
    assert ended.returncode == 0 and "Traceback" not in ended.stderr
    assert [path.name for path in tmp_path.glob("*/*.json")] == ["result.json"]


def test_closed_streams_take_no_file_of_ours(tmp_path):
    ended = subprocess.run(f"{' '.join(SIMULATED)} --out {tmp_path} >&- 2>&- <&-", cwd=ROOT, shell=True)
    [result] = tmp_path.glob("*/result.json")
    assert ended.returncode == 0 and result.read_text().startswith("{")


def test_a_fault_of_the_program_is_one_line_with_a_code_of_its_own(monkeypatch, capsys):
    monkeypatch.setitem(program.COMMANDS, "seamcalls", "x")
    monkeypatch.setattr("harness.commands.seamcalls.do", lambda options: {}["\x1b[2J\n" * 900])
    assert program.main(["seamcalls"]) == UNEXPECTED
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("a fault of this program: KeyError: ") and len(line) <= 300 and "\x1b" not in line
    kept = Path(line.rpartition(" ")[2])
    assert "Traceback" in kept.read_text()
    kept.unlink()


@pytest.mark.parametrize("number", stops.SIGNALS)
def test_a_request_is_noted_while_something_is_to_be_kept_and_raised_once_behind_it(number):
    kept, inherited = [], signal.signal(number, signal.SIG_DFL)         # under nohup, HUP is ignored and stays so
    with stops.listen(), pytest.raises(KeyboardInterrupt):
        with stops.noted():
            signal.raise_signal(number)
            signal.raise_signal(signal.SIGINT)
            kept.append(stops.asked())
    signal.signal(number, inherited)
    assert kept == [True] and stops.exit_code(0) == 128 + number


def test_the_first_request_is_raised_at_once_where_nothing_is_to_be_kept_and_the_next_ones_never():
    with stops.listen():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert stops.exit_code(0) == 143


def test_the_program_hears_the_same_requests_before_and_behind_its_imports():
    assert program.EARLY == stops.SIGNALS and set(program.JUDGE) <= set(program.COMMANDS)


def test_an_engine_in_another_thread_installs_no_handlers():
    before, failed = [signal.getsignal(number) for number in stops.SIGNALS], []

    def work():
        try:
            with stops.noted():
                failed.append([signal.getsignal(number) for number in stops.SIGNALS] != before)
        except BaseException as problem:
            failed.append(problem)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failed == [False]


LOADING = """
import os, signal, sys
sys.argv = ["harness", "policies"]
from harness import __main__ as program
def do(given):
    %s
program._do = do
program.run()
"""


@pytest.mark.parametrize("number, what", [
    # In the text of a namedtuple, which Python executes: it would end by SIGINT, whatever came.
    (15, "exec('import os; os.kill(os.getpid(), {number})')"),
    # pydantic makes an error of its own out of it, of which only the text says what it was.
    (2, "from pydantic_core import SchemaError\n"
        "    try: os.kill(os.getpid(), {number}); [None for _ in range(1000)]\n"
        "    except KeyboardInterrupt: pass\n"
        "    raise SchemaError('Error building `literal` serializer:  KeyboardInterrupt: ')"),
])
def test_a_stop_while_modules_are_loaded_has_its_own_code_and_no_word(tmp_path, number, what):
    (tmp_path / "loading.py").write_text(LOADING % what.format(number=number))
    ended = end([sys.executable, "-m", "loading"], env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert (ended.returncode, ended.stderr) == (128 + number, "")


@pytest.mark.parametrize("when, code", [
    # While the program is loaded: the module signal would be found through enum.
    ("class Finder:\n"
    "    def find_spec(name, path, target=None):\n"
    "        if name == 'enum': os.kill(os.getpid(), 2)\n"
    "sys.meta_path.insert(0, Finder)\n"
    "import runpy; runpy.run_module('harness', run_name='__main__')", 130),
    # While its handlers are set.
    ("from harness import __main__ as program; import signal\n"
    "def set(number, handler, real=signal.signal):\n"
    "    before = real(number, handler); os.kill(os.getpid(), 2); return before\n"
    "signal.signal = set; program.run()", 130),
    # Behind the end of the command: all is done.
    ("from harness import __main__ as program\n"
    "def ignore(real=program.stops.ignore): program.stops.ignore = real; os.kill(os.getpid(), 2); real()\n"
    "program.stops.ignore = ignore; program.run()", 0),
])
def test_a_stop_while_the_program_gets_ready_or_has_ended_has_its_own_code_and_no_word(tmp_path, when, code):
    (tmp_path / "loading.py").write_text(f"import os, sys\nsys.argv = ['harness', 'policies']\n{when}")
    ended = end([sys.executable, "-m", "loading"], stdout=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert (ended.returncode, ended.stderr) == (code, "")


def test_a_request_where_exceptions_are_ignored_is_raised_again(capsys):
    """As in a callback of the compiler, or where an object is deleted."""
    class Deleted:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)
            for _ in range(100):
                pass
    with stops.listen(), pytest.raises(KeyboardInterrupt):
        Deleted()
        for _ in range(1000):
            time.sleep(0.01)
        pytest.fail("the request is lost")
    assert stops.exit_code(0) == 143 and capsys.readouterr().err == ""


def test_a_request_that_is_raised_again_is_not_raised_where_it_would_be_lost_again(monkeypatch, capsys):
    """A busy machine: the thread that sends it runs long before the one that starts it goes on; and a second Ctrl-C comes."""
    start = threading.Thread.start

    def slow_start(thread):
        start(thread)
        signal.raise_signal(signal.SIGINT)
        time.sleep(0.05)
        for _ in range(100):
            pass
    monkeypatch.setattr(threading.Thread, "start", slow_start)
    test_a_request_where_exceptions_are_ignored_is_raised_again(capsys)


def test_what_else_is_ignored_is_still_said(capsys):
    class Deleted:
        def __del__(self):
            raise KeyError("odd")
    with stops.listen():
        Deleted()
    assert "KeyError: 'odd'" in capsys.readouterr().err


def test_a_fault_behind_a_request_that_was_only_noted_is_a_fault(monkeypatch, capsys):
    def do(given):
        with stops.noted():
            signal.raise_signal(signal.SIGTERM)
            raise KeyError("x")
    monkeypatch.setattr(program, "_do", do)
    assert program.main(["policies"]) == UNEXPECTED
    Path(capsys.readouterr().err.split()[-1]).unlink()
