"""What a SEAMCALL answers and what the kernel makes of it: tables against tables, rule by rule."""

import errno
import itertools

import pytest
from hypothesis import given, strategies

from harness.protocol import seamcall_abi as abi
from harness.protocol.errnos import errno_name, errno_of
from harness.protocol.seamcall_abi import (
    BUG, BUG_AND_INTERNAL, CALL, ENTROPY_ATTEMPTS, EXIT, FAIL_ENTRY, FASTPATH, HANDLED, INTERNAL, INTERRUPT,
    LOOP, NAIVE, NMI, NO_REASON, OTHER, REASON, SHUTDOWN, Entered, Status, decode_naive, decode_upstream,
    with_entropy_retries,
)
from kernels.words import OPERANDS, SOFTWARE_ERRORS, STATUSES, TDX_SW_ERROR, status, status_name

SUCCESS, BUSY = STATUSES["TDX_SUCCESS"], STATUSES["TDX_OPERAND_BUSY"]
NO_ENTROPY = STATUSES["TDX_RND_NO_ENTROPY"]
EPT, CALLED = "EPT violation handled", "hypercall handled"
INTERRUPTED = "interrupt counted, back to the vCPU loop"


# --- layout ----------------------------------------------------------------------------------

@given(strategies.integers(0, (1 << 64) - 1))
def test_an_answer_is_its_fields_and_nothing_else(word):
    assert Status.of(word).word == word


def test_fields_of_an_answer_that_everybody_knows():
    assert Status.of(0x8000_0200_0000_0092) == Status(1, 0, 0, 0, 0, 2, 0, 0x92)
    assert Status.of(0x9000_0205_0000_0000) == Status(1, 0, 0, 1, 0, 2, 5, 0)
    assert Status.of(0xE000_0604_0000_0000) == Status(1, 1, 1, 0, 0, 6, 4, 0)


@pytest.mark.parametrize("name, word", [
    ("TDX_SEAMCALL_VMFAILINVALID", 0x8000_FF00_FFFF_0000), ("TDX_SEAMCALL_GP", 0x8000_FF00_0000_000D),
    ("TDX_SEAMCALL_UD", 0x8000_FF00_0000_0006),
])
def test_software_errors_are_of_a_class_that_the_module_never_uses(name, word):
    assert SOFTWARE_ERRORS[name] == status(name) == word and status_name(word) == name
    assert Status.of(word).class_ == 0xFF and abi.is_software_error(word)
    assert not any(abi.is_software_error(value) for value in STATUSES.values())
    assert TDX_SW_ERROR == 0x8000_FF00_0000_0000


# --- decoding: the table of answers -----------------------------------------------------------

DECODED = [
    # answer                naive, what it runs     upstream
    (0x0000_0000_0000_0030, 48, OTHER,              EPT),
    (0x0000_0000_0000_004D, 77, CALL,               CALLED),
    (0x0000_0000_0000_0031, 49, OTHER,              BUG),
    (0x0000_0000_0000_0001, 1, INTERRUPT,           INTERRUPTED),
    (0x0000_0000_0000_0002, 2, OTHER,               SHUTDOWN),
    (0x4000_0001_0000_0002, 2, OTHER,               SHUTDOWN),
    (0x8000_0200_0000_0092, 146, OTHER,             LOOP),
    (0x8000_0200_0000_00A9, 169, OTHER,             LOOP),
    (0x8000_0200_0000_0080, 128, OTHER,             LOOP),
    (0x8000_0200_0000_0001, 1, INTERRUPT,           LOOP),
    (0x8000_0200_0000_0000, 0, NMI,                 LOOP),
    (0xC000_0100_0000_0001, 1, INTERRUPT,           INTERNAL),
    (0xC000_0706_0000_0000, 0, NMI,                 INTERNAL),
    (0xC000_0920_0000_003B, 59, OTHER,              INTERNAL),
    (0xC000_0610_0000_0000, 0, NMI,                 INTERNAL),
    (0x9000_0205_0000_0000, 0, NMI,                 INTERNAL),
    (0x8000_FF00_FFFF_0000, 0, NMI,                 BUG_AND_INTERNAL),
    (0x8000_FF00_0000_000D, 13, OTHER,              BUG_AND_INTERNAL),
    (0x8000_FF00_0000_0006, 6, OTHER,               BUG_AND_INTERNAL),
    (0x4000_0001_0000_0030, 48, OTHER,              INTERNAL),
    (0x4000_0001_8000_0021, 33, OTHER,              FAIL_ENTRY),
    (0x6000_0005_0000_0000, 0, NMI,                 INTERNAL),
    (0x0000_0000_8000_0021, 33, OTHER,              abi.FAIL_ENTRY_WARNED),
]


@pytest.mark.parametrize("word, reason, handler, outcome", DECODED, ids=[f"{row[0]:#x}" for row in DECODED])
def test_an_answer_is_decoded_as_upstream_does_and_naively_as_v19_did(word, reason, handler, outcome):
    upstream, naive = decode_upstream(word), decode_naive(word)
    assert upstream.outcome == outcome
    assert (naive.reason, naive.handler) == (reason, handler)
    assert upstream.bugs == (outcome in (BUG, BUG_AND_INTERNAL))
    assert upstream.fastpath == (HANDLED if outcome == LOOP else abi.SLOW)
    assert naive.spurious == (handler != OTHER and upstream.reason == NO_REASON)


def test_spurious_are_just_the_errors_among_them_that_run_a_handler():
    spurious = {word for word, *_ in DECODED if decode_naive(word).spurious}
    assert spurious == {0x8000_0200_0000_0001, 0x8000_0200_0000_0000, 0xC000_0100_0000_0001,
                        0xC000_0706_0000_0000, 0xC000_0610_0000_0000, 0x9000_0205_0000_0000,
                        0x8000_FF00_FFFF_0000}


def test_no_spurious_handler_runs_upstream():
    """Any status with any low half: what is no VM exit reaches no handler of exits, NMI included."""
    lows = (0, 1, 2, 6, 48, 77, 0x92, 1 << 31)
    for upper, low in itertools.product([*STATUSES.values(), TDX_SW_ERROR], lows):
        upstream = decode_upstream(upper + low)
        if upper not in abi.EXITS_UNDER:
            assert upstream.reason == NO_REASON and not upstream.looks_nmi
            assert upstream.outcome in (LOOP, INTERNAL, abi.INTERNAL_WARNED, BUG_AND_INTERNAL)


def test_every_rule_decides_for_some_answer_and_one_always_does():
    values = {upper + low for upper, low in itertools.product(
        [*STATUSES.values(), *abi.KVM_STATUSES.values(), *SOFTWARE_ERRORS.values()],
        [*abi.EXIT_REASONS, 0x92, 0xFF, 1 << 31])}
    # tdx_handle_exit's EPT_MISCONFIG is MMIO, which only R10 and R11 of a TDCALL make: no rule of a word.
    reasons = {word: decode_upstream(word).reason for word in values}
    for table in (REASON, FASTPATH, EXIT, NAIVE):
        deciding = {abi.first(table, Entered(word, reasons[word], rebooting))
                    for word, rebooting in itertools.product(values, (False, True))}
        assert deciding == set(table)


# --- decoding: known hazards --------------------------------------------------------------------

def test_no_reason_has_the_bit_of_a_failed_entry_and_is_none():
    assert NO_REASON & abi.FAILED_ENTRY
    assert not abi.failed_entry(Entered(BUSY, NO_REASON))
    assert decode_upstream(status("TDX_OPERAND_INVALID", "RCX")).outcome == INTERNAL


def test_busy_is_matched_by_its_status_whatever_the_operand_and_not_by_its_bits():
    for operand in OPERANDS:
        assert decode_upstream(status("TDX_OPERAND_BUSY", operand)).outcome == LOOP
    for name in ("TDX_PREVIOUS_TLB_EPOCH_BUSY", "TDX_EPT_WALK_FAILED", "TDX_OPERAND_BUSY_HOST_PRIORITY"):
        assert STATUSES[name] & BUSY and decode_upstream(STATUSES[name]).outcome == INTERNAL
    assert all(word & BUSY for word in SOFTWARE_ERRORS.values())       # a test of bits would retry these


def test_a_status_without_error_bits_that_is_not_success_is_no_exit():
    for name in ("TDX_GPA_RANGE_ALREADY_BLOCKED", "TDX_PAGE_ALREADY_ACCEPTED"):
        assert decode_upstream(STATUSES[name] + 48).outcome == abi.INTERNAL_WARNED


def test_software_errors_are_a_bug_unless_rebooting():
    for word in SOFTWARE_ERRORS.values():
        assert decode_upstream(word).bugs and not decode_upstream(word, rebooting=True).bugs
        assert decode_upstream(word, rebooting=True).outcome == INTERNAL


@pytest.mark.parametrize("name, module, kvm", [
    ("TDX_NON_RECOVERABLE_TD", 0x6000_0002_0000_0000, 0x4000_0002_0000_0000),
    ("TDX_NON_RECOVERABLE_TD_WRONG_APIC_MODE", 0xE000_0007_0000_0000, 0x6000_0007_0000_0000),
])
def test_kvm_spells_two_statuses_unlike_the_module_and_misses_a_triple_fault_under_them(name, module, kvm):
    assert STATUSES[name] == module and abi.KVM_STATUSES[name] == kvm
    assert decode_upstream(kvm + 2).outcome == SHUTDOWN
    assert decode_upstream(module + 2).reason == NO_REASON and decode_upstream(module + 2).outcome == INTERNAL


def test_a_machine_check_at_entry_is_told_to_the_kernel():
    assert decode_upstream(41).fastpath == abi.MACHINE_CHECK
    assert decode_upstream(BUSY + 41).fastpath == HANDLED


# --- errno -----------------------------------------------------------------------------------

@pytest.mark.parametrize("word, site, expected", [
    (SUCCESS, "init", 0),
    (0x8000_FF00_FFFF_0000, "init", errno.ENODEV),
    (0x8000_FF00_0000_000D, "init", errno.EOPNOTSUPP),
    (0x8000_FF00_0000_0006, "init", errno.EACCES), (BUSY, "init", errno.EIO), (NO_ENTROPY, "init", errno.EIO),
    (NO_ENTROPY, "create", errno.EAGAIN), (BUSY, "create", errno.EIO), (NO_ENTROPY + 1, "create", errno.EIO),
    (0xC000_0100_0000_0009, "td_init", errno.EINVAL), (0xC000_0101_0000_0009, "td_init", errno.EIO),
    (0x8000_0200_0000_0092, "may_fail", errno.EBUSY), (0x8000_0200_0000_0001, "may_fail", errno.EBUSY),
    (0x8000_0200_0000_0080, "add", errno.EBUSY), (0xC000_0B0D_0000_0001, "add", errno.EIO),
    (0x8000_0201_0000_0000, "may_fail", errno.EIO), (0x8000_0204_0000_0001, "may_fail", errno.EIO),
    (0x8000_0200_0000_0092, "no_fail", errno.EIO),
    (0x0000_0B07_0000_0001, "no_fail", errno.EIO),
    (SUCCESS, "no_fail", 0),
])
def test_an_answer_becomes_the_errno_of_its_site(word, site, expected):
    assert errno_of(word, site) == -expected


def test_errnos_are_named_as_the_kernel_names_them():
    assert [errno_name(errno_of(status(fault.status))) for fault in abi.FAULTS.values()] == \
        ["-EOPNOTSUPP", "-EACCES", "-ENODEV"]
    assert errno_name(0) == "0"


# --- entropy ---------------------------------------------------------------------------------

@pytest.mark.parametrize("answers, attempts, last", [
    ([SUCCESS], 1, SUCCESS),
    ([NO_ENTROPY] * 3 + [SUCCESS], 4, SUCCESS),
    ([NO_ENTROPY] * 9 + [SUCCESS], 10, SUCCESS),
    ([NO_ENTROPY] * 10 + [SUCCESS], 10, NO_ENTROPY), ([BUSY, SUCCESS], 1, BUSY),
    ([NO_ENTROPY, BUSY, SUCCESS], 2, BUSY), ([NO_ENTROPY + 1, SUCCESS], 1, NO_ENTROPY + 1),
    ([STATUSES["TDX_KEY_GENERATION_FAILED"], SUCCESS], 1, STATUSES["TDX_KEY_GENERATION_FAILED"]),
])
def test_only_the_exact_want_of_entropy_is_retried_and_ten_attempts_are_all(answers, attempts, last):
    made = []

    def call():
        made.append(answers[len(made)])
        return made[-1]

    assert with_entropy_retries(call) == last
    assert len(made) == attempts <= ENTROPY_ATTEMPTS == 10


def test_an_errno_without_a_name_is_its_number():
    """ENOTSUPP (524) and others are the kernel's own, which no C library names."""
    assert [errno_name(value) for value in (0, -22, -95, -524, -2048)] == ["0", "-EINVAL", "-EOPNOTSUPP", "-524", "-2048"]
