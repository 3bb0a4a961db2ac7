"""A way as a page and as a trace: whole, escaped, and the same words as on a terminal."""

import html.parser
import json
import re

import pytest

from harness.engines.explore import search
from harness.engines.replay.steps import execute
from harness.experiment import litmus, scenario_file
from harness.experiment.schedule import Access, Schedule
from harness.reports import exploration, way
from tests.command_line import ROOT, command
from tests.reports.chrome_trace import checked

FILE = "configs/explore/accept_block.toml"


@pytest.fixture(scope="module")
def found():
    """The schedule in which both calls are refused, and its accesses."""
    [scenario] = scenario_file.load(ROOT / FILE, ["1.5.05"])
    ending = next(each for each in search.run(scenario).endings if "PENDING+HP" in each.words)
    schedule = Schedule(scenario, ending.turns, "both are refused")
    return schedule, execute(schedule)[0]


class Balanced(html.parser.HTMLParser):
    """Fails where tags do not nest; keeps what a reader sees."""

    VOID = {"meta"}

    def __init__(self):
        super().__init__()
        self.open, self.text = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(page: str) -> str:
    parser = Balanced()
    parser.feed(page)
    assert not parser.open
    return " ".join(parser.text)


def test_the_page_is_whole_and_needs_nothing_else(found):
    schedule, accesses = found
    page = way.page(schedule, accesses)
    text = read(page)
    steps = way.steps_of(schedule.scenario, accesses)
    assert page.count("<tr data-step=") == len(steps) and "TDX_OPERAND_BUSY_HOST_PRIORITY|RCX" in text
    assert not re.search(r"(src|href)=|https?:|url\(|@import", page)
    assert "both are refused" in text and "PENDING+EL+HP" in text and not any(step.word.startswith("owner") for step in steps)


def test_the_key_home_goes_to_the_start_before_the_first_step(found):
    """go(-1) shows the words of the start, and step 0 (looked at in Chromium)."""
    assert re.search(r"Home: (-?\d+)", way.page(*found))[1] == "-1"


def test_a_call_of_a_c_test_begins_behind_the_accesses_before_it():
    test = litmus.load(ROOT / "configs/litmus/kvm/mirror-race.litmus")
    ending = next(each for each in search.run(test).endings if each.kind == "done")
    schedule = Schedule(test, ending.turns, "one end")
    events = [event for event in checked(way.trace_events(schedule, execute(schedule)[0])) if event["ph"] == "X"]
    [call] = [event for event in events if event["name"] == "tdh_mem_page_aug"]
    before = next(event for event in events if "P0:20 cmpxchg64" in event["name"])
    assert before["ts"] + before["dur"] <= call["ts"]


def test_the_words_behind_each_step_are_those_of_the_accesses(found):
    schedule, accesses = found
    page = way.page(schedule, accesses)
    states = json.loads(re.search(r"states = (\[\[.*?\]\]);", page)[1])
    steps = way.steps_of(schedule.scenario, accesses)
    words = list(dict.fromkeys(step.word for step in steps if step.changes))
    assert len(states) == len(steps)
    for step, state in zip(steps, states):
        if step.changes:
            assert state[words.index(step.word)] == step.after
    lock = words.index("secure_ept_lock")
    assert {state[lock] for state in states} == {"0x0", "0x1"} and states[-1][lock] == "0x0"


def test_a_call_is_a_span_from_its_first_access_to_its_answer(found):
    schedule, accesses = found
    steps = way.steps_of(schedule.scenario, accesses)
    within = way.inside(steps)
    end = next(number for number, step in enumerate(steps) if step.actor == "host0" and step.ends)
    first = next(number for number, step in enumerate(steps) if step.actor == "host0")
    assert all("host0" in within[number] for number in range(first, end + 1))
    assert not any("host0" in each for each in within[end + 1:])


def test_steps_have_the_numbers_that_the_text_has(found):
    """A page of 1735 rows was called that many steps, where the text said 68."""
    schedule, accesses = found
    page, text = way.page(schedule, accesses), exploration.trace(schedule, accesses)
    shown = [(int(row[0]), row[1]) for line in text.splitlines() if (row := line.split()) and row[0].isdigit()]
    steps = way.steps_of(schedule.scenario, accesses)
    assert [(step.step, step.actor) for step in steps if step.step] == shown and len(shown) < len(steps)
    assert [int(number) for number in re.findall(r'<td class="step">(\d+)</td>', page)] == [number for number, _ in shown]
    assert f"{len(shown)} steps, with the numbers that the text has, in {len(steps)} rows: " in read(page)


def test_all_accesses_are_shown_beside_the_same_steps_and_calls_begin_where_they_do(found):
    """With --all each access had a number, so that step 5 of a saved text was another one; where a call begins was not shown."""
    schedule, accesses = found
    few, all_ = (exploration.trace(schedule, accesses, everything).splitlines() for everything in (False, True))
    assert [line for line in all_ if line.split()[0].isdigit()] == [line for line in few if line.split()[0].isdigit()]
    assert sum(bool(access.bits) for access in accesses) > sum(line.split()[0].isdigit() for line in all_)
    for lines in few, all_:
        calls = [line.split()[0:1] + line.split("  ")[-1:] for line in lines if "-> " in line or "<- " in line]
        for actor in {actor for actor, _ in calls}:
            mine = [what.strip() for who, what in calls if who == actor]
            assert mine[::2] == [what.replace("<-", "->") for what in mine[1::2]] and mine


def test_a_call_of_a_litmus_test_begins_with_its_line_of_c():
    test = litmus.parse("C t\n{ page 3 = MAPPED; }\nP0()\n{\n\tu64 err = tdh_mem_range_block(td, 0x3000, 0);\n}\nexists (0:err=0)\n", "t")
    [ending] = search.run(test).endings
    schedule = Schedule(test, ending.turns)
    rows = exploration.trace(schedule, execute(schedule)[0]).splitlines()
    [begin] = [line for line in rows if "-> tdh_mem_range_block" in line]
    assert begin.split()[:2] == ["P0", "P0:5"] and "<- tdh_mem_range_block" in rows[-1]


def test_what_comes_from_files_is_escaped(found):
    schedule, _ = found
    hostile = "<script>alert(1)</script>\u2028</script>"
    access = Access(0, "host0", hostile, hostile, 0, 1, 64)
    page = way.page(Schedule(schedule.scenario, schedule.turns, hostile), [access])
    assert "<script>alert" not in page and page.count("</script>") == 1


def test_the_trace_has_a_lane_for_each_actor_and_a_span_for_each_call(found):
    schedule, accesses = found
    events = checked(way.trace_events(schedule, accesses))
    assert {event["args"]["name"] for event in events if event["name"] == "thread_name"} == {"vcpu0", "host0"}
    calls = [event for event in events if "answer" in event.get("args", {})]
    assert {event["name"] for event in calls} == {"tdh_mem_range_block", "tdg_mem_page_accept"}
    for call in calls:
        inner = [event for event in events if event["ph"] == "X" and event["tid"] == call["tid"] and event is not call]
        assert all(call["ts"] <= event["ts"] and event["ts"] + event["dur"] <= call["ts"] + call["dur"] for event in inner)


def test_explore_and_replay_write_both(tmp_path, capsys):
    page, trace = tmp_path / "way.html", tmp_path / "way.json"
    code, _, err = command(capsys, "explore", ROOT / FILE, "--module", "1.5.05", "--show", "2", "--html", page, "--trace", trace,
                           "--out", tmp_path)
    assert code == 0 and f"wrote {page}" in err and checked(trace.read_text())
    [saved] = tmp_path.glob("*.schedule.json")
    again = tmp_path / "again.html"
    assert command(capsys, "replay", saved, "--html", again)[0] == 0
    assert read(again.read_text()) == read(page.read_text())


def test_what_is_done_over_and_over_is_shown_once():
    """512 entries that PAMT.ADD fills, two accesses each, none of which changes a word; the trace has them all."""
    step = way.Step(1, "host0", "", "word", "0x0", "0x0", False)
    whole = [step._replace(number=number, text=("store a new PAMT entry", "store bepoch")[number % 2]) for number in range(1, 1025)]
    whole = [step._replace(text="lock", changes=True, number=0), *whole, step._replace(number=1025, text="add", ends="TDX_SUCCESS")]
    shown = way.folded(whole)
    numbered = way.folded([step._replace(number=number, text="load", step=number % 9) for number in range(20)])
    assert [each.step for each in numbered] == [0, 1, 8]
    assert [(each.number, each.text) for each in shown] == [
        (0, "lock"), (1, "store bepoch"), (2, "store a new PAMT entry"), (1024, "1022 more like that, of other words"), (1025, "add")]
    few = [step._replace(number=number, text="load") for number in range(way.REPEATED - 1)]
    assert way.folded(few) == few and way.folded([each._replace(changes=True) for each in whole]) == [each._replace(changes=True) for each in whole]


def test_a_page_says_what_its_scenario_has(found):
    """A policy where KVM's flows are in it, a design of Dynamic PAMT, the module where there is a TD."""
    schedule, accesses = found
    assert "Module 1.5.05. " in read(way.page(schedule, accesses)) and "policy" not in read(way.page(schedule, accesses)).partition("steps")[0]
    classic = litmus.load(ROOT / "configs/litmus/classic/SB.litmus")
    schedule = Schedule(classic, search.run(classic).endings[0].turns, "an end")
    assert "Module" not in read(way.page(schedule, execute(schedule)[0]))


def test_a_litmus_tests_way_has_its_lines_of_c():
    test = litmus.load(ROOT / "configs/litmus/kvm/mirror-race.litmus")
    schedule = Schedule(test, search.run(test).endings[0].turns, "an end")
    assert "P0:20 cmpxchg64(mirror, 0, 1)" in read(way.page(schedule, execute(schedule)[0]))


@pytest.mark.parametrize("option", ["--html", "--trace"])
def test_a_place_that_cannot_be_written_is_refused_before_the_search(option, tmp_path, capsys):
    code, out, err = command(capsys, "explore", ROOT / FILE, option, tmp_path / "no/such/file")
    assert code == 2 and not out and option in err and err.count("\n") == 1
