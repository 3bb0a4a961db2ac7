"""Rows of THE TABLE by noun; seamcalls.py puts them together.

    row.py         What a row is, and what most rows begin with
    migration.py   TDH.EXPORT.*, TDH.IMPORT.*, TDH.MIG.STREAM.CREATE
    services.py    service TDs and measurements: TDH.SERVTD.*, TDG.SERVTD.*, TDG.MR.*
    devices.py     memory of devices: TDH.MMIO.*, TDG.TDI.MMIO.ACCEPT
    system.py      the module itself: TDH.SYS.*
    without.py     every leaf that has no row, and why
"""
