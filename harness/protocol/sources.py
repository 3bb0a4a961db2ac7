"""Where a call is to be read in a release: what its row's source says of that release, or that it was not read there.

A row's source is a list of places behind semicolons: FILE, FILE:LINES (of 1.5.01), RELEASE:LINES, RELEASE cOFFSET
(in characters, of a stored file that has no line numbers here), RELEASE = RELEASE (the same text: the index keeps a
text once, and the file is stored for the other release only; derived).  A place without a file is in the file before it.
`WHAT: FILE ...` is where a part of the call is (how it writes the entry, its filter), elsewhere than the call itself.
Of two releases that differ in one file, a place in any other file is one of both.
"""

import re
from typing import NamedTuple

from harness.protocol.releases import BY_NAME, Release

FIRST = "1.5.01"                 # a place without a release has this release's lines
# Two releases with the same text but for one file: their trees compared, and in the public copy's index, by commit, too.
TWINS, OTHERWISE = ("1.5.24", "1.5.25"), "pamt_manager.c"
DERIVED = "derived"
TREES = f"the trees differ in {OTHERWISE} only"
# The releases of which the code of these calls itself was run, each on many inputs, and its results were kept
# (tests/vectors/module, calls-*): a test holds the rows against them.
RUN = ("1.5.05", "1.5.20", "1.5.24")
CALLS_RUN = frozenset((
    "tdh_vp_enter", "tdh_mng_add_cx", "tdh_mem_page_add", "tdh_mem_sept_add", "tdh_vp_addcx", "tdh_mem_page_relocate",
    "tdh_mem_page_aug", "tdh_mem_range_block", "tdh_mng_create", "tdh_vp_create", "tdh_mem_page_demote", "tdh_mr_extend",
    "tdh_mr_finalize", "tdh_vp_flush", "tdh_mng_vpflushdone", "tdh_mng_key_freeid", "tdh_vp_init", "tdh_mem_page_promote",
    "tdh_phymem_page_rdmd", "tdh_mem_sept_rd", "tdh_phymem_page_reclaim", "tdh_mem_page_remove", "tdh_mem_sept_remove",
    "tdh_mem_track", "tdh_mem_range_unblock", "tdh_phymem_page_wbinvd", "tdg_mem_page_accept"))
PLACE = re.compile(r"(?:(?P<what>[\w ,=().]+): )?(?P<file>[\w/.]+\.[ch])?,?:? ?"
                   r"(?P<release>\d\.\d\.\d\d)?(?: = (?P<same>\d\.\d\.\d\d)|[: ]?(?P<at>c?\d[\d-]*))?(?P<rest>.*)$")


class Place(NamedTuple):
    """A place in a release; `read_in` is the release in which it was read, where that is another with the same text.

    why     how it is known that the text is the same: DERIVED, or TREES
    part    what of the call is there, if not the call itself
    """

    file: str
    release: str
    at: str
    read_in: str = ""
    why: str = ""
    part: str = ""

    def __str__(self):
        part = f"{self.part}: " if self.part else ""
        where = part + (f"{self.file} at character {self.at[1:]}" if self.at.startswith("c") else f"{self.file}:{self.at}")
        return where + (f" of {self.read_in}, the same text ({self.why})" if self.read_in else "")


def places(source: str) -> list[Place]:
    """The places of a source that are of some release."""
    found, file, part, same = [], "", "", []
    for piece in source.split("; "):
        match = PLACE.match(piece)
        file, part = (match["file"], match["what"] or "") if match["file"] else (file, part)
        if match["same"]:
            same.append((match["release"], match["same"]))
        elif match["at"] and file:
            found.append(Place(file, match["release"] or FIRST, match["at"], part=part))
    there = {(place.file, place.release) for place in found}
    found += [place._replace(release=other, read_in=one, why=TREES) for one, other in (TWINS, TWINS[::-1]) for place in found
              if place.release == one and not place.file.endswith(OTHERWISE) and (place.file, other) not in there]
    return found + [place._replace(release=other, read_in=one, why=DERIVED) for other, one in same for place in found
                    if place.release == one and not place.read_in]


def alike(release: Release) -> tuple[str, ...]:
    """The releases that share a release's row, itself first; of one of one's own, those of its base."""
    base = release.name.partition("+")[0]
    row = BY_NAME[base]
    others = [name for name, other in BY_NAME.items() if other._replace(name=base) == row and name != base]
    return (base, *others)


def _here(source: str, release: Release) -> tuple[str, list[Place]]:
    """The first of the releases that share a row in which a source has places of the call itself, or any; and those."""
    found = places(source)
    by_name = {name: [place for place in found if place.release == name] for name in alike(release)}
    whole = [name for name, here in by_name.items() if not all(place.part for place in here)]
    some = [name for name, here in by_name.items() if here]
    name = next(iter(whole + some), alike(release)[0])
    return name, by_name[name]


def was_read(source: str, release: Release) -> bool:
    """Whether a call itself was read in a release, or in one that shares its row: not a part of it only, nor an equal text."""
    return any(not place.part and place.why != DERIVED for place in _here(source, release)[1])


def was_run(call: str, release: Release) -> str:
    """The release of which a call's own code was run beside the row, itself or one that shares it; nothing if there is none."""
    return next((name for name in alike(release) if name in RUN), "") if call in CALLS_RUN else ""


def in_release(source: str, release: Release, call: str = "") -> str:
    """`FILE:LINES`, of the release or of one that shares its row; or that it was not read there, and where it was.

    call   of which it is the source: if that was run, it is said
    """
    if release.report_only:
        return source
    first = alike(release)[0]
    name, here = _here(source, release)
    run = was_run(call, release)
    how = f"agrees with {run}'s own code, which was run; " if run else f"{DERIVED}, "
    if not here:
        return f"{how}not read in {first} itself: {source}"
    text = ", ".join(map(str, here)) + (f" (of {name}, which shares this row)" if name != first else "")
    return text + (f"; the rest {how}not read in {first} itself" if all(place.part for place in here) else "")
