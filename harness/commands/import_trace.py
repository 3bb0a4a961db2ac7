"""The command `import-trace`: what was recorded on a real TDX host, as a config, histograms and numbers to compare with."""

from pathlib import Path

from harness.commands import arguments
from harness.errors import DONE, UsageError, meant
from harness.files import reason
from harness.protocol import policies


def add(parser) -> None:
    parser.add_argument("trace", metavar="FILE", help="text of ftrace, perf script or trace-cmd report, or bpftrace -f json"
                        " (examples/tdx.bt)")
    parser.add_argument("--out", metavar="DIR", help="where the files go (default: the trace's name with -imported)")
    arguments.add_format(parser, arguments.TABLE_OR_JSON)
    parser.add_argument("--policy", default="kick_on_busy", help="policy of the config (default: kick_on_busy)")


def do(options) -> int:
    from harness.reports.traces import trace_report          # loads the compiler
    from harness.traces import gathered, written
    known = [policy.name for policy in policies.POLICIES]
    if options.policy not in known:
        raise UsageError(f"--policy {options.policy}: no such policy; {meant(options.policy, known)}known: {', '.join(known)}")
    folder = Path(options.out or f"{Path(options.trace).stem}-imported")
    arguments.check_folder("--out", folder)
    found = gathered.gather(options.trace)
    try:
        paths = written.write(found, options.trace, folder, options.policy)
    except OSError as problem:
        raise UsageError(f"--out {folder}: cannot be written: {reason(problem)}") from None
    print(trace_report(found, written.real(found, options.trace), paths, options.format))
    return DONE
