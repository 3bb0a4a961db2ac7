"""Reports: values -> text, pages, files.  No engine, no process, no clock.

    text.py          One number, wrapping, tables within 100 columns
    numbers.py       A number of a result, or of several: medians, totals of what is fatal, bounds of none
    run.py           One run, every table
    summary.py       One run in at most 25 lines
    comparison.py    Policies side by side, in words
    before_after.py  A policy before and after a change: old, new, change
    sweep.py         A sweep as one table or one picture
    sensitivity.py   What a sweep's numbers depend on: how far each goes, which cost decides
    histograms.py    Percentiles over several results
    policies.py      The policies listed
    doctor.py        What `doctor` has found, as a table
    validation.py    Real and virtual time, number by number
    module.py        The module's table as a person reads it: calls, releases, who contends with whom
    litmus.py        A litmus test's verdict as herd7 prints it
    traces.py        What a trace of a real host came to, and which of its lines were not used
    named.py         The release that `--module` names, known without the rows of the calls
    listing.py       The micro-ops of a call, to be laid beside the module's C file
    answer.py        One answer of a SEAMCALL or a TDCALL, taken apart: what it is, who gives it, what KVM does with it
    explained.py     What is known of an answer, for a person
    keys.py          docs/keys.md: every key of configs and scenarios, from their JSON Schema
    columns.py       docs/columns.md: every number a table can have a column of, from results/metrics.py
    exit_codes.py    docs/exit_codes.md: every exit code, from errors.py and stops.py
    reference.py     docs/result.md: every key of result.json, counter, span and invariant, from the tables
    calls.py         docs/calls.md: every call of the newest releases, its locks, or why it has no row
    releases.py      docs/releases.md: what changed in which release, and which known defects each has
    registers.py     What a call leaves in RCX, RDX ..., in words
    statuses.py      Every status and every operand id as a table, and as a page of docs/
    exploration.py   What `explore` and `replay` found
    way.py           A way to an outcome as a page, or as Chrome's and Perfetto's trace
    events.py        The first milliseconds of a run, call by call, as such a trace
    chrome_trace.py  The format of those traces, as its viewers take it
    ci.py            What other tools read of a night: JUnit, KTAP, a step summary, benchmark JSON
    page.py          Results as one HTML page that needs nothing else
    templates.py     Pages for a browser: a template, filled in
    plots.py         Its plots, as SVG that follows the page's colours, and as files
"""
