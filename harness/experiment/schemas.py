"""JSON Schema of configs and scenarios, for editors and other programs: the models, and the words that they leave open.

    of_configs()     what `run`, `sweep` and `nightly` read
    of_scenarios()   what `explore` reads as TOML

The models (config.py, scenario.py) say types, bounds and meanings; policies, guests, releases and `expect`, which they read
as names or tables, are put in here from the tables that list them.  What only a whole file can break (more hot pages than
memory, an actor without a script) is not in a schema: the readers say it.
"""

import re
from typing import Any

from harness.experiment.config import NAME, Config
from harness.experiment.scenario import INVARIANTS
from harness.experiment.scenario_keys import ALL, File
from harness.protocol import dpamt, guest_policies, policies, policy, releases

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NUMBER = {"type": "number"}


def of_configs() -> dict[str, Any]:
    schema = Config.model_json_schema()
    keys = schema["properties"]
    _words(keys)
    keys["module"] |= _module()
    bound = {"$ref": "#/$defs/Bound"}
    keys["expect"] |= {"additionalProperties": {"anyOf": [NUMBER, bound, {"type": "object"}]}}
    schema["$defs"]["Td"]["properties"]["dpamt"]["enum"] = ["", *dpamt.BY_NAME]
    keys["sweep"] = {
        "type": "object", "description": "`sweep` only: for keys of a config, such as td.vcpus or policy, a list of values",
        "additionalProperties": {"type": ["array", "object"]}}
    return _whole(schema, "A config of the stress harness for the Secure-EPT locks of the TDX module") | {
        "anyOf": [{"required": ["policy"]}, {"required": ["sweep"]}]}


def of_scenarios() -> dict[str, Any]:
    schema = File.model_json_schema()
    keys = schema["properties"]
    _words(keys)
    one = _module()["anyOf"]
    keys["module"] = {"description": keys["module"]["description"], "default": "1.5.05",
                      "anyOf": [{"const": ALL}, *one, {"type": "array", "items": {"anyOf": one}}]}
    names = {"type": "array", "items": {"enum": list(INVARIANTS)}}
    for key in ("must_violate", "may_violate"):
        keys[key] = {"description": keys[key]["description"], "default": [],
                     "anyOf": [names, {"type": "object", "additionalProperties": names}]}
    keys["dpamt"]["enum"] = ["", *dpamt.BY_NAME]
    return _whole(schema, "A scenario: every interleaving of some calls, or of KVM's own flows")


def _whole(schema: dict, title: str) -> dict[str, Any]:
    schema.pop("required", None)         # a name is the file's where none is given
    for part in (schema, *schema.get("$defs", {}).values()):
        part.pop("title", None)
        for key in part.get("properties", {}).values():
            key.pop("title", None)
    return {"$schema": DIALECT, "title": title, **schema}


def _words(keys: dict) -> None:
    """The names and tables of a host's policy and of a guest's."""
    keys["policy"] |= {"anyOf": [{"enum": list(policies.BY_NAME)}, _policy()]}
    keys["guest"] |= {"anyOf": [{"enum": list(guest_policies.BY_NAME)}, _guest()]}


def _responses(allowed: tuple[str, ...]) -> dict:
    """A list of responses, each of which begins with one of these words."""
    return {"type": "array", "items": {"type": "string", "pattern": f"^({'|'.join(map(re.escape, allowed))})( |$)"}}


def _policy() -> dict:
    sites = {}
    for site in policy.SITES:
        responses = _responses(policy.ALLOWED[site])
        sites[site] = {"description": f"what is done when {site} is BUSY", "anyOf": [
            responses, {"type": "object", "additionalProperties": False, "properties": {
                "on": {"enum": list(policy.MATCHES), "description": "which BUSY counts"}, "do": responses}}]}
    return _table(policies.BY_NAME, sites | {each.name: {"description": each.meaning, **_switch(each)} for each in policy.SWITCHES})


def _switch(switch: policy.Switch) -> dict:
    if switch.several:
        return {"type": "array", "items": {"enum": list(switch.allowed)}}
    if isinstance(switch.default, bool):
        return {"type": "boolean"}
    if all(isinstance(each, int) for each in switch.allowed):
        return {"type": "integer", "minimum": switch.allowed[0], "maximum": switch.allowed[1]}
    return {"enum": list(switch.allowed)}


def _guest() -> dict:
    sites = {site: {"description": f"what the guest makes of ACCEPT's {' of '.join(site.split('_'))}",
                    **_responses(guest_policies.ALLOWED[site])} for site in guest_policies.SITES}
    return _table(guest_policies.BY_NAME, sites | {"one_at_a_time": {
        "type": "boolean", "description": "whether at most one vCPU accepts a page at a time"}} | {
        name: {"type": "integer", "minimum": number.least, "maximum": number.most, "description": number.meaning}
        for name, number in guest_policies.NUMBERS.items()})


def _table(known, properties: dict) -> dict:
    """A table that changes something of a `base`."""
    return {"type": "object", "additionalProperties": False, "properties": {
        "base": {"enum": list(known), "description": "what the others are changes of"},
        "name": {"type": "string", "pattern": NAME, "description": "what it is called"},
        "meaning": {"type": "string", "description": "what it is, in a sentence"}, **properties}}


def _module() -> dict:
    """A release by its name (with `+FIELD=VALUE` for changes), or a table of changes."""
    names = {"type": "string", "pattern": f"^({'|'.join(map(re.escape, (*releases.NAMES, releases.NEWEST)))})([+].*)?$"}
    fields = {}
    for field in releases.FIELDS:
        kind: dict[str, Any] = {"description": releases.meanings()[field]}
        if field in releases.NUMBERS:
            least, most = releases.NUMBERS[field]
            kind |= {"type": "integer", "minimum": least, "maximum": most}
        fields[field] = kind
    return {"anyOf": [names, {"type": "object", "additionalProperties": False, "properties": {
        "base": {**names, "description": "the release that the other fields are changes of"}, **fields}}]}
