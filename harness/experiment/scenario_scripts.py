"""Scripts of a scenario, from the words of its file: `tdh_mem_page_aug 3 level 1 retry 16`, `{ touch = [3] }`.

A mistake is a KeyProblem.
"""

import re

from harness.errors import meant
from harness.experiment.config import KeyProblem
from harness.experiment.plan import Actor
from harness.experiment.scenario import DELETE, FLOW_KEYS, PAGES, RETRIES_MAX, Script, calls_of, kind_of
from harness.protocol.flows.pamt import RANGES, USERS
from harness.protocol.flows.script import CALLS_MAX, LOCK_STEPS, LOCK_WORDS, Step
from harness.protocol import releases
from harness.protocol.policy import FOREVER
from harness.protocol.seamcalls import TD_EXIT

NAME = re.compile(r"(vcpu|host)(0|[1-9][0-9]*)")
OPERANDS = re.compile(r"(?: (?P<page>[0-9]+))?(?: level (?P<level>[012]))?(?: retry (?P<retries>forever|[0-9]+))?")
FORM = "write CALL [PAGE] [level N] [retry N | retry forever]"


def make_scripts(actors: dict, module: str, pages: int = PAGES) -> tuple[Script, ...]:
    """A script for each actor: vCPUs, then host threads, in the order of their numbers; KVM's flows name pages below `pages`."""
    numbers: dict[str, list[int]] = {kind: [] for kind in FLOW_KEYS}
    for name, words in actors.items():
        named = NAME.fullmatch(name)
        if named is None:
            raise KeyProblem(f"actors.{name}", words, "must be called vcpu0, vcpu1 ..., host0, host1 ...")
        numbers[named[1]].append(int(named[2]))
    for kind, given in numbers.items():
        if sorted(given) != list(range(len(given))):
            raise KeyProblem("actors", sorted(actors), f"{kind}s must be numbered from 0 without gaps")
    first_host = max(1, len(numbers["vcpu"]))
    return tuple(make_script(Actor(first + index, f"{kind}{index}", kind, index), actors[f"{kind}{index}"], module, pages)
                 for kind, first in (("vcpu", 0), ("host", first_host)) for index in sorted(numbers[kind]))


def make_script(actor: Actor, words, module: str, pages: int = PAGES) -> Script:
    key = f"actors.{actor.name}"
    if isinstance(words, dict):
        return Script(actor, flow=_pages(key, actor.kind, words, pages), uses=next((key for key in USERS if key in words), ""),
                      deletes=DELETE in words)
    items = [words] if isinstance(words, str) else words
    if not isinstance(items, list) or not items or not all(isinstance(item, str) for item in items):
        raise KeyProblem(key, words, "must be a call, or a list of calls")
    steps = _leaving(key, words, [make_step(key, item, actor.kind, module) for item in items])
    if len(steps) > CALLS_MAX:
        raise KeyProblem(key, words, f"a script has at most {CALLS_MAX} calls")
    return Script(actor, steps)


def _pages(key: str, kind: str, words: dict, below: int) -> tuple[int, ...]:
    """The pages that KVM's flow is about."""
    flow = next(iter(words), "")
    if len(words) != 1 or flow not in FLOW_KEYS[kind]:
        forms = " or ".join(f"{{ {each} = [PAGE, ...] }}" for each in FLOW_KEYS[kind])
        raise KeyProblem(key, words, f"must be a list of calls, or {forms}")
    pages, most = words[flow], PAGES * RANGES if flow in USERS else below
    if not isinstance(pages, list) or not pages or not all(type(page) is int and 0 <= page < most for page in pages):
        raise KeyProblem(f"{key}.{flow}", pages, f"must be a list of page numbers below {most}, at least one")
    return tuple(pages)


def _leaving(key: str, words, steps: list[Step]) -> tuple[Step, ...]:
    """The steps, with a TD exit at the end if the vCPU is in the guest then."""
    inside = False
    for step in steps:
        if step.call == TD_EXIT and not inside:
            raise KeyProblem(key, words, "td_exit without a tdh_vp_enter before it")
        if step.call == "tdh_vp_enter" and inside:
            raise KeyProblem(key, words, "tdh_vp_enter without a td_exit since the last")
        inside = step.call == "tdh_vp_enter" or inside and step.call != TD_EXIT
    return (*steps, Step(TD_EXIT)) if inside else tuple(steps)


def lacks(actors: dict, module: str) -> bool:
    """Whether a release has not got a call of the scripts, though another has."""
    every = {name for release in releases.NAMES for name in calls_of(release)}
    words = [item for script in actors.values() for item in ([script] if isinstance(script, str) else script)]
    named = {word for item in words if isinstance(item, str) for word in item.split()[:1]}
    return bool(named & every - calls_of(module).keys())


def make_step(key: str, item: str, kind: str, module: str) -> Step:
    """One call as it is written."""
    name, *operands = item.split() or [""]
    if name in LOCK_STEPS:
        if len(operands) != 1 or operands[0] not in LOCK_WORDS:
            raise KeyProblem(key, item, f"write {name} WORD; words: {', '.join(LOCK_WORDS)}")
        return Step(name, word=operands[0])
    _check_caller(key, item, name, kind, module)
    given = OPERANDS.fullmatch("".join(f" {word}" for word in operands))
    if given is None:
        raise KeyProblem(key, item, FORM)
    retries = FOREVER if given["retries"] == "forever" else int(given["retries"] or 0)
    step = Step(name, int(given["page"] or 0), int(given["level"] or 0), retries)
    if step.page >= PAGES:
        raise KeyProblem(key, item, f"page numbers are below {PAGES}")
    if retries > RETRIES_MAX:
        raise KeyProblem(key, item, f"{FORM}; N at most {RETRIES_MAX}")
    levels = (0, 1, 2) if name == TD_EXIT else calls_of(module)[name].levels
    if step.level not in levels:
        raise KeyProblem(key, item, f"{name} is about an entry at level {' or '.join(map(str, levels))}:"
                         " write 'level N' behind the page")
    return step


def _check_caller(key: str, item: str, name: str, kind: str, module: str) -> None:
    """That there is such a call, and that an actor of this kind makes it."""
    calls = calls_of(module)
    known = [*calls, TD_EXIT, *LOCK_STEPS]
    if name not in known:
        raise KeyProblem(key, item, f"no such call; {meant(name, known)}known: {', '.join(known)}")
    if kind == "host" and (name == TD_EXIT or kind_of(calls[name]) == "vcpu"):
        raise KeyProblem(key, item, f"{name} is made by a vCPU")
