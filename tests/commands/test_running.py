"""One run after the other: blocks within a budget, results kept, and the exit code that each deserves."""

import errno

import pytest

from harness.commands import running, session as sessions
from harness.errors import DONE, FAILED, NOT_SEEN, UNTRUSTWORTHY, UsageError, gravest
from harness.experiment.config import Bound
from harness.experiment.plan import make_plan
from harness.results import document, store
from harness.results.schema import Provoked, Verdict
from tests.made import made
from tests.stage import config


@pytest.fixture
def measured(monkeypatch):
    """The (name, seed) of what was run, in place of the runs."""
    ran = []

    def measure(plan, progress):
        ran.append((plan.config.name, plan.config.seed))
        return made(name=plan.config.name)

    monkeypatch.setattr(running, "measure", measure)
    return ran


def session(repeats: int) -> sessions.Session:
    return sessions.make_session([config(name="a"), config(name="b")], repeats=repeats)


class Budget(sessions.Budget):
    """Time for so many blocks; `asked` is what was to fit, in seconds."""

    def __init__(self, blocks: int):
        super().__init__(1.0)
        self.blocks, self.asked = blocks, []

    def fits(self, expected_s):
        self.asked.append(expected_s)
        return len(self.asked) <= self.blocks


def test_every_run_is_marked_with_its_place_in_the_session(measured):
    asked = session(2)
    results = list(running.run_session(asked, {}, sessions.Budget(None)))
    assert [run for run, _ in results] == list(asked.runs)
    assert [(result.name, result.block) for _, result in results] == [
        ("ab"[run.config], asked.mark(run)) for run in asked.runs]
    assert measured == [("ab"[run.config], run.seed) for run in asked.runs]


def test_a_block_that_does_not_fit_the_budget_is_not_begun(measured, capsys):
    budget = Budget(2)
    assert len(list(running.run_session(session(5), {}, budget))) == len(measured) == 4
    assert budget.runs == 4 and "budget spent after 2 of 5 blocks" in capsys.readouterr().err


def test_only_what_is_left_of_a_block_has_to_fit(measured):
    asked = session(3)
    done, budget = dict.fromkeys(asked.runs[:3], {}), Budget(9)
    assert [run for run, _ in running.run_session(asked, done, budget)] == list(asked.runs[3:])
    alone_s = sessions.run_s(asked.configs[0])
    assert budget.asked == pytest.approx([alone_s, 2 * alone_s])


def test_a_config_is_refused_for_what_no_result_of_it_can_have():
    with pytest.raises(UsageError, match="expect.bugs.totle: no result has this number"):
        running.prepare(config(expect={"bugs.totle": {"max": 0}}))


def test_a_result_that_cannot_be_kept_is_kept_elsewhere_or_printed(tmp_path, monkeypatch, capsys):
    assert running.keep(made(), tmp_path / "out") == DONE
    assert len(list(tmp_path.glob("out/*/result.json"))) == 1 and "saved " in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(running.tempfile, "gettempdir", lambda: str(tmp_path / "elsewhere"))
    assert running.keep(made(), tmp_path / "file") == UNTRUSTWORTHY
    assert len(list(tmp_path.glob("elsewhere/*/result.json"))) == 1
    printed = capsys.readouterr()
    assert "cannot write the result" in printed.err and "instead" in printed.err and not printed.out

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "write", full)
    assert running.keep(made(), tmp_path / "out") == UNTRUSTWORTHY
    printed = capsys.readouterr()
    assert "No space left on device; printed it instead" in printed.err and '"schema"' in printed.out


@pytest.mark.parametrize("keys, code, says", [
    ({}, DONE, ""),
    ({"bugs": {"a: b": 1}}, FAILED, "kick_vcpus: expected bugs.total at most 0, got 1\n"),
    ({"bugs": {"a: b": 1}, "verdict": Verdict(status="UNTRUSTWORTHY", reasons=["worker vcpu0 was killed"])}, UNTRUSTWORTHY,
     "kick_vcpus: worker vcpu0 was killed\n"),
    ({"verdict": Verdict(status="DEGRADED", reasons=["interrupted"])}, DONE, ""),
])
def test_the_exit_code_of_a_result_is_that_of_the_gravest_that_was_found(capsys, keys, code, says):
    assert running.exit_code(made(**keys), {"bugs.total": Bound(max=0)}) == code
    assert capsys.readouterr().err == says


def test_the_graver_of_two_exit_codes_is_the_greater():
    from harness import errors
    assert errors.DONE < errors.FAILED < errors.USAGE < errors.UNTRUSTWORTHY < errors.INTERRUPTED


# --- what a config provokes ---

class Measured:
    """Stands for an engine: one result a run, each with so many destroy_failures."""

    def __init__(self, monkeypatch, *failures):
        self.seeds, left = [], list(failures)

        def measure(plan, progress=None):
            self.seeds.append(plan.config.seed)
            result = document.example(plan)
            result.counters["removals"], result.measured_s = 353, 0.5
            seen = left.pop(0)
            result.bugs = {"tdh_mem_page_aug: TDX_OPERAND_BUSY": seen} if seen else {}
            return result
        monkeypatch.setattr(running, "measure", measure)


def provoking(**keys):
    return make_plan(config(until_seen_s=60, seed=7, expect={"bugs.total": {"min": 1}}, **keys))


def test_a_run_is_made_again_on_other_seeds_until_it_is_seen(monkeypatch):
    engine = Measured(monkeypatch, 0, 0, 2, 5)
    result = running.provoke(provoking())
    assert engine.seeds == [7, 8, 9] and result.provoked == Provoked(runs=3, measured_s=1.5, seen=True)
    assert running.exit_code(result, provoking().config.expect) == DONE
    assert any("not how often" in reason for reason in result.verdict.reasons)


def test_without_a_limit_a_run_is_made_once_and_says_how_much_was_tried(monkeypatch, capsys):
    engine = Measured(monkeypatch, 0)
    plan = make_plan(config(expect={"bugs.total": {"min": 1}}))
    result = running.provoke(plan)
    assert len(engine.seeds) == 1 and result.provoked is None
    assert running.exit_code(result, plan.config.expect) == NOT_SEEN
    assert "expected bugs.total at least 1, got 0 in 353 removals, a run of 0.5 s" in capsys.readouterr().err


def test_what_is_wrong_besides_is_no_reason_to_try_again_and_outweighs_what_was_not_seen(monkeypatch):
    engine = Measured(monkeypatch, 0, 0)
    plan = provoking()
    measure = running.measure

    def violated(plan, progress=None):
        result = measure(plan, progress)
        result.invariants["page_signature"] = 1
        return result
    monkeypatch.setattr(running, "measure", violated)
    result = running.provoke(plan)
    assert len(engine.seeds) == 1 and running.exit_code(result, plan.config.expect) == FAILED
    assert gravest(NOT_SEEN, FAILED) == FAILED and gravest(DONE, NOT_SEEN) == NOT_SEEN and gravest(UNTRUSTWORTHY, FAILED) == UNTRUSTWORTHY
