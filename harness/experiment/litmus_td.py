"""What the initial state of a C litmus test says of the TD, in words of its own beside shared words: `page 3 = FREE;`.

Such an item is known by its first word.  One of another form, or one of which the first word is nearly a known one, is a
mistake: as a shared word that no process has it would say nothing.
"""

import difflib
import re

from harness.experiment.scenario_keys import File, Start
from harness.protocol.litmus.text import LitmusError, Text

INTERRUPTS = "interrupts"        # who interrupts whom, beside what a scenario's table has
SWITCHES = ("timeouts", "dynamic_pamt", "crossed", "pairs", "seamcall_drains")
# How an item is written, by its first word.
FORMS = {
    "module": "`module = 1.5.24`", "policy": "`policy = kick_vcpus`", "page": "`page 3 = FREE` or `page 0 level 1 = MAPPED`",
    "listed": "`listed vcpu0 = {3, 4}`", "word": "`word \"epoch\" = 0x500000000`", "memory_model": "`memory_model = sc` or `memory_model = tso`",
    "primitive": "`primitive = cas` or `primitive = bts`", "must_violate": "`must_violate = {no_halt}`", "may_violate": "`may_violate = {no_halt}`",
    **{key: f"`{key} = true` or `{key} = false`" for key in SWITCHES},
}
OF_SCENARIOS = {*File.model_fields, *Start.model_fields} - FORMS.keys()          # in TOML, where a litmus test has no word for it
INTERRUPT = "`P1 interrupts P0`"
SHARED = "`int x = 1`, `x=1`, `y=&x`, `int a[2]={1,2}`, `0:r1=1`"
ABOUT_TD = ("`page N = STATE`, `module = RELEASE`, `pairs = false`, `listed vcpuN = {PAGES}`, `word \"NAME N\" = NUMBER`,"
            f" `must_violate = {{NAMES}}`, {INTERRUPT}")
NEAR = 0.8                       # of two names, by difflib: `modul` is module, `x0` is not `y0`

_ITEM = re.compile(r"""
    (?P<list>must_violate|may_violate)\s*=\s*\{(?P<names>[\w,\s]*)\}
  | (?P<key>module|policy|primitive|memory_model|""" + "|".join(SWITCHES) + r""")\s*=\s*"?(?P<setting>[A-Za-z0-9_.-]*[A-Za-z_.-][A-Za-z0-9_.-]*)"?
  | P(?P<interrupt>\d+)\s+interrupts\s+P(?P<interrupted>\d+)
  | page\s+(?P<page>\d+(?:\s+level\s+\d)?)\s*=\s*"?(?P<state>[A-Za-z_]\w*)"?
  | listed\s+(?P<vcpu>vcpu\d+|P\d+)\s*=\s*\{(?P<pages>[\d,\s]*)\}
  | word\s+"(?P<word>[^"\n]+)"\s*=\s*(?P<number>0[xX][0-9a-fA-F]+|\d+)
""", re.VERBOSE)


def take(table: dict, item: str, offset: int) -> bool:
    """Put an item about the TD where a scenario file has it; whether it is one."""
    found = _ITEM.fullmatch(item)
    if not found:
        return False
    start = table.setdefault("start", {})
    if found["interrupt"]:
        table.setdefault(INTERRUPTS, []).append((int(found["interrupt"]), int(found["interrupted"]), offset))
    elif found["list"]:
        table[found["list"]] = [name.strip() for name in found["names"].split(",") if name.strip()]
    elif found["key"]:
        (start if found["key"] == "pairs" else table)[found["key"]] = {"true": True, "false": False}.get(found["setting"], found["setting"])
    elif found["page"]:
        start.setdefault("pages", {})[" ".join(found["page"].split())] = found["state"]
    elif found["vcpu"]:
        start.setdefault("listed", {})[found["vcpu"]] = [int(page) for page in found["pages"].split(",") if page.strip()]
    else:
        start.setdefault("words", {})[found["word"]] = int(found["number"], 0)
    return True


def words_named(text: Text) -> set[str]:
    """All words of the processes, the condition, the filter and `locations`."""
    parts = (text.functions, text.locations, text.filter, text.condition)
    return {word for part in parts for word in re.findall(r"[A-Za-z_]\w*", part.text)}


def check_form(text: Text, item: str, offset: int, shared: set[str]) -> None:
    """Refuse an item that begins as one about the TD and goes on otherwise, unless it is a `shared` word; with a type it is one."""
    word = re.match(r"(?:start\.)?(\w*)", item)[1]
    form = INTERRUPT if re.match(r"P\d+\s", item) else FORMS.get(word)
    if form and word not in shared:
        raise text.error(offset, f"`{_line(item)}`: must be {form}")


def not_understood(text: Text, item: str, offset: int) -> LitmusError:
    """An item that is neither about a shared word nor about the TD."""
    near = _near(re.match(r"\W*(\w*)", item)[1], FORMS)
    known = f"{_meant(near)} Of the TD {ABOUT_TD} are" if near else f"; {SHARED} and, of the TD, {ABOUT_TD} are"
    return text.error(offset, f"`{_line(item)}`: not understood in an initial state{known}")


def check_unnamed(text: Text, name: str, bare: bool, offset: int, shared: set[str]) -> None:
    """Refuse a word that nothing names, where it is nearly one of the `shared` ones that are named, or (`bare`, without a type) a key."""
    if bare and name in OF_SCENARIOS:
        raise text.error(offset, f"`{name}`: a key of scenarios in TOML, not of a litmus test; of the TD {ABOUT_TD} are understood")
    keys = _near(name, FORMS) if bare else ""
    near = keys or _near(name, [each for each in shared if _letters(each) != _letters(name)])
    if near:
        raise text.error(offset, f"`{name}`: no process, condition or `locations` names it{_meant(near)}")


def _letters(name: str) -> str:
    """A name without its digits: `x1` and `x2` are two on purpose."""
    return re.sub(r"\d", "", name)


def _near(name: str, known) -> str:
    close = difflib.get_close_matches(name[:100], list(known), 1, NEAR)
    return close[0] if close else ""


def _meant(near: str) -> str:
    return f"; did you mean {FORMS.get(near, f'`{near}`')}?" if near else ""


def _line(item: str) -> str:
    return " ".join(item.split())[:80]
