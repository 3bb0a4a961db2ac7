"""How wide each word is that a call reads or writes, and which of its bits a test looks at: a table beside the rows.

A line is for all rows that say so (`Row.text`; names of pages and of locks are left off).  What an access is about and in
which order it comes is in orders.py; here is what a test of the outcome seldom tells apart: whether all of a field is
compared, or all but one bit.

    bits       of the word that is accessed
    compared   the bits that are compared (ALL; a mask); None: the row compares none; EITHER: all or none
    equal      what they are compared with; None: several values, which tests of the states and types look at
"""

import re
from typing import NamedTuple

ALL = (1 << 64) - 1
EITHER = -1
TDEL = 1 << 11                   # of an SEPT entry
LOCK = 16                        # bits of the module's sharex and sharex_hp locks


class Field(NamedTuple):
    said: str                    # a regular expression
    bits: int
    compared: int | None = None
    equal: int | None = 0


# Types of pages, by their numbers in the module (pamt.h): NDA 0, RSVD 1, REG 3, TDR 4, TDVPR 6, PAMT_2M pairs 15.
LOADS = (
    Field(r"type of (PAGE|its first part)", 8, EITHER, None),
    Field(r"type of .*(no large page|PAIR\d|PAIR\d\.1G|TARGET|a page|a part)", 8, ALL, 0),
    Field(r"type of .*(must have a pair|has a pair|PAIR\d\.2M)", 8, ALL, 15),
    Field(r"type of a part: all of one", 8, ALL, 3),
    Field(r"type of the (service TD|target)'s TDR", 8, ALL, 4),
    Field(r"type of .*", 8, ALL, None),
    Field(r"(.*)holds no PAMT entries", 8, ALL, 0),
    Field(r"TDR\.fatal|key configured\?|not mapped yet", 8, ALL, 0),
    Field(r"initialized\?|this package", 8, ALL, 1),
    Field(r"of this session", 8, ALL, 2),
    Field(r"state of the HKID|vCPU state", 8, ALL, None),
    Field(r"host priority on the tree\?", LOCK, 2, 0),
    Field(r"pages in use", 16, ALL, 0),
    Field(r".*\((shared|exclusive)\).*", LOCK, None),
    Field(r"assoc_lpid|td_epoch", 32, None),
    Field(r"not locked", 64, TDEL, 0),
    Field(r"interrupt pending\?", 64, 1, 0),
    Field(r"nobody inside", 64, 0xFFFF_FFFF, 0),         # the count of running vCPUs; above it is what is not a count
    Field(r"packages to write back", 64, ALL ^ 0xFF, 0), # the lowest byte is the state
    Field(r"fatal\? keys\? TDCX pages\?", 64, ALL, 0x6_01_00),   # six pages, TD_KEYS_CONFIGURED, not fatal
    Field(r"TDR\.chldcnt|dirty_count|mig_count|num_assoc_vcpus|interrupted\?|not bound|package 0 has its key|a processor: initialized", 64, ALL, 0),
    Field(r"no key yet|on all packages", 64, ALL, 1),
    Field(r"bound", 64, ALL, 2),
    Field(r"sys_state|not initialized yet", 64, ALL, None),
    Field(r"an entry in it|bepoch|bw_epoch|epoch of its last import|mig_epoch|num_migs|num_vcpus|op_state|pages of the pair|td_epoch and counts"
          r"|the first entry|vcpu_epoch", 64, None),
)
# Bit numbers that a value may be: the sets are held by tests of the states (test_allowed.py), the widths here.
MEMBERS = (
    Field(r"type of .*in use", 8, ALL ^ 3),                      # neither NDA nor RSVD; from 1.5.20 on nor PAMT_2M (15): NOT_PAIRS
    Field(r"type of .*|TDCX pages|num_tdcx|lifecycle_state allowed", 8),
    Field(r".*op_state allowed|in order\?|not bound yet|num_migs.*", 64),
)

NOT_PAIRS = 1 << 15

WRITES = (
    Field(r"type of .*|.*holds no PAMT entries|PAIR\d holds PAMT entries|TDCX pages|written back|to be written back|its status"
          r"|last_epf_gpa_list_idx|possibly_epf_stepping|lifecycle_state|mapped|stream \d: initialized|vCPU state: .*", 8),
    Field(r".*\((shared|exclusive)\).*|count of running vCPUs|pages in use|its lock, initialized", 16),
    Field(r"assoc_lpid|a new PAMT entry", 32),
    Field(r".*", 64),
)
# Two words that are called the same: of a package, a stream or a processor, and of the TD or the module.
BOTH = {"key configured": {8, 64}, "initialized": {8, 64}, "not initialized yet": {8, 64}, "td_epoch": {32, 64}}

TESTS = (
    Field(r"TDR\.fatal", 64, 0xFF, 0),
    Field(r"keys configured", 64, 0xFF00, 0x100),
    Field(r"accessible", 64, 7, 7),
    Field(r"readable|exclusive", 64, 1, None),
    Field(r"host priority", 64, 2, 0),
    Field(r"is a leaf", 64, 1 << 7, 1 << 7),
    Field(r"not 512 before", 64, 512, 0),
    Field(r"all", 64, 511, 511),
    Field(r"aligned", 64, 0x1F_F000, 0),                         # to 2 MiB
    Field(r"the first of it", 64, None, 0),                      # of 2 MiB or of 1 GiB
    Field(r"all (\d+)", 64, ALL, None),
    Field(r"at level 1|all 1|refused before\?|the first\?|the last\?", 64, ALL, 1),
    Field(r"at level 2", 64, ALL, 2),
    Field(r"the last", 64, ALL, 511),
    Field(r"TDR\?", 64, ALL, 4),
    Field(r"live\?", 64, ALL, 9),                                # an op_state: LIVE_IMPORT
    Field(r".*", 64, ALL, 0),
)

# Sets of numbers that fit into a register, and parts of a word that are taken out of it.
SETS = (Field(r"enough", 64, ALL ^ 0x3F),)                       # six TDCX pages
INDEXES = (Field(r"num_tdcx", 16, 0xFF),)


def field(table: tuple[Field, ...], said: str) -> Field | None:
    """The line for what a row says."""
    return next((each for each in table if re.fullmatch(each.said, said)), None)
