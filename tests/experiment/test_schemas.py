"""`schema`: what the readers take it takes, what is misspelled it refuses, and every key is described."""

import copy
import json
import tomllib

import jsonschema
import pytest

from harness.errors import UsageError
from harness.experiment import schemas
from harness.experiment.config_file import Given, check
from harness.experiment.scenario_file import parse
from harness.reports import keys
from tests.command_line import ROOT, command

TABLES = {path: tomllib.loads(path.read_text()) for path in sorted(ROOT.glob("configs/**/*.toml"))}
SCENARIOS = [path for path in TABLES if path.is_relative_to(ROOT / "configs/explore")]
CONFIGS = [path for path in TABLES if path not in SCENARIOS]
SCHEMAS = {"config": schemas.of_configs(), "scenario": schemas.of_scenarios()}
VALID = {kind: jsonschema.Draft202012Validator(schema) for kind, schema in SCHEMAS.items()}


def test_they_are_schemas_and_the_command_prints_them(capsys):
    for kind, schema in SCHEMAS.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        code, out, _ = command(capsys, "schema", kind)
        assert code == 0 and json.loads(out) == schema
    assert len(CONFIGS) >= 20 and len(SCENARIOS) >= 40


@pytest.mark.parametrize("kind, paths", [("config", CONFIGS), ("scenario", SCENARIOS)])
def test_every_shipped_file_is_valid(kind, paths):
    for path in paths:
        assert not (problem := next(VALID[kind].iter_errors(TABLES[path]), None)), f"{path}: {problem and problem.message}"


def places(schema: dict, part: dict | None = None, prefix=()):
    """(path, key's schema) of every key, in tables of the models."""
    for name, key in (part or schema)["properties"].items():
        yield (*prefix, name), key
        inner = schema["$defs"].get(key["$ref"].rpartition("/")[2]) if "$ref" in key else None
        if inner and "properties" in inner:
            yield from places(schema, inner, (*prefix, name))


@pytest.mark.parametrize("kind", SCHEMAS)
def test_every_key_is_described(kind):
    for path, key in places(SCHEMAS[kind]):
        assert key.get("description"), path
    for name in ("policy", "guest", "module"):
        for table in (each for each in SCHEMAS[kind]["properties"][name]["anyOf"] if "properties" in each):
            assert all(each.get("description") for each in table["properties"].values()), name


MINIMAL = {"policy": "kick_on_busy"}
SMALL = {"module": "1.5.05", "actors": {"vcpu0": "tdg_mem_page_accept 3"}, "start": {"pages": {"3": "PENDING"}}}
WRONG = [
    ("config", {"polcy": "retry16"}), ("config", {"td": {"vcpu": 3}}), ("config", {"td": {"vcpus": 0}}), ("config", {"td": {"vcpus": "4"}}),
    ("config", {"policy": "kick_on_buzy"}), ("config", {"policy": {"base": "retry16", "blok": []}}),
    ("config", {"policy": {"base": "retry16", "block": ["rety 3"]}}), ("config", {"policy": {"base": "retry16", "freeze": 1}}),
    ("config", {"guest": "linux"}), ("config", {"guest": {"base": "svsm", "busy_8k": []}}), ("config", {"module": "1.5.99"}),
    ("config", {"module": {"base": "1.5.34", "epf_treshold": 3}}), ("config", {"module": {"base": "1.5.34", "epf_threshold": 0}}),
    ("config", {"engine": "simulated"}), ("config", {"workload": {"pattern": "cold"}}), ("config", {"expect": {"bugs.total": "none"}}),
    ("config", {"checks": {"busted": ["lock"]}}), ("config", {"duration_s": -1}),
    ("scenario", {"actorz": {}}), ("scenario", {"module": ["1.5.99"]}), ("scenario", {"may_violate": ["no_bugs"]}),
    ("scenario", {"start": {"page": {}}}), ("scenario", {"accept_first": "perhaps"}), ("scenario", {"policy": "kick_on_buzy"}),
]


def refused(kind: str, table: dict) -> bool:
    """Whether the reader refuses a table."""
    try:
        if kind == "config":
            check(Given({"name": "x", **table}, "x.toml"))
        else:
            parse(table, "x")
    except UsageError:
        return True
    return False


@pytest.mark.parametrize("kind, change", WRONG, ids=[f"{kind}-{json.dumps(change)[:40]}" for kind, change in WRONG])
def test_what_is_misspelled_is_refused_by_the_schema_as_by_the_reader(kind, change):
    table = copy.deepcopy(MINIMAL if kind == "config" else SMALL)
    assert VALID[kind].is_valid(table) and not refused(kind, table)
    assert refused(kind, table | change) and not VALID[kind].is_valid(table | change)


def test_the_page_of_keys_is_as_the_models_are_now():
    assert (ROOT / keys.PAGE).read_text() == keys.page(), "make docs"
