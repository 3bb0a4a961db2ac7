"""Makes a mutant of a row or of a micro-op in this process, and asks the tests about it."""

import harness.protocol.seamcalls as table
import tests.stage as stage
from tests.mutants import judges
from tests.mutants.rows import RowMutant
from tests.mutants.running import KILLED, SAME, SURVIVED, UNMADE
from tests.mutants.steps import StepMutant, needed

# What is asked, with --thorough, about a mutant that the tests of single calls let through: half a minute each.
FILES = ("tests/protocol/test_seamcalls.py", "tests/protocol/test_releases.py", "tests/protocol/test_interleavings.py",
         "tests/protocol/test_allowed.py", "tests/protocol/test_entries.py", "tests/protocol/test_packages.py",
         "tests/protocol/test_contention.py", "tests/protocol/test_faults.py",
         "tests/protocol/test_host_priority.py", "tests/protocol/test_orders.py", "tests/protocol/test_flows.py")


def judge(mutant: RowMutant | StepMutant, thorough: bool = False) -> tuple[str, str]:
    """(verdict, by whom); changes this process for good."""
    stage.ONLY = needed(mutant.call)
    stage.stage_program.cache_clear()
    before = _micro_ops(mutant.release)
    try:
        make(mutant)
        after = _micro_ops(mutant.release)
    except Exception as failure:                         # no test has seen it
        return UNMADE, f"{type(failure).__name__}: {failure}"
    if after == before:
        return SAME, "the same micro-ops"
    if failed := judges.about(mutant.release, mutant.call):
        return KILLED, failed
    stage.ONLY = ()
    stage.stage_program.cache_clear()
    if failed := judges.of_the_module(mutant.release, mutant.call):
        return KILLED, failed
    if failed := judges.of_all(mutant.release):
        return KILLED, failed
    if thorough and (failed := judges.whole_files(*FILES)):
        return KILLED, failed
    return SURVIVED, ""


def make(mutant: RowMutant | StepMutant) -> None:
    if isinstance(mutant, StepMutant):
        def edit(listing, release):
            if release == mutant.release:
                mutant.edit(listing)
        stage.EDIT = edit
    else:
        original = table.seamcalls

        def changed(release=table.DEFAULT):
            rows = original(release)
            if release.name != mutant.release:
                return rows
            return tuple(mutant.row if row.name == mutant.call else row for row in rows)

        table.seamcalls = changed
    stage.stage_program.cache_clear()


def _micro_ops(release: str):
    program = stage.Stage(release=release).program
    return program.rows.tobytes(), program.answers


def warm_up() -> None:
    """Compile once, for all forks."""
    stage.Stage().actor("host0").call("tdh_mem_track")

