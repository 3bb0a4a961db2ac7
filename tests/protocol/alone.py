"""A call about to be made alone, on a stage: its words by the names of orders.py, what it then does, and a comparison."""

from harness.memory.block import all_packages
from harness.memory.layout import (
    KOT_PACKAGES, PAMT_BEPOCH, PAMT_BYTES, PAMT_TYPE, TDR_FATAL, TDR_LIFECYCLE, TDR_TDCX, TDVPS_EPOCH, TDVPS_LP, TDVPS_STATE,
    TDVPS_STEPPING, TDVPS_TDCX, TDVPS_TLB, WBT_POINT,
)
from kernels import stepping, words as module
from kernels.epoch import EPOCH_SHIFT, epoch_word
from kernels.ops import Op, Register as R
from kernels.words import STATE, state_of, status_name
from tests.accesses import recorded
from tests.ready import caller, ready
from tests.stage import ABOUT_PAGES, Stage

# Their low half says which state it was, from 1.5.16 and 1.5.20 on: the word, and the field of a release.
CARRY_A_STATE = {"TDX_OP_STATE_INCORRECT": ("op_state", "op_state_status"),
                 "TDX_VCPU_STATE_INCORRECT": ("vcpu_state", "vcpu_state_status")}
GROUPS_OF_TABLES = {1: "pt_pages", 2: "pd_pages"}


class Try:
    """A call about to be made, alone: the stage, the words by the names of orders.py, and who makes it."""

    def __init__(self, release: str, name: str, level):
        self.stage = Stage(release=release)
        self.call, _, self.case = name.partition(", ")
        self.page, self.level = 0, level
        self.actor = caller(self.stage, "tdh_vp_enter" if self.call == "td_exit" else self.call)
        self._away_from_the_tdr()
        if self.call == "td_exit":
            assert self.actor.call("tdh_vp_enter") == 0
        else:
            self.page = ready(self.stage, self.call, level)
        self.begins_with = self.page     # what the call is about, if not the page with the words that are looked at
        _CASES.get(self.case, lambda tried: None)(self)
        self.epoch = self.stage.word("epoch", width=64) >> EPOCH_SHIFT
        self.words = self._words()

    def _away_from_the_tdr(self) -> None:
        """A TDVPR in other 2 MiB and 1 GiB than the TDR, so that each of its locks can be had or lost by itself."""
        for register, size in ((R.TDVPR_2M, "2m"), (R.TDVPR_1G, "1g")):
            self.actor.registers[register] = self.stage.layout.at(f"pamt_{size}.pd_pages")

    def run(self, changes=None) -> tuple[list, str]:
        """Its accesses and its answer; `changes`: of tests.accesses.recorded."""
        registers = self.actor.registers
        if self.call == "td_exit":
            registers[R.PC] = self.stage.program.labels["td_exit"]
            return recorded(self.actor, Op.GO, changes), "TDX_SUCCESS"
        self.actor.begin(self.call, self.begins_with, self.level)
        self._left_by_another_call()
        accesses = recorded(self.actor, changes=changes)
        link = registers[R.LINK]
        for _ in range(2):
            self.actor.step()
        assert registers[R.PC] == link, "the call does not return to where it was made"
        answer = self.stage.program.answers[registers[R.ANSWER]]
        name, state = status_name(answer.status), self.actor.status ^ answer.status
        word, since = CARRY_A_STATE.get(name, ("", ""))
        carries = bool(word) and getattr(self.stage.release, since) and self.stage.release.name != "report-2024"
        assert state == (self.get(word) if carries else 0), name
        return accesses, name

    def _left_by_another_call(self) -> None:
        """What a call may have left in the registers that the next one uses: nothing that this one may build on."""
        registers = self.actor.registers
        for register in (R.COPY, R.UNLOCKED, R.NEW, R.OLD, R.BEPOCH, R.INDEX, R.FIRST, R.VCPU_EPOCH, R.WALK):
            registers[register] = 0x1_5A5A_5A58
        registers[R.STATUS], registers[R.ANSWER] = -1, 0
        registers[R.STATE], registers[R.OP_STATE] = STATE["REMOVED"].index, 5
        registers[R.EPOCH_WORD] = self.stage.word("epoch", width=64)
        words = [R.CURSOR, R.PAMT, R.OWN_SIZE, R.REFCOUNT]
        if self.call == "tdh_vp_enter":                  # it is about no page until one is listed
            words += [R.ENTRY_PT, R.ENTRY_PD, R.ENTRY_PDPT]
            registers[R.LEVEL], registers[R.PAGE] = 2, 600
        for register in words:
            registers[register] = self.stage.layout.at("accepted")       # a word that no call of the module uses

    def get(self, word: str) -> int:
        offset, width = self.place(word)
        return self.stage.memory.word(offset, width or 64)

    def set(self, word: str, value: int) -> None:
        offset, width = self.place(word)
        self.stage.memory.set_word(offset, value, width or 64)

    # --- words ---

    def _words(self) -> dict[str, tuple]:
        """Offset and width of each word, by its name, and of many alike the distance from one to the next.

        A width of None: it is read and written in several.
        """
        stage, at = self.stage, self.stage.layout.at
        found = {"OP_STATE": (at("op_state_lock"), 16), "SEPT_TREE": (at("secure_ept_lock"), 16),
                 "epoch_lock": (at("epoch_lock"), 16), "kot_lock": (at("kot_lock"), 16), "KET": (at("ket"), 8),
                 "WBT": (at("wbt"), 8), "point": (at("wbt") + WBT_POINT, 64), "kot": (at("kot"), None), "written_back": (at("kot") + KOT_PACKAGES, 8),
                 "key": (at("keys"), 8), "keys": (at("keys"), 64),
                 "tdr_state": (at("tdr_state"), 64), "fatal": (at("tdr_state") + TDR_FATAL, 8),
                 "lifecycle": (at("tdr_state") + TDR_LIFECYCLE, 8), "num_tdcx": (at("tdr_state") + TDR_TDCX, 8),
                 "op_state": (at("op_state"), 64), "chldcnt": (at("chldcnt"), 64),
                 "mem_count": (at("mem_count"), 64), "blocked_count": (at("blocked_count"), 64), "num_vcpus": (at("num_vcpus"), 64),
                 "assoc": (at("num_assoc_vcpus"), 64), "epoch": (at("epoch"), 64), "td_epoch": (at("epoch") + 4, 32),
                 "count": (at("epoch") + 2 * (self.epoch & 1), 16), "KICK": (int(self.actor.registers[R.KICK]), 64)}
        vcpu = at("tdvps")
        found |= {"vcpu_state": (vcpu + TDVPS_STATE, 8), "tdcx": (vcpu + TDVPS_TDCX, 8), "lp": (vcpu + TDVPS_LP, 32),
                  "vcpu_epoch": (vcpu + TDVPS_EPOCH, 64), "invept": (vcpu + TDVPS_TLB, 64),
                  "filter": (vcpu + TDVPS_STEPPING, 64), "epf_count": (vcpu + TDVPS_STEPPING + stepping.EPF_COUNT, 8),
                  "epf_length": (vcpu + TDVPS_STEPPING + stepping.EPF_LENGTH, 8)}
        found |= self._page("TDR", "control", 0) | self._page("TDVPR", "control", 1)
        registers = self.actor.registers
        for name, register in (("TDVPR.2M", R.TDVPR_2M), ("TDVPR.1G", R.TDVPR_1G)):
            found |= {name: (int(registers[register]), 16), f"{name}.type": (int(registers[register]) + PAMT_TYPE, 8)}
        if self.level in GROUPS_OF_TABLES and self.call in ("tdh_mem_sept_add", "tdh_mem_page_demote"):
            found |= self._page("PAGE", GROUPS_OF_TABLES[self.level], self.page >> 9 * self.level)
        else:
            found |= self._page("PAGE", self.level if self.call in ABOUT_PAGES else "data", self.page)
        found |= self._page("TARGET", "data", stage.layout.pages)
        found["ROOT"] = (at("sept.2"), 64, 8)
        return found | ({} if isinstance(self.level, str) else self._mapping())

    def _page(self, name: str, group: str, index: int) -> dict:
        found = {}
        for part, size, shift in (("", "4k", 0), (".2M", "2m", 9), (".1G", "1g", 18)):
            place = self.stage.layout.at(f"pamt_{size}.{group}", index >> shift)
            found |= {name + part: (place, 16), f"{name}{part}.type": (place + PAMT_TYPE, 8),
                      f"{name}{part}.bepoch": (place + PAMT_BEPOCH, 64)}
        return found

    def _mapping(self) -> dict:
        """The entry, those above and below it, the page that it maps."""
        stage, at, number = self.stage, self.stage.layout.at, self.page >> 9 * self.level
        found = {f"SEPT{level}": (at(f"sept.{level}", self.page >> 9 * level), 64) for level in range(3)}
        found["ENTRY"] = (at(f"sept.{self.level}", number), 64)
        state = state_of(self.stage.entry(self.page, self.level))
        group, size = ("data", ("4k", "2m", "1g")[self.level])
        if self.level and not state.leaf:
            group, size = GROUPS_OF_TABLES[self.level], "4k"
        place = at(f"pamt_{size}.{group}", number)
        found |= {"MAPPED": (place, 16), "MAPPED.type": (place + PAMT_TYPE, 8), "MAPPED.bepoch": (place + PAMT_BEPOCH, 64)}
        found["CONTENT"] = (at("content", self.page), 64, stage.layout.content_bytes)
        if self.level:
            place, part = at("pamt_2m.data", self.page >> 9), at("pamt_4k.data", self.page)
            found |= {"LARGE": (place, 16), "LARGE.type": (place + PAMT_TYPE, 8),
                      "CHILD": (at(f"sept.{self.level - 1}", number * 512), 64, 8),
                      "PART.type": (part + PAMT_TYPE, 8, PAMT_BYTES), "PART.bepoch": (part + PAMT_BEPOCH, 64, PAMT_BYTES)}
        return found

    def place(self, name: str) -> tuple[int, int | None]:
        """Offset and width of a word, or of one of many: "CHILD[3]"."""
        base, _, index = name.partition("[")
        offset, width, *stride = self.words[base]
        return offset + (int(index[:-1]) * stride[0] if index else 0), width

    def name_of(self, offset: int) -> str:
        return next((name for name, (place, *_) in self.words.items() if place == offset),
                    self.stage.layout.name_of(offset))

    # --- values ---

    def value(self, word: str, text: str) -> int:
        """The value that a line says is written."""
        if word == "ENTRY" or word.startswith(("CHILD", "ROOT")):
            return self._entry(word, text)
        known = {"FIRST": epoch_word(1), "EPOCH": self.epoch, "NEXT": self.epoch + 1, "TDCX": 1 << 8 * TDR_TDCX,
                 "ME": int(self.actor.registers[R.ME]),
                 "FLUSHED": module.HKID_FLUSHED | all_packages(self.stage.layout.packages) << 8 * KOT_PACKAGES}
        return known[text] if text in known else int(text) if text.isdecimal() else getattr(module, text)

    def _entry(self, word: str, text: str) -> int:
        text, _, locked = text.partition("+")
        if text == "MOVED":
            hpa = self.stage.layout.hpa("data", self.stage.layout.pages)
            return STATE["MAPPED"].word(hpa, lock=bool(locked), access=self.stage.release.access)
        if "|" in text:
            leaf = state_of(self.stage.entry(self.page, self.level)).leaf
            text = text.split("|")[0 if leaf else 1]
        if word.startswith("ROOT"):
            return STATE[text].word()
        page, level = self.page, self.level
        if word.startswith("CHILD"):
            level -= 1
            page += int(word[6:-1]) << 9 * level
        return self.stage.as_state(text, page, level, lock=bool(locked))

    # --- comparing ---

    def expected(self, accesses: list) -> list:
        """(verb, offset, width, value) of accesses by name."""
        resolved = []
        for verb, word, text in accesses:
            offset, width = self.place(word)
            value = None
            if text is not None and verb == "add":
                value = int(text) if text[1:].isdecimal() else self.value(word, text[1:]) * (1 if text[0] == "+" else -1)
            elif text is not None:
                value = self.value(word, text)
            resolved.append((verb, offset, width, value))
        return resolved

    def differences(self, accesses: list, found: list) -> str:
        """The first place where what was found is not what was to be; "" if there is none."""
        wanted = self.expected(accesses)
        for number in range(max(len(wanted), len(found))):
            one = wanted[number] if number < len(wanted) else None
            other = found[number] if number < len(found) else None
            if one and other and one[:2] == other[:2] and one[2] in (None, other.width) and _same_value(one, other):
                continue
            text = " ".join(map(str, accesses[number][::2] if one and one[3] is not None else accesses[number][:1])) if one else "nothing"
            where = accesses[number][1] if one else ""
            did = f"{other.verb} {self.name_of(other.offset)}" \
                  f" ({other.width} bits: {other.before:#x} -> {other.after:#x})" if other else "nothing"
            return f"access {number}: the module does {text} {where}, the row {did}"
        return ""


def _same_value(one, other) -> bool:
    verb, _, _, value = one
    if value is None:
        return True
    if verb == "add":
        return (other.after - other.before - value) % (1 << other.width) == 0
    return other.after == value % (1 << other.width)


# --- variants of a call ---

def _epoch_moved(tried):
    """The vCPU was in before, on this processor, and the epoch has moved since."""
    assert tried.actor.call("tdh_vp_enter") == 0
    tried.actor.leave_guest()
    tried.stage.set_word("epoch", epoch_word(5), width=64)


def _listed(tried):
    """The zero-step mitigation lists pages of which the call knows nothing else."""
    tried.page = 3
    list_pages(tried.stage, 3)
    tried.stage.map_page(3)


def list_pages(stage, *pages) -> None:
    place = stage.layout.at("tdvps") + TDVPS_STEPPING
    stage.memory.set_word(place + stepping.EPF_LENGTH, len(pages), 8)
    for number, page in enumerate(pages):
        stage.memory.set_word(place + stepping.EPF_LIST + 8 * number, page)


def _listed_and_gone(tried):
    _listed(tried)
    tried.stage.set_entry(tried.page, "BLOCKED")


def _tdr(tried):
    """The TDR itself is reclaimed, last of its TD's pages."""
    tried.level = "control"
    tried.page = tried.begins_with = 0
    tried.stage.set_word("chldcnt", 0, width=64)


def _associated(tried):
    """The vCPU belongs to this processor already."""
    tried.stage.memory.set_word(tried.stage.layout.at("tdvps") + TDVPS_LP, int(tried.actor.registers[R.ME]), 32)


_CASES = {"associated": _associated, "epoch moved": _epoch_moved, "page listed": _listed, "page listed and gone": _listed_and_gone, "a TDR": _tdr}
CASE_ANSWERS = {"page listed and gone": "EXIT_REASON_EPT_VIOLATION"}
