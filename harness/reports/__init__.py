"""Reports: values -> text, pages, files.  No engine, no process, no clock.

    answer.py        One answer of a SEAMCALL or a TDCALL, taken apart: what it is, who gives it, what KVM does with it
    ci.py            What other tools read of a night: JUnit XML, KTAP, a GitHub step summary, github-action-benchmark JSON
    explained.py     What is known of an answer, for a person
    exploration.py   Tables of what `explore` and `replay` found, for a person; nothing is wider than 100 columns
    listing.py       The micro-ops of a call, printed so that they can be laid beside the module's C file
    module.py        The module's table as a person reads it: all calls of a release, what differs, who contends with whom
    page.py          The report: results as one HTML page that needs nothing else, read top down
    plots.py         The plots of the report page, by matplotlib, as SVG that follows the page's colours (and files on demand)
    registers.py     What a call leaves in RCX, RDX ..., in words
    statuses.py      Every status and every operand id as a table, and as a page of docs/
    text.py          Tables that a person reads: one run, and the layout of all tables.  Nothing here is wider than 100 columns
"""
