"""Where a call is to be read in a release: what its row's source says of that release, or that it was not read there.

A row's source is a list of places behind semicolons: FILE, FILE:LINES (of 1.5.01), RELEASE:LINES, RELEASE cOFFSET
(in characters, of a stored file that has no line numbers here), RELEASE = RELEASE (the same text: the index keeps a
text once, and the file is stored for the other release only; derived).  A place without a file is in the file before it.
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
PLACE = re.compile(r"(?:(?P<what>[\w ,=().]+): )?(?P<file>[\w/.]+\.[ch])?,?:? ?"
                   r"(?P<release>\d\.\d\.\d\d)?(?: = (?P<same>\d\.\d\.\d\d)|[: ]?(?P<at>c?\d[\d-]*))?(?P<rest>.*)$")


class Place(NamedTuple):
    """A place in a release; `read_in` is the release in which it was read, where that is another with the same text.

    why     how it is known that the text is the same: DERIVED, or TREES
    """

    file: str
    release: str
    at: str
    read_in: str = ""
    why: str = ""

    def __str__(self):
        where = f"{self.file}:{self.at}" if not self.at.startswith("c") else f"{self.file} at character {self.at[1:]}"
        return where + (f" of {self.read_in}, the same text ({self.why})" if self.read_in else "")


def places(source: str) -> list[Place]:
    """The places of a source that are of some release."""
    found, file, same = [], "", []
    for piece in source.split("; "):
        match = PLACE.match(piece)
        file = match["file"] or file
        if match["same"]:
            same.append((match["release"], match["same"]))
        elif match["at"] and file:
            found.append(Place(file, match["release"] or FIRST, match["at"]))
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


def in_release(source: str, release: Release) -> str:
    """`FILE:LINES`, of the release or of one that shares its row; or that it was not read there, and where it was."""
    if release.report_only:
        return source
    found = places(source)
    for name in alike(release):
        here = [str(place) for place in found if place.release == name]
        if here:
            return ", ".join(here) + (f" (of {name}, which shares this row)" if name != alike(release)[0] else "")
    return f"not read in {alike(release)[0]} itself: {source}"
