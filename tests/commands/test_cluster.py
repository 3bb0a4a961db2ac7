"""`--cluster`: who gets which task, what becomes of the task of a worker that dies, who is refused; at last with real workers."""

import contextlib
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from harness.commands import cluster, jobs, nightly, run, task
from harness.commands.cluster import CORE, MACHINE, Dispatch, Named, usable
from harness.errors import UsageError
from harness.results import history
from tests.command_line import ROOT, command
from tests.commands.test_nightly import theatre  # noqa: F401

SOURCE = "0123456789ab, numba 0.68.1"


def test_each_worker_gets_a_task_and_no_more_where_others_could_do_it():
    dispatch = Dispatch(3)
    assert dispatch.give(["a", "b"]) == [("a", 0), ("b", 1)] and dispatch.give(["a", "b"]) == []
    dispatch.came("b", 1)
    assert dispatch.give(["a", "b"]) == [("b", 2)] and dispatch.left == 2


def test_while_many_wait_a_worker_has_the_next_one_before_it_has_ended_one():
    dispatch = Dispatch(6)
    assert dispatch.give(["a", "b"]) == [("a", 0), ("b", 1), ("a", 2), ("b", 3)]
    dispatch.came("a", 0)
    assert dispatch.give(["a", "b"]) == [] and dispatch.running == {"a": [2], "b": [1, 3]} and dispatch.left == 5


def test_what_a_worker_died_of_is_run_elsewhere_and_given_up_the_second_time():
    dispatch = Dispatch(2)
    dispatch.give(["a", "b"])
    assert dispatch.lost("a") == 0 and not dispatch.died("a", 0)
    assert dispatch.give(["a", "b"]) == []                   # not where it killed a process; b is at work
    dispatch.came("b", 1)
    assert dispatch.give(["a", "b"]) == [("b", 0)]
    assert dispatch.lost("b") == 0 and dispatch.died("b", 0) and not dispatch.left


def test_what_stood_behind_the_task_that_a_worker_died_of_is_not_blamed():
    dispatch = Dispatch(4)
    assert dispatch.give(["a"]) == [("a", 0), ("a", 1)]
    assert dispatch.lost("a") == 0 and not dispatch.died("a", 0)
    assert list(dispatch.waiting) == [1, 2, 3, 0] and dispatch.deaths == {0: ["a"]} and not dispatch.running


def test_a_task_that_is_pinned_goes_nowhere_else():
    dispatch = Dispatch(2, ["a", "b"])
    assert dispatch.give(["b"]) == [("b", 1)] and dispatch.give(["b", "a"]) == [("a", 0)]
    assert dispatch.died("a", 0)


def test_other_sources_other_programs_and_a_second_measurement_on_a_host_are_refused():
    found = {"tcp://1": str(Named(CORE, "x", 1, SOURCE)), "tcp://2": str(Named(CORE, "x", 2, "another")), "tcp://3": "tcp://3",
             "tcp://4": str(Named(MACHINE, "x", 4, SOURCE)), "tcp://5": str(Named(MACHINE, "x", 5, SOURCE))}
    good, refused = usable(found, CORE, SOURCE)
    assert good == ["tcp://1"] and set(refused) == {"tcp://2", "tcp://3"} and "has source another" in refused["tcp://2"]
    good, refused = usable(found, MACHINE, SOURCE)
    assert good == ["tcp://4"] and "measures on x already" in refused["tcp://5"]


@pytest.mark.parametrize("words, says", [
    (("tcp://10.0.0.1:8786", None, False), "whoever reaches it can run anything"),
    (("tls://10.0.0.1:8786", None, False), "tls:// is with --tls DIR"),
    (("127.0.0.1", None, False), "must be tcp://HOST:PORT"),
    (("tls://127.0.0.1:1", "/nowhere", False), "has no ca.pem"),
    ((None, None, True), "--insecure: only together with --cluster")])
def test_an_address_that_would_be_open_to_others_is_refused(words, says):
    with pytest.raises(UsageError) as caught:
        cluster.address(*words)
    assert says in str(caught.value)


def test_loopback_needs_nothing():
    assert cluster.address("127.0.0.1:8786", None, False).url == cluster.DEFAULT
    assert cluster.address(None, None, False) is None


class Workers:
    """In place of dask's side: what each task does, by place; `dies` takes its worker along."""

    source, in_parts = SOURCE, False

    def __init__(self, names, does):
        self.alive, self.does, self.waiting, self.began = list(names), does, [], []
        self.parts = []

    def look(self):
        return list(self.alive)

    def begin(self, worker, place, work):
        self.began.append((worker, place))
        if worker not in self.alive:
            return
        if self.does[place] == "dies":
            self.alive.remove(worker)
        else:
            self.waiting.append((worker, place, place))

    def next(self):
        if self.waiting and isinstance(self.does[self.waiting[0][1]], list) and self.parts:
            worker, place, _ = self.waiting[0]
            return worker, place, pickle.dumps(self.parts.pop(0))
        return self.waiting.pop(0) if self.waiting else None

    def answer(self, place):
        return task.Answer(task.VALUE, pickle.dumps(self.does[place]), 0.0, 1.0, 1.0)

    def forget(self, worker):
        self.waiting = [each for each in self.waiting if each[0] != worker]


def test_results_come_but_of_a_task_that_kills_which_is_given_up_and_named(capsys):
    workers = Workers("abc", ["dies", "x", "y", "z"])
    found = dict(cluster._results(workers, [b"0", b"1", b"2", b"3"], ["the killer", "1", "2", "3"]))
    assert {place: found[place] for place in (1, 2, 3)} == {1: "x", 2: "y", 3: "z"}
    assert isinstance(found[0], jobs.Failure) and "given up: its worker died, the second time (on a, " in found[0].why
    assert "the killer: its worker died (a); it is run again elsewhere" in capsys.readouterr().err


def session_of(two, found, monkeypatch):
    """What `run --cluster` makes of what comes of a session of two runs."""
    session = SimpleNamespace(runs=two, configs=[SimpleNamespace(name="c")])
    monkeypatch.setattr(run.sessions, "real", lambda session: True)
    monkeypatch.setattr(run.jobs, "results", lambda *_, **__: iter([(0, each) for each in found]))
    return list(run.elsewhere(session, {}, jobs.Where(cluster="x")))


def test_each_result_of_a_session_comes_when_it_is_there_and_once(monkeypatch):
    two = [run.sessions.Run(block, 0, 0, 1) for block in (0, 1)]
    one, other, new_one, new_other = (two[0], "0"), (two[1], "1"), (two[0], "0 again"), (two[1], "1 again")
    part, again = jobs.Part, jobs.Part(again=True)
    assert session_of(two, [part(one), part(other), [one, other]], monkeypatch) == [one, other]
    assert session_of(two, [part(one), [one, other]], monkeypatch) == [one, other]       # a part that was lost on its way
    assert session_of(two, [part(one), again, part(new_one), [new_one, new_other]], monkeypatch) == [one, new_one, new_other]
    assert session_of(two, [part(one), again, [new_one, new_other]], monkeypatch) == [one, new_one, new_other]


def test_the_parts_of_a_task_come_before_its_end_and_a_death_says_that_it_begins_again(capsys):
    workers = Workers("a", [["x", "y"]])
    workers.in_parts, workers.parts = True, ["x", "y"]
    assert list(cluster._results(workers, [b"0"], ["it"])) == [(0, jobs.Part("x")), (0, jobs.Part("y")), (0, ["x", "y"])]
    workers = Workers("ab", ["dies"])
    workers.in_parts = True
    found = [each for _, each in cluster._results(workers, [b"0"], ["it"])]
    assert found[0] == jobs.Part(again=True) and isinstance(found[1], jobs.Failure)


def test_a_task_that_is_a_generator_says_each_thing_when_it_comes():
    """Also while it is still at work: here it is ended once the first has been heard."""
    heard, code = [], "iter([1, 2, 3])"
    found = task.compute(task.packed(eval, (code,), jobs.source()), lambda: True, lambda content: heard.append(pickle.loads(content)))
    assert heard == [1, 2, 3] == pickle.loads(found.content) and found.kind == task.VALUE
    heard.clear()
    assert task.compute(task.packed(eval, ("(lambda: (yield 1) or __import__('time').sleep(600))()",), jobs.source()), lambda: not heard,
                        heard.append).kind == task.STOPPED and len(heard) == 1


def test_time_beside_the_work_is_counted_between_two_tasks_of_a_worker():
    spans = {"a": [task.Answer("", "", 0.0, 1.0, 0.9), task.Answer("", "", 1.001, 2.0, 0.995)], "b": [task.Answer("", "", 0, 5, 4)]}
    assert [round(each) for each in cluster.beside_ms(spans)] == [5]


def test_a_task_is_a_process_whose_words_do_not_disturb_its_answer():
    def answer(code, wanted=lambda: True, source=jobs.source()):
        return task.compute(task.packed(eval, (code,), source), wanted)
    found = answer("print('noise') or 6 * 7")
    assert found.kind == task.VALUE and pickle.loads(found.content) == 42 and found.work_s <= found.ended - found.began
    assert answer("__import__('time').sleep(600)", wanted=lambda: False).kind == task.STOPPED and not task.running
    assert answer("1", source="another").content.endswith("wanted is another")


def test_one_history_per_machine_and_one_summary(theatre, monkeypatch, tmp_path):  # noqa: F811
    stage = theatre()
    monkeypatch.setattr("harness.commands.running.keep", lambda result, out, **_: _keep(result, out))

    def fleet(where, function, given):
        for host in ("one", "two"):
            stage.change = lambda result, host=host: result.machine.update(processor=host)
            yield host, function(*given)
        yield "three", jobs.Failure("given up: its worker died (on c)")
    monkeypatch.setattr(cluster, "fleet", fleet)
    request = nightly.Request(str(stage.folder / "configs"), [], tmp_path / "history", tmp_path / "results", blocks=2)
    for nights in (1, 2):
        report = nightly.fleet_night(request, None)
        assert report.code == 3 and "3 hosts" in report.text and "ERROR three: the night: given up" in report.text
        kept = history.folder_series(tmp_path / "history")
        assert len(kept) == 4 and all(len(series.nights) == nights for series in kept)
        stage.night += 1
    assert "PASS  one: steady" in report.text and "PASS  two: steady" in report.text
    assert {path.name for path in max((tmp_path / "results").iterdir()).iterdir()} >= {"junit.xml", "summary.md"}


def _keep(result, out):
    from harness.results import store
    store.write(result, out)
    return 0


# --- real workers ------------------------------------------------------------------------------

GRID = ("--set", "engine=simulate", "--set", "warmup_s=0")


@contextlib.contextmanager
def workers(folder, *kinds, tls=None):
    """The address of a scheduler, and the processes of workers, on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"{'tls' if tls else 'tcp'}://127.0.0.1:{free.getsockname()[1]}"
    started = []

    def start(*words):
        log = open(folder / f"worker{len(started)}", "w")
        started.append(subprocess.Popen([sys.executable, "-m", "harness", "worker", url, *words, *(["--tls", str(tls)] if tls else [])],
                                        cwd=ROOT, stderr=log))
        while f" at {url[:3]}://" not in (folder / log.name).read_text():
            assert started[-1].poll() is None, (folder / log.name).read_text()
            time.sleep(0.1)
        return started[-1]
    try:
        start("--scheduler")
        yield url, [start(*kind.split()) for kind in kinds]
    finally:
        for process in reversed(started):
            if process.poll() is None:
                process.terminate()
                process.wait(60)


def running(word):
    """Processes of tasks that are at work for a worker."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline") as file:
            if f"harness.commands.task\0{word}\0" in file.read():
                found.append(int(pid))
    return found


@pytest.mark.slow
def test_two_workers_one_of_which_is_killed_and_then_ctrl_c(tmp_path):
    pytest.importorskip("distributed")
    out = tmp_path / "out"

    def sweep(url, seconds, seeds):
        return subprocess.Popen([sys.executable, "-m", "harness", "sweep", str(ROOT / "configs/kick_on_busy.toml"), *GRID, "--set",
                                 f"sweep={{seed={seeds}}}", "--set", f"duration_s={seconds}", "--out", str(out), "--cluster", url],
                                cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with workers(tmp_path, "--cores 1", "--cores 1") as (url, (first, second)):
        process = sweep(url, 0.002, [1, 2, 3, 4, 5, 6])
        while not running(first.pid):
            time.sleep(0.02)
        first.kill()
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0 and "it is run again elsewhere" in said, said
        assert "beside their work" in said and not running(first.pid)
        assert sorted(json.loads(path.read_text())["seed"] for path in out.glob("*/result.json")) == [1, 2, 3, 4, 5, 6]
        process = sweep(url, 600, [7, 8])
        while not running(second.pid):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 130
        for _ in range(100):
            if not running(second.pid):
                break
            time.sleep(0.1)
        assert not running(second.pid)


def certificates(folder):
    """What --tls wants, made by OpenSSL for a day: an authority, and a certificate that it has signed."""
    folder.mkdir()
    for words in ("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=authority -days 1",
                  "req -newkey rsa:2048 -nodes -keyout key.pem -out request.pem -subj /CN=worker",
                  "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 1"):
        subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.slow
def test_with_tls_only_those_with_a_certificate_of_its_authority_are_heard(tmp_path):
    pytest.importorskip("distributed")
    if not shutil.which("openssl"):
        pytest.skip("needs OpenSSL to make certificates")
    ours, others = certificates(tmp_path / "ours"), certificates(tmp_path / "others")

    def sweep(url, *tls):
        return subprocess.run([sys.executable, "-m", "harness", "sweep", str(ROOT / "configs/kick_on_busy.toml"), *GRID, "--set",
                               "sweep={seed=[1, 2]}", "--set", "duration_s=0.001", "--out", str(tmp_path / "out"), "--cluster", url, *tls],
                              cwd=ROOT, capture_output=True, text=True, timeout=300)
    with workers(tmp_path, "--cores 1", tls=ours) as (url, _):
        for tls in (("--tls", others), ()):
            refused = sweep(url if tls else url.replace("tls", "tcp"), *map(str, tls))
            assert refused.returncode == 2 and "no scheduler answers" in refused.stderr, refused.stderr
        done = sweep(url, "--tls", str(ours))
        assert done.returncode == 0 and len(list((tmp_path / "out").glob("*/result.json"))) == 2, done.stderr


@pytest.mark.slow
def test_a_session_in_real_time_stays_on_one_host_and_so_does_a_night(tmp_path, capsys):
    pytest.importorskip("distributed")
    short = ("--set", "duration_s=0.1", "--set", "warmup_s=0.05")
    with workers(tmp_path, "--machine") as (url, _):
        code, _, err = command(capsys, "run", "kick_on_busy", "kick_vcpus", "--repeats", "2", *short, "--out", tmp_path / "out", "--cluster", url)
        assert code in (0, 1, 3, 4), err
        written = sorted(((path.stat().st_mtime, json.loads(path.read_text())) for path in (tmp_path / "out").glob("*/result.json")), key=lambda pair: pair[0])
        results = [result for _, result in written]
        assert written[-1][0] - written[0][0] > 0.3              # each when it came, runs of 0.15 s at the least
        assert len(results) == 4 and len({result["block"]["session"] for result in results}) == 1
        code, out, err = command(capsys, "nightly", "configs/nightly", "--blocks", "1", *short, "--history", tmp_path / "history",
                                 "--out", tmp_path / "nights", "--cluster", url)
        assert code in (0, 1, 3) and "1 host," in out and f"{socket.gethostname()}: canary" in out, err
        assert list((tmp_path / "history").glob("*.jsonl"))
