"""The table of families of which the default suite runs a share."""

import re
from pathlib import Path

from tests import sampled


def test_each_family_is_there():
    """A name that is mistyped would leave its family whole."""
    for family, share in sampled.ONE_OF.items():
        path, _, name = family.partition("::")
        assert re.search(rf"^def {name}\(", (Path(__file__).parent / path).read_text(), re.MULTILINE) and share > 1, family


def test_one_of_so_many_is_not_slow():
    class Item:
        def __init__(self, nodeid):
            self.nodeid, self.marks = nodeid, []

        def add_marker(self, mark):
            self.marks.append(mark.name)
    family, share = next(iter(sampled.ONE_OF.items()))
    items = [Item(f"tests/{family}[{case}]") for case in range(2 * share)] + [Item("tests/test_files.py::test_other")]
    sampled.mark(items)
    assert [each.marks for each in items] == 2 * [[], *(share - 1) * [["slow"]]] + [[]]
