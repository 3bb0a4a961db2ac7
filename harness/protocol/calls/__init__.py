"""Rows of THE TABLE by noun; seamcalls.py puts them together.

    row.py         What a row is, and what most rows begin with
    op_states.py   In which op_states a call is allowed
    life.py        a TD's life: TDH.MNG.*, TDH.MR.*
    vcpus.py       TDH.VP.*
    memory.py      pages and SEPT pages by GPA: TDH.MEM.*
    large.py       pages merged, split and moved: TDH.MEM.PAGE.PROMOTE, DEMOTE, RELOCATE
    physical.py    physical memory: TDH.PHYMEM.*
    guests.py      what a guest does with its memory: TDG.MEM.PAGE.*
    migration.py   TDH.EXPORT.*, TDH.IMPORT.*, TDH.MIG.STREAM.CREATE
    services.py    service TDs and measurements: TDH.SERVTD.*, TDG.SERVTD.*, TDG.MR.*
    devices.py     memory of devices: TDH.MMIO.*, TDG.TDI.MMIO.ACCEPT
    system.py      the module itself: TDH.SYS.*
    without.py     every leaf that has no row, and why
"""
