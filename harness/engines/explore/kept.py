"""What a search has found, as JSON that is read back: for `--resume`.

The scenario is not in it: whoever asks for what is kept has it, and the key of the file says that it is the same one.
"""

from dataclasses import asdict, replace

from harness.engines.explore.search import Found
from harness.engines.explore.tables import Ending
from harness.experiment.scenario import Scenario
from harness.experiment.schedule import Turn

WAYS = ("violations", "cycles")          # {invariant: turns}


def as_json(found: Found) -> dict:
    plain = asdict(replace(found, scenario=None))
    return plain | {"answered": sorted(map(list, found.answered), key=repr), "entries": sorted(found.entries)}


def from_json(given: dict, scenario: Scenario) -> Found:
    """Raises KeyError, TypeError, ValueError for what is not of `as_json`."""
    ways = {name: {key: _turns(turns) for key, turns in given[name].items()} for name in WAYS}
    endings = [Ending(each["kind"], tuple(map(tuple, each["answers"])), tuple(each["words"]), each["count"], _turns(each["turns"]))
               for each in given["endings"]]
    return Found(**given | ways | {
        "scenario": scenario, "endings": endings, "checked": tuple(given["checked"]), "answered": set(map(tuple, given["answered"])),
        "entries": set(given["entries"]), "alike": list(map(tuple, given["alike"]))})


def _turns(given: list) -> list[Turn]:
    return [Turn(*each) for each in given]
