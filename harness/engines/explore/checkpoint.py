"""A search that was interrupted, as a file: `--resume` goes on from it.

What is in it are the rows of the tables that are in use and all that has been learned; indexes are made again. Who asks for
what is kept has the scenario and the bounds: the file's name says that they are the same, and the source too.
"""

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from harness.engines.explore import forgetting
from harness.errors import UsageError
from harness.experiment.schedule import Turn
from kernels import interned, states, symmetry
from kernels.moves import ORDERS

KNOWN = "contested", "accessors", "changed", "ordered", "cells", "cell_at", "cell_of", "initial", "names", "named", "touches", "foreseen"
DICTIONARY = "fields", "end", "codes", "values"


def _arrays(search) -> dict[str, tuple[np.ndarray, int]]:
    """By name: each array of a search that is filled while it goes on, and how many of its elements are in use."""
    tables, counts = search.tables, search.counts
    rows = {"locals": tables.locals.table, "memories": tables.memories.table, "moves": tables.moves, "states": tables.states.table}
    count = {name: int(counts[kind]) for kind, name in enumerate(rows)}
    found = {name: (table.rows, count[name]) for name, table in rows.items()}
    found |= {f"locals.{name}": (getattr(tables.locals, name), count["locals"]) for name in ("fanout", "number", "twins", "kicked", "context")}
    found |= {f"memories.{name}": (getattr(tables.memories, name), count["memories"]) for name in ("swapped", "ordered")}
    arcs = 0 if counts[states.NO_ARCS] else int(counts[states.N_ARCS])
    found |= {"states.parents": (tables.states.parents, count["states"]), "states.arcs": (tables.states.arcs, arcs),
              "states.first": (tables.states.first, count["states"] if arcs else 0),
              "states.ended": (tables.states.ended, int(counts[states.N_ENDED]))}
    whole = {f"locals.of.{place}": row for place, row in enumerate(tables.locals.of)}
    found |= {name: (row, int(tables.locals.met[place])) for place, (name, row) in enumerate(whole.items())}
    for name, array in {
            "locals.met": tables.locals.met, "fields": search.stored.state_fields, "counts": counts, "events": search.events,
            "first": search.first, "settling_met": search.settling_met, "record": search.world.record[search.world.words_answered()],
            **{f"known.{name}": getattr(search.known, name) for name in KNOWN},
            **{f"words.{name}": getattr(search.stored.dictionary, name) for name in DICTIONARY}}.items():
        found[name] = array, len(array) if name != "words.values" else int(search.known.cells[0])
    return found


def keep(search, path: Path) -> None:
    """Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    begun = path.with_suffix(".begun")
    about = np.array([search.room, search.stored.note_bits, search.seconds, search.more, search.news_at])
    with open(begun, "wb") as file:
        used: dict[str, Any] = {name: array[:count] for name, (array, count) in _arrays(search).items()}
        np.savez(file, about=about, leaders=search.world.arrays.alike[:, symmetry.LEADER], settling=np.array(search.settling, np.int64), **used)
    os.replace(begun, path)


def _groups(leaders: list[int]) -> list[list[int]]:
    """Places by the first of those that each is alike to."""
    groups = [[place for place, each in enumerate(leaders) if each == leader] for leader in sorted(set(leaders))]
    return [places for places in groups if len(places) > 1]


def resume(search, path: Path) -> bool:
    """Put a search where another one was; whether there is one to go on from. Raises UsageError for tables that are too small."""
    if not path.is_file():
        return False
    try:
        with np.load(path) as kept:
            room, note_bits, seconds, more, news_at = kept["about"].tolist()
            if search.more and not more:
                forgetting.forget(search, search.more)
                search.more = 0
            search.are_alike(_groups(kept["leaders"].tolist()))
            search.room = int(room)
            search.allocate()
            search.first, search.settling_met = kept["first"], kept["settling_met"]
            search.settling = [Turn(*turn) for turn in kept["settling"].tolist()]
            stored = search.stored
            if len(kept["states"]) >= len(search.tables.states.table.rows):
                raise UsageError(f"--memory-mib {search.memory_bytes >> 20}: {path} has {len(kept['states'])} states, which do not fit;"
                                 " give more")
            stored.give_columns(kept["memories"].shape[1], kept["states"].shape[1])
            for name, (array, _) in _arrays(search).items():
                array[:len(kept[name])] = kept[name]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return False                     # what is not whole is as good as none
    stored.spare, stored.note_bits, stored.said = 0, int(note_bits), ()
    slots = stored.counts[states.SLOTS:states.SLOTS + states.TABLES]
    for kind, table in enumerate(stored.tables_by_kind()):
        slots[kind] = min(slots[kind], len(table.index))
        interned.index_anew(table, int(slots[kind]))
    if search.forget & ORDERS:
        forgetting.foresee(search, search.known.foreseen)
    search.seconds, search.news_at = seconds, int(news_at)
    return True
