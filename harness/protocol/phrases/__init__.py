"""The words that SEAMCALL rows are written in, and what each becomes in micro-ops.

A row in calls/ is a list of *phrases* in the order in which the module does things: take this
lock, check that, write this.  A phrase is a value, so that other code can read which locks a call
takes and how, with

    emit(call)                 writes its micro-ops into a Call
    locks(level, release)      the locks it takes, in order (only phrases that take any)
    operand                    what a lost try of one of them reports (operand_of(lock) where they differ)

    phrase.py     what a phrase is: a value with named fields
    locking.py    pages, op_state, SEPT tree and entry, epoch, KOT, key table, write-back mutex
    pages.py      SEPT entries and PAMT entries: checks and writes; TLB tracking
    nodes.py      Dynamic PAMT: whether a page has a PAMT entry, and how many of its 2 MiB are in use
    pairs.py      Dynamic PAMT: 2 MiB get their pair of pages, or lose it
    large.py      2 MiB pages: merged, split, moved
    vcpus.py      TDH.VP.ENTER, TD exit, association
    guests.py     TDG.MEM.PAGE.ACCEPT, ATTR.RD and ATTR.WR
    migration.py  live migration: its streams and phases, lists of pages
    imports.py    TDH.IMPORT.MEM: pages that come, pages that are taken back
    services.py   service TDs, their bindings, RTMRs
    devices.py    memory of devices in the SEPT
    system.py     the module's own state, processors, packages, TDMRs
    life.py       a TD's life cycle: keys, HKID, TDCX pages, finalization

Where the model leaves something out, the phrase says so.
"""
