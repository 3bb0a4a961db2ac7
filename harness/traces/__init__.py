"""Traces of real TDX hosts, read line by line in constant memory.

    events.py      what each event of a trace means: one table
    kernel_text.py   lines of ftrace, trace-cmd and perf script
    bpftrace.py    lines of `bpftrace -f json`
    gathered.py    what a trace comes to: rates, popularity of pages, times, answers
    written.py     the files made of it: a config, histograms, real.json
"""
