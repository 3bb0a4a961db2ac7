"""What `explore` says around its tables: how many passed, what was expected, how far it is; mistakes before any search."""

import itertools
import json

import pytest

from harness.commands import explore as exploring
from harness.commands.progress import Sign
from harness.engines.explore import search
from harness.engines.explore.ways import Unproved
from harness.experiment.scenario_file import load, parse
from harness.protocol import seamcalls
from harness.protocol.releases import READ, find
from harness.reports import exploration, listing, text
from kernels.ops import OP_TABLE
from tests.command_line import ROOT, command
from tests.reports.chrome_trace import checked

TWO_HOSTS = str(ROOT / "configs/explore/two_hosts.toml")
LOST = str(ROOT / "configs/explore/known/priority_lost.toml")
SB, MP = (str(ROOT / f"configs/litmus/classic/{name}.litmus") for name in ("SB", "MP"))


def test_a_violation_that_the_scenario_allows_is_expected(capsys, tmp_path):
    file = ROOT / "configs/explore/known/rtmr_underflow.toml"
    [scenario] = load(file, ["1.5.05"])
    code, out, _ = command(capsys, "explore", str(file), "--module", "1.5.05", "--out", str(tmp_path))
    text = " ".join(out.split())
    assert code == 0 and scenario.must_violate
    assert all(f"{name} VIOLATED (expected)" in text for name in scenario.must_violate)
    assert text.count("VIOLATED") == len(scenario.must_violate)


@pytest.mark.parametrize("columns", [80, 100])
def test_everything_is_readable_in_the_columns_of_a_terminal(capsys, tmp_path, monkeypatch, columns):
    for module in (exploration, text):
        monkeypatch.setattr(module, "width", lambda: columns)
    code, out, _ = command(capsys, "explore", ROOT / "configs/explore/no_entry_barrier.toml", "--module", "1.5.24", "--out", tmp_path)
    assert code == 0 and max(map(len, out.splitlines())) <= columns
    assert "VIOLATED (expected)" in out and not any(line.endswith("VIOLATED") for line in out.splitlines())
    assert "IN_GUEST_MODE: held" in out or "IN_GUEST_MODE:" in out and "held back" in out


@pytest.mark.parametrize("arguments, code, last", [
    ([TWO_HOSTS, "--module", "1.5.05"], 0, "1 scenario, {states} states: 1 passed, 0 failed"),
    ([TWO_HOSTS], 0, "2 scenarios, {states} states: 2 passed, 0 failed"),
    ([LOST], 0, "{scenarios} scenarios, {states} states: {scenarios} passed, 0 failed"),
    ([str(ROOT / "configs/explore/fault_zap.toml"), "--module", "1.5.24", "--policy", "spinlock_vm"], 1,
     "1 scenario, {states} states: 0 passed, 1 failed"),
    ([TWO_HOSTS, "--module", "1.5.05", "--random", "5"], 0, "1 scenario: 0 passed, 0 failed, 1 not searched completely"),
])
def test_the_last_line_says_how_many_scenarios_passed_and_failed(capsys, tmp_path, monkeypatch, arguments, code, last):
    found, run = [], search.run
    monkeypatch.setattr(exploring.engine, "run", lambda *given, **keys: found.append(run(*given, **keys)) or found[-1])
    given, out, _ = command(capsys, "explore", *arguments, "--out", str(tmp_path))
    whole = [each for each in found if each.scenario.scripts]
    assert given == code
    assert ("VIOLATED" in out.replace("VIOLATED (expected)", "")) == (code == 1)     # only what a file does not allow
    assert out.splitlines()[-1] == last.format(states=sum(each.states for each in whole), scenarios=len(whole))


def test_of_very_many_scenarios_those_that_passed_are_counted(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(exploration, "MANY", 10)
    code, out, _ = command(capsys, "explore", LOST, "--out", str(tmp_path))
    first, *_, last = out.splitlines()
    passed = last.split()[0]
    assert code == 0 and first.startswith(f"{passed} that passed are not shown, with ") and len(out.splitlines()) <= 3
    monkeypatch.setattr(exploration, "MANY", 100)
    _, shown, _ = command(capsys, "explore", LOST, "--out", str(tmp_path))
    assert len(shown.splitlines()) == int(passed) + 3                # two of the head, the last line


@pytest.mark.parametrize("tests, last", [
    ([SB], "1 litmus test: 1 passed, 0 failed"), ([SB, MP], "2 litmus tests: 2 passed, 0 failed"),
])
def test_the_last_line_of_litmus_tests_says_it_too(capsys, tmp_path, tests, last):
    for model in ("sc", "tso"):
        code, out, _ = command(capsys, "explore", *tests, "--memory-model", model, "--out", str(tmp_path))
        assert code == 0 and out.splitlines()[-1] == last


def test_a_way_under_x86_tso_is_a_schedule_a_test_a_page_and_a_trace_too(capsys, tmp_path):
    written = {option: tmp_path / f"way{option}" for option in ("--as-test", "--html", "--trace")}
    code, out, _ = command(capsys, "explore", SB, "--memory-model", "tso", "--out", tmp_path, *sum(([*each] for each in written.items()), []))
    assert code == 0 and "its store arrives" in out and all(path.stat().st_size for path in written.values())
    [saved] = tmp_path.glob("*.schedule.json")
    code, out, _ = command(capsys, "replay", saved)
    assert code == 0 and "held back" in out and "all as saved" in out
    names = [event["name"] for event in checked(written["--trace"].read_text()) if event["ph"] == "X"]
    assert names.count("its store arrives") == 2


def test_a_file_for_a_way_that_was_not_shown_is_said_and_one_of_several_is_the_first(capsys, tmp_path):
    for config in (MP, ROOT / "configs/explore/accept_block.toml"):
        code, _, err = command(capsys, "explore", config, "--trace", tmp_path / "no.json", "--out", tmp_path)
        assert code == 0 and f"--trace {tmp_path}/no.json: not written, as there was no way to show; --show N" in err
        assert not (tmp_path / "no.json").exists()
    several = [str(ROOT / f"configs/litmus/{name}.litmus") for name in ("kvm/mirror-race", "kvm/track-no-requests")]
    code, _, err = command(capsys, "explore", *several, "--trace", tmp_path / "way.json", "--out", tmp_path)
    assert code == 0 and err.count("wrote") == 1 and checked((tmp_path / "way.json").read_text())[0]["args"]["name"].startswith("mirror-race")


def test_the_last_line_of_a_table_counts_the_scenarios_behind_it(capsys):
    code, out, _ = command(capsys, "explore", "--modules", LOST)
    rows = [line for line in out.splitlines() if line[:4] in ("1.5.", "2.0.")]
    broken = sum(not line.endswith("holds") for line in rows)
    assert code == 0 and len(rows) == len(READ)
    assert out.splitlines()[-1] == f"{len(rows)} scenarios: {len(rows) - broken} keep every invariant, {broken} do not"


def test_a_table_that_is_not_complete_says_how_many_are_not_known(capsys):
    _, out, _ = command(capsys, "explore", "--modules", LOST, "--module", "1.5.34", "--random", "20")
    assert out.splitlines()[-1] == "1 scenario: 0 keep every invariant, 0 do not, 1 not known"


def test_a_table_that_was_interrupted_says_what_is_not_finished(capsys, tmp_path, monkeypatch):
    run, calls = search.run, itertools.count(1)

    def interrupted(*given, **keys):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return run(*given, **keys)
    given = ["explore", "--policies", str(ROOT / "configs/explore/slot_deleted.toml"), "--module", "1.5.24", "--out", str(tmp_path), "--format"]
    monkeypatch.setattr(exploring.engine, "run", interrupted)
    code, out, err = command(capsys, *given, "table")
    table, said = out.split("not finished: ")
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines() if line[:1].isalpha()}
    said = " ".join(said.partition("\n\n")[0].split()).split(", ")
    assert code == 130 and "interrupted in policy" in err
    assert said and all("?" in rows[name] for name in said) and rows.keys() & {"spinlock_vm", "retry16"}
    assert not any("?" in rows[name] for name in ("spinlock_vm", "retry16"))
    calls = itertools.count(1)
    code, out, _ = command(capsys, *given, "json")
    document = json.loads(out)
    assert code == 130 and not document["complete"] and document["unfinished"] == said


def test_what_has_ended_before_ctrl_c_is_there_with_resume(capsys, tmp_path, monkeypatch):
    """Also with more memory; but not what was not complete with less."""
    run, calls = search.run, itertools.count(1)

    def interrupted(*given, **keys):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return run(*given, **keys)
    given = ["explore", "--modules", LOST, *(f"--module={name}" for name in ("1.5.05", "1.5.20", "1.5.34")), "--out", str(tmp_path)]
    monkeypatch.setattr(exploring.engine, "run", interrupted)
    assert command(capsys, *given)[0] == 130

    def there(memory: int) -> int:
        _, _, err = command(capsys, *given, "--resume", "--memory-mib", str(memory))
        return int(err.split(" of 3 searches are there already")[0].splitlines()[-1])
    assert there(2000) == 2 and there(1000) == 3
    for path in (tmp_path / exploring.KEPT).glob("*.json"):
        document = json.loads(path.read_text())
        document["found"]["complete"] = False
        path.write_text(json.dumps(document))
    assert [there(memory) for memory in (1024, 2000, 3000)] == [3, 1, 2]


def test_every_scenario_of_several_is_announced_with_its_number(capsys, monkeypatch, tmp_path):
    announced, about = [], Sign.about
    monkeypatch.setattr(Sign, "about", lambda self, text: announced.append(text) or about(self, text))
    command(capsys, "explore", TWO_HOSTS, "--out", str(tmp_path))
    assert announced == ["1 of 2: two_hosts", "2 of 2: two_hosts"]
    announced.clear()
    command(capsys, "explore", SB, MP, "--memory-model", "tso", "--out", str(tmp_path))
    assert announced == ["1 of 2: SB", "2 of 2: MP"]


def test_starvation_of_actors_that_are_alike_is_judged_in_the_search_itself(monkeypatch):
    """Its cycles are unwound to all orders of them: there is no second search, and no tick of one."""
    retry = "tdh_mem_page_aug 3 retry forever"
    table = {"actors": {"vcpu0": "tdg_mem_page_accept 3 retry forever", "host0": retry, "host1": retry},
             "start": {"pages": {"3": "FREE"}}}
    [scenario] = parse(table, "test")
    monkeypatch.setattr(search.Search._call, "__defaults__", (20, *search.Search._call.__defaults__[1:]))
    ticks = []
    found = search.run(scenario, tick=lambda done, known: ticks.append(known))
    assert found.alike and "starvation" in found.checked
    assert len(ticks) > 10 and ticks == sorted(ticks) and ticks[-1] <= found.states


def test_a_search_that_is_made_again_without_exchange_ticks_too(monkeypatch):
    """Where what was found is not proved by a schedule in a loop's own order."""
    [scenario] = parse({"actors": {f"host{place}": "tdh_mem_page_aug 3" for place in range(2)}, "start": {"pages": {"3": "FREE"}}}, "test")
    judged = search._found

    def unproved(made, *given):
        if made.groups:
            raise Unproved
        return judged(made, *given)

    monkeypatch.setattr(search, "_found", unproved)
    monkeypatch.setattr(search.Search._call, "__defaults__", (20, *search.Search._call.__defaults__[1:]))
    ticks = []
    found = search.run(scenario, tick=lambda done, known: ticks.append(known))
    assert not found.alike and found.complete
    assert ticks != sorted(ticks)                        # those of the second search, from its beginning on


# --- arguments, before anything is searched -----------------------------------------------------

@pytest.mark.parametrize("arguments, sentence", [
    (["--pct", "100"], "--pct 100: must be at least 1 and at most 65"),
    (["--random", "5", "--seed", "-1"], "--seed -1: must be at least 0"),
    (["--seed", "4"], "--seed 4: only together with --random or --pct"),
    (["--random", "5", "--no-reduction"], "--no-reduction: not together with --random or --pct"),
    (["--pct", "2", "--no-symmetry"], "--no-symmetry: not together with --random or --pct"),
])
def test_a_mistake_about_how_to_search_is_one_line(capsys, monkeypatch, arguments, sentence):
    refused(capsys, monkeypatch, [TWO_HOSTS, *arguments], sentence)


@pytest.mark.parametrize("option", ["--random 5", "--pct 2", "--preemptions 1"])
def test_a_part_of_a_scenario_that_has_store_buffers_by_its_file_is_refused(capsys, monkeypatch, option):
    weak = str(ROOT / "configs/explore/no_entry_barrier.toml")
    refused(capsys, monkeypatch, [weak, *option.split()], f"{option}: not of a scenario under x86-TSO, which no_entry_barrier is by its"
            " file; --memory-model sc searches it without store buffers")


@pytest.mark.parametrize("arguments, sentence", [
    (["--modules"], "--modules: not of C litmus tests"), (["--policies"], "--policies: not of C litmus tests"),
    (["--guests"], "--guests: not of C litmus tests"), (["--resume"], "--resume: not of C litmus tests"),
    (["--policy", "retry16"], "--policy retry16: of tests with fault() or zap(), which follow it"),
    (["--memory-model", "tso", "--preemptions", "2"], "--preemptions 2: not together with --memory-model tso"),
    (["--memory-model", "tso", "--random", "2"], "--random 2: not together with --memory-model tso"),
    ([MP, "--show", "1"], "--show 1: these are 2 litmus tests"),
])
def test_what_a_litmus_test_does_not_take_is_refused(capsys, monkeypatch, arguments, sentence):
    refused(capsys, monkeypatch, [SB, *arguments], sentence)


ZAPPED = "C t\n{ module = 1.5.05; page 3 = MAPPED; page 4 = FREE; must_violate = {quiet_mirror}; }\nP0() { u64 err = tdh_mem_range_block(td, 0x3000, 0); }\nP1() { %s }\nexists (0:err=TDX_OPERAND_BUSY)\n"


def of_each(found: list[dict]) -> list[dict]:
    return [{key: value for key, value in each.items() if key != "seconds"} for each in found]


@pytest.mark.slow
def test_litmus_tests_in_processes_of_their_own_come_to_the_same_in_the_same_order(capsys, tmp_path):
    """Also for one that takes longest: the others have to wait."""
    def found(*more):
        code, out, _ = command(capsys, "explore", *(str(ROOT / f"configs/litmus/{name}.litmus") for name in (
            "kvm/pamt-v6-fast", "classic/SB", "kvm/mirror-race")), "--format", "json", "--out", tmp_path, *more)
        return code, of_each(json.loads(out))
    assert found("--jobs", "2") == found() and [each["name"] for each in found()[1]] == ["pamt-v6-fast", "SB", "mirror-race"]


def test_a_single_litmus_test_is_searched_by_threads(capsys, tmp_path, monkeypatch):
    asked, run = [], search.run
    monkeypatch.setattr(search, "run", lambda *given, **keys: asked.append(keys["jobs"]) or run(*given, **keys))
    assert command(capsys, "explore", MP, "--jobs", "2", "--out", tmp_path)[0] == 0 and asked == [2]


def test_a_litmus_test_is_tried_on_the_releases_and_under_the_policy_that_are_named(capsys, tmp_path):
    path = tmp_path / "t.litmus"
    path.write_text(ZAPPED % "fault(0x4000);")
    code, out, err = command(capsys, "explore", path, "--module", "1.5.34", "--module", "2.0.18", "--policy", "retry16", "--out", tmp_path)
    assert code == 0 and [line.rpartition(" ")[2] for line in out.splitlines() if line.startswith("Searched")] == ["1.5.34", "2.0.18"]
    saved = tmp_path / "t-2.0.18-1.schedule.json"
    assert saved.name in err and command(capsys, "replay", saved)[0] == 0
    assert {json.loads(saved.read_text())["scenario"][key] for key in ("module", "policy")} == {"2.0.18", "retry16"}


def test_a_policy_that_no_test_would_follow_is_refused(capsys, tmp_path):
    path = tmp_path / "t.litmus"
    path.write_text((ZAPPED % "u64 err = tdh_mem_track(td);").replace("must_violate = {quiet_mirror};", ""))
    code, out, err = command(capsys, "explore", path, "--policy", "retry16", "--out", tmp_path)
    assert code == 2 and not out and "t.litmus has neither" in err


def test_samples_of_tso_are_refused(capsys, monkeypatch):
    refused(capsys, monkeypatch, [TWO_HOSTS, "--memory-model", "tso", "--random", "3"], "--random 3: not together with --memory-model tso")


def refused(capsys, monkeypatch, arguments, sentence) -> None:
    def never(*_, **__):
        raise AssertionError("searched")

    monkeypatch.setattr(search, "run", never)
    monkeypatch.setattr(search, "sample", never)
    code, out, err = command(capsys, "explore", *arguments)
    assert code == 2 and sentence in err and len(err.splitlines()) == 1 and not out


# --- texts of micro-ops --------------------------------------------------------------------------

@pytest.mark.parametrize("module", ["1.5.05", "1.5.34"])
def test_no_text_of_a_micro_op_is_cut(monkeypatch, module):
    """A long one goes on in the next line, so each word of it is there whole."""
    programs, program = [], listing.Listing.program
    monkeypatch.setattr(listing.Listing, "program", lambda self: programs.append(program(self)) or programs[-1])
    for name in (*seamcalls.by_name(find(module)), seamcalls.TD_EXIT):
        printed = listing.explanation(name, module)
        assert max(map(len, printed.splitlines())) <= 100
        written = programs[-1].listing[1:]
        wanted = {word for each in written for text in (each.text, OP_TABLE[each.op].text) for word in text.split()}
        assert wanted <= set(printed.split())
