"""Faults below the module: the rows they add, what the calls then answer, what a run comes to."""

from pathlib import Path

import numpy as np
import pytest

from harness.results import document
from harness.results.expectations import check_expectations, failures
from harness.reports.run import run_report
from harness.reports.text import WIDTH
from harness.results.counted import entered, naive_decoding
from harness.results.schema import Result
from harness.experiment.config_file import load
from harness.engines.processes import coordinator
from harness.errors import UsageError
from harness.memory.layout import Layout
from harness.experiment.plan import make_plan
from harness.protocol import seamcalls
from harness.protocol.counted_answers import Answer
from harness.protocol.assemble import Listing
from harness.protocol.call import Options
from harness.protocol.locate import locate_page
from harness.protocol.faults import call_with_entropy_retries
from harness.protocol.phrases.life import DrawRandom
from harness.protocol.seamcall_abi import FAULTS, PROBED, Faults
from harness.protocol.seamcalls import SEAMCALLS, draws_random
from kernels.answers import AnswerKind
from kernels.machine import step_once
from kernels.ops import Op, Register as R
from kernels.words import (
    PT_EPT, PT_NDA, PT_REG, PT_TDR, TD_KEYS_CONFIGURED, TDCS_PAGES, status, unsigned,
)
from tests.ready import caller, levels, ready
from tests.stage import Stage, config
from tests.tries import until
from tests.protocol.test_seamcalls import locks_of

ROOT = Path(__file__).parent.parent.parent
CONFIGS = sorted(ROOT.glob("configs/faults/*.toml"))


def rows_of(**faults) -> bytes:
    return make_plan(config(faults=faults)).program.rows.tobytes()


# --- rows ------------------------------------------------------------------------------------

@pytest.mark.parametrize("faults", [
    {"seamcall": "none"}, {"seamcall_share": 0.5}, {"rebooting": True}, {"machine_check_share": 0.0},
])
def test_a_config_that_injects_nothing_has_the_program_of_one_without_faults(faults):
    plain = make_plan(config()).program
    assert rows_of(**faults) == plain.rows.tobytes()
    assert "tdh_phymem_page_rdmd" not in plain.calls and plain.choices == ("touch", "accept_first", "remove")
    assert not {text for row in plain.listing for text in (row.text,) if "TDX_SW_ERROR" in text}


@pytest.mark.parametrize("faults", [
    {"seamcall": "vmx_off"}, {"seamcall": "vmx_off", "seamcall_share": 0.5}, {"machine_check_share": 0.5},
])
def test_a_fault_adds_rows(faults):
    assert len(rows_of(**faults)) > len(rows_of())


@pytest.mark.parametrize("fault", FAULTS)
def test_every_seamcall_answers_the_software_error_and_touches_nothing(fault):
    faults = Faults(seamcall=fault)
    for row in SEAMCALLS:
        if row.side == "host":
            stage = Stage(faults=faults)
            level = levels(row)[0]
            page = ready(stage, row.name, level)
            before = stage.snapshot()
            assert caller(stage, row.name).call(row.name, page, level) == status(faults.status), row.name
            assert stage.snapshot() == before


def test_a_tdcall_is_no_seamcall():
    stage = Stage(faults=Faults(seamcall="vmx_off"))
    page = ready(stage, "tdg_mem_page_accept", 0)
    assert stage.actor("vcpu0").call("tdg_mem_page_accept", page) == 0


# --- the probe -------------------------------------------------------------------------------

@pytest.mark.parametrize("page_type", [PT_NDA, PT_REG, PT_EPT, PT_TDR])
def test_the_probe_returns_the_page_type_and_leaves_no_lock(stage, page_type):
    stage.map_page(3)
    stage.set_type("data", 3, page_type)
    before = stage.snapshot()
    host = stage.actor("host0")
    assert host.call("tdh_phymem_page_rdmd", 3, "data") == 0
    assert host.registers[R.COPY] == page_type
    assert stage.snapshot() == before


def test_the_probe_is_busy_while_a_page_is_added_and_asks_for_priority(stage):
    stage.build_tables(3)
    adding, probing = stage.actor("host0"), stage.actor("host1")
    adding.begin("tdh_mem_page_aug", page=3).before(Op.STORE)
    answer = probing.call("tdh_phymem_page_rdmd", 3, "data")
    assert answer == status("TDX_OPERAND_BUSY", "RCX")
    assert adding.finish() == 0


def test_probes_do_not_exclude_one_another_and_make_an_add_busy(stage):
    stage.build_tables(3)
    first, second, adding = (stage.actor(f"host{number}") for number in range(3))
    first.begin("tdh_phymem_page_rdmd", 3, "data").through(Op.HP_TAKE_SHARED, 3)
    assert second.call("tdh_phymem_page_rdmd", 3, "data") == 0
    assert adding.call("tdh_mem_page_aug", page=3) == status("TDX_OPERAND_BUSY", "R8")
    assert first.finish() == 0


# --- entropy ---------------------------------------------------------------------------------

DRAWING = [(row, levels(row)[0]) for row in SEAMCALLS if draws_random(row.name)]


def attempts_until(name: str, level, draws) -> tuple[int, int, Stage]:
    """(attempts made, status in the end, where) of a call in sc_retry; `draws`: does this find no entropy?"""
    stage = Stage()
    options = Options(stage.layout, owners=False, faults=Faults(no_entropy_share=0.5))
    listing, page = Listing(), ready(stage, name, level)
    listing.label("begin")
    if level == "tdcx":
        locate_page(listing, stage.layout, level, page)
    call_with_entropy_retries(listing, name, entry=name, behind="made")
    listing.row(Op.STOP)
    seamcalls.write_calls(listing, options, [(name, 0)])
    program, registers = listing.program(), stage.actor("host0").registers
    registers[R.PC] = program.labels["begin"]
    attempts, draws = 0, iter(draws)
    for _ in range(2000):
        row = program.listing[registers[R.PC]]
        attempts += row.op == Op.CALL_BEGIN
        step_once(program.rows, registers, stage.memory.base)
        if row.op == Op.CHOOSE:
            registers[row.register] = next(draws)
        if row.op == Op.STOP:
            assert next(draws, None) is None
            return attempts, unsigned(registers[R.STATUS]), stage
    raise AssertionError("it never ends")


def test_the_calls_that_draw_random_numbers_are_those_that_make_identities_and_keys():
    assert {row.name for row, _ in DRAWING} == {
        "tdh_mng_create", "tdh_mng_add_cx", "tdh_mng_key_config", "tdh_sys_init", "tdh_sys_lp_init", "tdh_sys_key_config",
        "tdh_export_state_immutable"}


@pytest.mark.parametrize("release, call, answer", [
    ("1.5.05", "tdh_sys_init", "TDX_RND_NO_ENTROPY"), ("2.0.18", "tdh_sys_init", "TDX_RND_NO_ENTROPY"),
    ("1.5.05", "tdh_sys_lp_init", "TDX_RND_NO_ENTROPY"), ("1.5.13", "tdh_sys_lp_init", "TDX_RND_NO_ENTROPY"), ("1.5.16", "tdh_sys_lp_init", "TDX_SUCCESS"),
])
def test_without_entropy_the_module_is_not_initialized_and_may_be_later(release, call, answer):
    """The state is written behind the draw: the same call finds the module as it was."""
    stage = Stage(release=release, faults=Faults(no_entropy_share=1.0))
    page, before = ready(stage, call, 0), stage.snapshot()
    for _ in range(2):
        assert stage.actor("host0").call(call, page) == status(answer)
        if answer == "TDX_SUCCESS":
            return
        assert stage.snapshot() == before and locks_of(stage) == {}


@pytest.mark.parametrize("draws, attempts, name", [
    ([0], 1, "TDX_SUCCESS"), ([1] * 3 + [0], 4, "TDX_SUCCESS"), ([1] * 9 + [0], 10, "TDX_SUCCESS"),
    ([1] * 10, 10, "TDX_RND_NO_ENTROPY"),
])
@pytest.mark.parametrize("call, level", [("tdh_mng_create", 0), ("tdh_mng_add_cx", "tdcx")])
def test_the_wrapper_calls_ten_times_at_most_for_want_of_entropy(call, level, draws, attempts, name):
    made, answer, stage = attempts_until(call, level, draws)
    assert (made, answer) == (attempts, status(name))
    assert locks_of(stage) == {}


def test_the_wrapper_does_not_repeat_a_key_that_found_no_entropy():
    made, answer, stage = attempts_until("tdh_mng_key_config", 0, [1])
    assert (made, answer) == (1, status("TDX_KEY_GENERATION_FAILED"))
    assert locks_of(stage) == {}


def test_only_the_last_page_of_a_td_draws_a_key():
    stage = Stage(faults=Faults(no_entropy_share=1.0))
    page = ready(stage, "tdh_mng_add_cx", "tdcx")
    stage.set_lifecycle(TD_KEYS_CONFIGURED, tdcx=TDCS_PAGES - 2)
    assert stage.actor("host0").call("tdh_mng_add_cx", page, "tdcx") == 0


@pytest.mark.parametrize("row, level", DRAWING, ids=[row.name for row, _ in DRAWING])
def test_without_the_fault_a_random_draw_is_no_row(row, level):
    lengths = []
    for share in (0.0, 1.0):
        listing = Listing()
        options = Options(Layout(1, 2, 512, 0), faults=Faults(no_entropy_share=share))
        seamcalls.write_call(listing, row, options)
        lengths.append(len(listing.program().rows))
        phrases = tuple(phrase for phrase in row.phrases if not isinstance(phrase, DrawRandom))
        plain = row._replace(phrases=phrases)
        listing = Listing()
        seamcalls.write_call(listing, plain, options)
        lengths.append(len(listing.program().rows))
    assert lengths[0] == lengths[1] == lengths[3] < lengths[2]


# --- what a run makes of it ------------------------------------------------------------------

def run(duration_s=0.4, **keys) -> Result:
    return document.from_measured(coordinator.run(make_plan(config(duration_s=duration_s, warmup_s=0.0, **keys))))


def run_until(seen, always=lambda result: None, **keys) -> Result:
    return until(seen, lambda duration_s: run(duration_s, **keys), always)


def nothing_violated(result) -> None:
    assert not any(result.invariants.values()), result.invariants


def test_without_a_module_the_first_entry_bugs_the_vm_and_would_have_been_taken_for_an_nmi():
    result = run(3600.0, faults={"seamcall": "not_loaded"})
    assert list(result.bugs) == ["tdh_vp_enter: TDX_SEAMCALL_VMFAILINVALID"]
    assert sum(result.bugs.values()) == 1                          # later ones are no news
    naive, faults = result.naive_decoding, result.faults
    assert naive.nmi == naive.without_exit == faults.internal_errors >= 1
    assert naive.by_status == {"TDX_SEAMCALL_VMFAILINVALID": naive.nmi}
    assert faults.init_errno == "-ENODEV" and faults.refused >= naive.nmi
    assert result.measured_s < 3600
    nothing_violated(result)


def test_while_rebooting_vcpus_leave_without_a_bug_and_nobody_hangs():
    def always(result):
        assert not result.bugs and result.hangs.count == 0
        entries = result.seamcalls["tdh_vp_enter"].attempts
        assert result.faults.internal_errors == entries <= 2    # each vCPU's first is its last
        assert result.naive_decoding.nmi == 0                   # #UD is 6

    run_until(lambda result: result.faults.internal_errors == 2, always,
              faults={"seamcall": "vmx_off", "rebooting": True}, td={"vcpus": 2}, workload={"hosts": 1})


def test_a_machine_check_outside_vmx_operation_is_no_error():
    faults = {"seamcall": "vmx_off", "rebooting": True, "machine_check_share": 1.0}

    def always(result):
        checks = result.faults.machine_checks
        assert checks.count == checks.not_in_vmx_operation and not result.bugs
        nothing_violated(result)

    run_until(lambda result: result.faults.machine_checks.count, always, td={"vcpus": 1}, faults=faults)


def test_machine_checks_in_a_running_td_come_to_one_thing_each():
    def always(result):
        checks, probes = result.faults.machine_checks, result.seamcalls["tdh_phymem_page_rdmd"]
        assert checks.count == sum(getattr(checks, name) for name in PROBED) == probes.attempts
        assert checks.busy == probes.busy and checks.not_in_vmx_operation == checks.no_module == 0
        nothing_violated(result)

    run_until(lambda result: result.faults.machine_checks.count, always,
              workload={"pages": 4, "hosts": 2, "removals_per_s": 100_000.0},
              faults={"machine_check_share": 0.5}, costs_ns={"invalidate": 2000})


def test_a_plain_run_says_what_the_naive_decoding_would_have_done_and_no_word_of_faults():
    result = run()
    naive = result.naive_decoding
    entry = result.seamcalls["tdh_vp_enter"]
    assert naive.without_exit >= entry.busy and not naive.by_status.keys() & {"TDX_SUCCESS"}
    text = run_report(result)
    assert text.count("\nnaive 16-bit decoding would have synthesized: ") == 1
    assert not result.faults.model_fields_set and "refused:" not in text and "machine checks" not in text


def test_the_naive_count_takes_each_answer_by_how_often_it_was_given():
    def answer(name, operand="RAX"):
        word = status(name, operand)
        return Answer(word, AnswerKind.BUSY if name == "TDX_OPERAND_BUSY" else AnswerKind.OTHER)

    found = naive_decoding([
        (answer("TDX_SUCCESS"), 1000),
        (Answer(0x30, AnswerKind.OTHER), 100),
        (Answer(77, AnswerKind.OTHER), 5),
        (answer("TDX_OPERAND_BUSY", "RCX"), 7), (answer("TDX_OPERAND_BUSY", "TD_EPOCH"), 50),
        (answer("TDX_OP_STATE_INCORRECT"), 3),
        (answer("TDX_VCPU_ASSOCIATED"), 0),
        (answer("TDX_OPERAND_BUSY", 77), 2),
    ])
    assert found.model_dump() == {"without_exit": 62, "nmi": 3, "external_interrupt": 7, "tdcall": 2, "by_status": {
        "TDX_OPERAND_BUSY|RCX": 7, "TDX_OP_STATE_INCORRECT": 3, "TDX_OPERAND_BUSY|0x4d": 2}}


def test_a_guest_refused_for_host_priority_too_long_would_have_been_taken_for_an_nmi():
    program = make_plan(config()).program
    answered = np.zeros((len(program.calls), len(program.answers)), np.int64)
    accept = program.calls.index("tdg_mem_page_accept")
    named = {answer.name: number for number, answer in enumerate(program.answers)}
    answered[accept, named["TDX_HOST_PRIORITY_BUSY_TIMEOUT"]] = 4
    answered[accept, named["TDX_OPERAND_BUSY|RCX"]] = 100              # the guest's own affair
    answered[program.calls.index("tdh_vp_enter"), named["TDX_OPERAND_BUSY|TD_EPOCH"]] = 3
    found = naive_decoding(entered(program, answered))
    assert (found.nmi, found.external_interrupt, found.without_exit) == (4, 0, 7)


# --- configs ---------------------------------------------------------------------------------

@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_faults_load_say_what_they_show_and_fit_the_page(path):
    plan = make_plan(load(path))
    result = document.example(plan)
    assert path.read_text().startswith("# ") and "# Shows: " in path.read_text()
    assert result.faults.model_fields_set
    check_expectations(plan, result)
    assert max(map(len, run_report(result).splitlines())) <= WIDTH


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_faults_show_what_they_say(path):
    expect = load(path).expect
    first_s = load(path).duration_s

    def always(result):
        nothing_violated(result)
        assert not failures(result, {key: bound for key, bound in expect.items() if bound.max == 0})

    def seen(result):
        return not failures(result, expect) and (
            path.stem != "machine_check" or result.faults.machine_checks.private > 0)

    until(seen, lambda duration_s: document.from_measured(
        coordinator.run(make_plan(load(path, [f"duration_s={duration_s}"])))), always, first_s, longest_s=20.0)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_lines_about_a_fault_fit_the_page(fault):
    result = document.example(make_plan(config(faults={"seamcall": fault, "rebooting": True})))
    assert max(map(len, run_report(result).splitlines())) <= WIDTH


@pytest.mark.parametrize("text, says", [
    ('seamcall = "vmx_of"',
     "= 'vmx_of': did you mean vmx_off? must be one of none, bios_off, vmx_off, not_loaded"),
    ("seamcall_share = 0", "must be more than 0"), ("seamcall_share = 1.5", "must be at most 1"),
    ("rebooting = 1", "must be true or false"), ("seamcal = 1", "did you mean seamcall?"),
    ("no_entropy_share = 0.5", "no call of this run draws a random number; must be 0"),
    ("machine_check_share = 0.5\n[workload]\nhosts = 0", "workload.hosts is 0; must be 0"),
])
def test_faults_that_cannot_be_get_one_line(tmp_path, text, says):
    path = tmp_path / "some.toml"
    path.write_text(f'policy = "retry16"\n[faults]\n{text}\n')
    with pytest.raises(UsageError) as caught:
        make_plan(load(path))
    assert says in str(caught.value) and "\n" not in str(caught.value)
