"""Who owns the host's frames, once everybody is done: where frames pass on (memory/placement.py), none is lost or owned twice."""

import numpy as np

from harness.memory.block import Memory
from harness.memory.layout import ENTRIES, HOST, PAMT_TYPE
from harness.memory.placement import WholeFrames
from kernels.ops import LEVELS
from kernels.words import ENTRY_STATES, PT_NDA, PT_REG, STATE_MASK

LEAVES = [state.word() & STATE_MASK for state in ENTRY_STATES if state.leaf and state.name not in ("FREE", "REMOVED")]


def misplaced(memory: Memory, entries: bool) -> int:
    """Frames that were lost or are owned twice; 2 MiB that are one page otherwise than the SEPT has it, or with other pages in use.

    entries   whether every large page has an SEPT entry (not where actors make parts of calls only)
    """
    if not memory.layout.passing:
        return 0
    now, began = _frames(memory)
    lost = len(np.setxor1d(began, now)) + len(now) - len(np.unique(now))
    return int(lost + (_large(memory, entries) if memory.layout.whole else 0))


def _frames(memory: Memory) -> tuple[np.ndarray, np.ndarray]:
    """The frames that have moved, as they are and as they began: of homes of guest pages, and what the host has to spare."""
    layout, now, began = memory.layout, [], []
    frames, slots = layout.frames, memory.view("frame_slot", np.int64)[:, 0]
    for td in range(layout.tds):
        away = memory.view("frame", np.int64, td)
        numbers, first = np.arange(layout.by_name["frame"].count), np.zeros_like(away)
        if len(away) < len(numbers):     # of a large TD the view is of touched pages only
            numbers = np.concatenate([memory.page_numbers(td), numbers[layout.pages:]])
        if layout.whole_from:
            single = numbers < layout.whole_from
            first[single] = memory.single_frames(td)[numbers[single]]
        moved = away != first
        now.append(frames.of("data", numbers[moved], td, away[moved]))
        began.append(frames.of("data", numbers[moved], td, first[moved]))
    if not isinstance(frames, WholeFrames):
        spare = frames.spare - frames.first["data"] + np.arange(len(slots))
        return np.concatenate([*now, frames.of("data", spare, moved=slots)]), np.concatenate([*began, frames.of("data", spare)])
    for found, (single, ranges) in ((now, (slots, memory.view("range_slot", np.int64)[:, 0])), (began, memory.spare_frames())):
        found += frames.scattered(single), frames.scattered((ranges[:, None] + np.arange(ENTRIES)).ravel())
    return np.concatenate(now), np.concatenate(began)


def _large(memory: Memory, entries: bool) -> int:
    layout = memory.layout
    types = memory.view(f"pamt_2m.{HOST}", np.uint8)[:layout.frames.ranges, PAMT_TYPE]
    pages, mapped = np.zeros(len(types), np.int64), np.zeros(len(types), np.int64)
    for td in range(layout.tds):
        small = memory.view("pamt_4k.data", np.uint8, td)[:, PAMT_TYPE]
        numbers = np.arange(layout.data_frames)
        if len(small) < len(numbers):
            numbers = np.concatenate([memory.page_numbers(td), numbers[layout.pages:]])
        in_use = numbers[small != PT_NDA]
        away = memory.view("frame", np.int64, td)[small != PT_NDA]
        pages += np.bincount(layout.frames.of("data", in_use, td, away) >> 9, minlength=len(types))
        upper = memory.view("sept.1", td=td)[:layout.pages // ENTRIES] & np.uint64(STATE_MASK)
        leaves = np.flatnonzero(np.isin(upper, np.array(LEAVES, np.uint64))) * ENTRIES
        whole = Memory.view(memory, "frame", np.int64, td)[leaves]
        mapped += np.bincount(layout.frames.of("data", leaves, td, whole) >> 9, minlength=len(types))
    large = types == PT_REG
    return int((large & (pages > 0)).sum() + (entries and (large != mapped).sum()))


assert LEVELS == 3               # no page is larger than 2 MiB here
