"""What the answers of a run's SEAMCALLs amount to: the naive decoding's mistakes, and injected faults.

Both are read off the counts by answer that every run keeps anyway (and off counters that only a
program with faults has), so a run pays nothing for them.
"""

from typing import Callable, Iterable

from harness.protocol.errnos import errno_name, errno_of
from harness.protocol.seamcall_abi import (
    CALL, FAULTS, INTERRUPT, NMI, NO_FAULT, NO_REASON, PROBED, decode_naive, decode_upstream,
)
from harness.results.schema import Faults, MachineChecks, NaiveDecoding
from kernels.words import STATUSES, status, unsigned


def naive_decoding(entries: Iterable[tuple]) -> NaiveDecoding:
    """What a decoding of bits 15:0 would have taken a run's answers of TDH.VP.ENTER for.

    entries   each assemble.Answer that KVM got from TDH.VP.ENTER, and how often.  TDX_SUCCESS is left out:
              there the vCPU went into the guest, and what comes back later is a TD exit.
    """
    found = {"without_exit": 0, NMI: 0, INTERRUPT: 0, CALL: 0, "by_status": {}}
    for answer, count in entries:
        inside = answer.status == STATUSES["TDX_SUCCESS"]
        if inside or not count or decode_upstream(answer.status).reason != NO_REASON:
            continue
        found["without_exit"] += count
        naive = decode_naive(answer.status)
        if naive.spurious:
            found[naive.handler] += count
            found["by_status"][answer.name] = found["by_status"].get(answer.name, 0) + count
    return NaiveDecoding(**found)


def entered(program, answered) -> list[tuple]:
    """The answers that KVM got from TDH.VP.ENTER, each with how often.

    Its own; and of the guest's calls those that end the guest's run with a status that is no exit reason,
    which TDH.VP.ENTER then returns: TDX_HOST_PRIORITY_BUSY_TIMEOUT.

    answered   int (calls, answers): how often each call gave each answer
    """
    found = []
    for name, counts in zip(program.calls, answered):
        found += [(answer, int(count)) for answer, count in zip(program.answers, counts)
                  if name == "tdh_vp_enter" or answer.status == STATUSES["TDX_HOST_PRIORITY_BUSY_TIMEOUT"]]
    return found


def injected(config, program, answered, counter: Callable[[str], int]) -> Faults:
    """What the config injected and what came of it; nothing is set if nothing was injected.

    answered   int (calls, answers): how often each call gave each answer
    """
    faults = config.faults
    found: dict = {}
    if faults.seamcall != NO_FAULT:
        name = FAULTS[faults.seamcall].status
        found |= {
            "seamcall": faults.seamcall, "status": f"{status(name):#018x}", "status_name": name,
            "refused": _given(program, answered, status(name)),
            "init_errno": errno_name(errno_of(status(name))), "rebooting": faults.rebooting,
            "internal_errors": counter("internal_errors"),
        }
    if faults.no_entropy_share:
        found["no_entropy"] = sum(_given(program, answered, status(name))
                                  for name in ("TDX_RND_NO_ENTROPY", "TDX_KEY_GENERATION_FAILED"))
    if faults.machine_check_share:
        found["machine_checks"] = MachineChecks(count=counter("machine_checks"),
                                                **{name: counter(f"machine_check.{name}") for name in PROBED})
    return Faults(**found)


def _given(program, answered, word: int) -> int:
    return sum(int(answered[:, index].sum()) for index, answer in enumerate(program.answers)
               if unsigned(answer.status) == word)
