"""Configs: what they may say, and the one line that a mistake gets."""

import json
import tomllib
from pathlib import Path

import pytest

from harness.experiment import config_file
from harness.errors import UsageError
from harness.results.expectations import check_expectations
from harness.experiment.plan import make_plan
from harness.protocol.policy import ALLOWED, SITES, SWITCHES, PolicyError, parse_response
from harness.protocol.policies import POLICIES, ladder
from harness.results.document import example

ROOT = Path(__file__).parent.parent.parent
# Sweeps and scenarios are not single runs: test_sweep and test_explore have them.
SHIPPED = sorted(set(ROOT.glob("configs/**/*.toml")) - set(ROOT.glob("configs/scale/*"))
                 - set(ROOT.glob("configs/explore/**/*.toml")))
SIDE_BY_SIDE = ("retry16", "zero_tolerance", "resume_guest", "kick_vcpus", "kick_on_busy")
OK = 'policy = "retry16"\n'


def load(tmp_path, text, *overrides):
    path = tmp_path / "some.toml"
    path.write_text(text)
    return config_file.load(path, list(overrides))


def check(plan):
    check_expectations(plan, example(plan))


@pytest.mark.parametrize("text, key, says", [
    ("", "policy", "is missing"), ('polcy = "kick_vcpus"', "polcy = 'kick_vcpus'", "did you mean policy?"),
    ('policy = "kick_vcpu"', "policy = 'kick_vcpu'", "did you mean kick_vcpus?"),
    ("policy = 7", "policy = 7", "must be the name of a policy, or a table"),
    (OK + "duration_ms = 5", "duration_ms = 5", "did you mean duration_s?"),
    (OK + 'duration_s = "5s"', "duration_s = '5s'", "must be a number of seconds"),
    (OK + "duration_s = 0", "duration_s = 0", "must be at least 0.05"),
    (OK + "duration_s = inf", "duration_s = inf", "must be a finite number"),
    (OK + "duration_s = nan", "duration_s = nan", "must be"),
    (OK + "warmup_s = -1", "warmup_s = -1", "must be at least 0"),
    (OK + "seed = -1", "seed = -1", "must be at least 0"),
    (OK + "seed = 1.5", "seed = 1.5", "must be a whole number"),
    (OK + 'primitive = "btr"', "primitive = 'btr'", "must be one of cas, bts"),
    (OK + 'engine = "process"', "engine = 'process'", "did you mean processes?"),
    (OK + 'module = "1.5.5"', "module = '1.5.5'", "did you mean 1.5.05?"),
    (OK + '[module]\nepf_threshold = 0', "module.epf_threshold = 0", "must be a number from 1 to 255"),
    (OK + '[module]\nepf_list = 1.5', "module.epf_list = 1.5", "must be a number from 1 to 32"),
    (OK + 'name = "../up"', "name = '../up'", "letters, digits"),
    (OK + "td = 5", "td = 5", "must be a table"),
    (OK + "[td]\nvcpus = 0", "td.vcpus = 0", "must be at least 1"),
    (OK + "[td]\nvcpus = true", "td.vcpus = true", "must be a whole number"),
    (OK + "[td]\nvcpu = 2", "td.vcpu = 2", "did you mean vcpus?"),
    (OK + "[run]\nduration_s = 2", "run = {'duration_s': 2}", "unknown key; did you mean duration_s? known: name, "),
    (OK + "[td]\nmemory_mib = 3", "td.memory_mib = 3", "must be a multiple of 2"),
    (OK + "[td]\nmemory_gib = 2", "td.memory_gib = 2", "did you mean memory_mib?"),
    (OK + "[workload]\npages = 513", "workload.pages = 513", "must be at most 512"),
    (OK + '[workload]\npattern = "hott"', "workload.pattern = 'hott'", "did you mean hot?"),
    (OK + "[workload]\nhot_share = 1.5", "workload.hot_share = 1.5", "must be at most 1"),
    (OK + "[costs_ns]\nseamcall = -1", "costs_ns.seamcall = -1", "must be at least 0"),
    (OK + "[costs_ns]\nseamcal = 1", "costs_ns.seamcal = 1", "did you mean seamcall?"),
    (OK + '[checks]\nbusted = ["entry_lok"]', "checks.busted = 'entry_lok'", "did you mean entry_lock?"),
    (OK + "[expect]\nbugs = {total = {least = 3}}", "expect", "no result has this number"),
    (OK + '[expect]\n"zero_step.arme" = 0', "expect.zero_step.arme", "did you mean zero_step.armed?"),
    ('[policy]\ninstall = ["retry 5 pase 3"]', "policy.install", "write 'retry N'"),
    ('[policy]\ninstall = ["kick"]', "policy.install", "is not possible here"),
    ('[policy]\ninstall = ["resume_gest"]', "policy.install", "did you mean resume_guest?"),
    ('[policy]\ninstal = ["kick"]', "policy.instal", "did you mean install?"),
    ('[policy]\nblock = {on = "tre", do = []}', "policy.block.on", "did you mean tree?"),
    ('[policy]\nblock = {in = "tree"}', "policy.block.in", "unknown key"),
    ('[policy]\nbar = "never"', "policy.bar = 'never'", "must be one of call, removal"),
    ('[policy]\nzap_lock = "reed"', "policy.zap_lock = 'reed'", "did you mean read?"),
    ("[policy]\nfreeze = 1", "policy.freeze = 1", "must be true or false"),
    ("[policy]\ninject_every = -1", "policy.inject_every = -1", "must be a whole number from 0"),
    ('[policy]\nstop_on = ["invalid_slots"]', "policy.stop_on", "did you mean invalid_slot?"),
    ('[policy]\nstop_on = "event"', "policy.stop_on = 'event'", "must be a list of event, invalid_slot"),
    ('[policy]\nfreez = false', "policy.freez", "did you mean freeze?"),
    ('[policy]\ninstall = ["retry 16 doubling 8"]', "policy.install", "MAX at least as much"),
    ('[policy]\ninstall = ["retry forever doubling 8"]', "policy.install", "what is doubled must be a number"),
    ('[policy]\nzero_step = ["kik"]', "policy.zero_step", "did you mean kick?"),
    ('[policy]\nenter = ["kick"]', "policy.enter", "is not possible here"),
    (OK + '[workload]\nremoval = "memslot"', "workload.removal", "must be one of punch_hole"),
    (OK + "[workload]\nremoval_pages = 3", "workload.removal_pages = 3", "must be a power of two"),
    (OK + "[workload]\nmap_gpa_pages = 1024", "workload.map_gpa_pages = 1024", "at most 512"),
    (OK + "[workload]\nspammers = 5", "workload.spammers = 5", "must be at most 4"),
    (OK + "[td]\nvcpus = 1\n[workload]\nstring_pages = 8", "workload.string_pages = 8", "at least 2"),
    ('[policy]\nbase = "kick_of_busy"', "policy = 'kick_of_busy'", "did you mean kick_on_busy?"),
])
def test_a_mistake_gets_one_line_with_key_value_and_what_is_allowed(tmp_path, text, key, says):
    with pytest.raises(UsageError) as caught:
        check(make_plan(load(tmp_path, text)))
    message = str(caught.value)
    assert key in message and says in message, message
    assert "\n" not in message
    assert message.startswith((str(tmp_path), "some"))


@pytest.mark.parametrize("text", ["policy = ", "= 5", '[td\nvcpus = 3', 'policy = "a'])
def test_what_is_not_toml_is_refused_with_its_place(tmp_path, text):
    with pytest.raises(UsageError, match="not TOML.*line 1|not TOML.*end of document"):
        load(tmp_path, text)


def test_a_missing_file_names_the_nearest():
    with pytest.raises(UsageError, match="no such file; did you mean .*kick_vcpus.toml"):
        config_file.load(ROOT / "configs" / "kick_vcpu.toml")


def test_a_folder_or_bytes_in_place_of_a_config_are_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        config_file.load(tmp_path)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        config_file.load(tmp_path / "bytes.toml")


def test_memory_beyond_the_machine_is_refused_before_it_is_taken(tmp_path):
    with pytest.raises(UsageError, match="td.memory_mib = 1048576: needs .* must be at most"):
        make_plan(load(tmp_path, OK + "[td]\nmemory_mib = 1_048_576"))


@pytest.mark.parametrize("override, key, value", [
    ("td.vcpus=2", "td", {"vcpus": 2}), ("policy=kick_vcpus", "policy", "kick_vcpus"),
    ("duration_s=0.5", "duration_s", 0.5), ('checks.busted=["entry_lock"]', "checks", {"busted": ["entry_lock"]}),
])
def test_overrides_take_dotted_keys_and_toml_values(tmp_path, override, key, value):
    loaded = load(tmp_path, OK, override)
    got = getattr(loaded, key)
    if isinstance(value, dict):
        [(inner, wanted)] = value.items()
        assert getattr(got, inner) == (tuple(wanted) if isinstance(wanted, list) else wanted)
    else:
        assert (got.name if key == "policy" else got) == value


@pytest.mark.parametrize("override, says", [
    ("td", "must be KEY=VALUE"), ("=5", "must be KEY=VALUE"), ("td.vcpus=0", "--set td.vcpus=0"),
    ("policy.block=1", "policy is a value, not a table"), ("a." * 1_500 + "b=1", "nested too deep; must be at most 50 levels"),
])
def test_a_mistake_in_an_override_names_the_override(tmp_path, override, says):
    with pytest.raises(UsageError) as caught:
        load(tmp_path, OK, override)
    assert says in str(caught.value)


# --- what is shipped ---

@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_config_makes_a_plan_and_says_what_it_shows(path):
    plan = make_plan(config_file.load(path))
    check(plan)
    assert "Shows:" in path.read_text()


def test_the_policies_first_argued_about_have_configs_over_the_same_workload():
    tables = {}
    for policy in SIDE_BY_SIDE:
        table = tomllib.loads((ROOT / "configs" / f"{policy}.toml").read_text())
        assert table.pop("policy") == policy
        tables[policy] = table
    first = tables["kick_vcpus"]
    assert all(table == first for table in tables.values())


# --- policies ---

def test_a_policy_of_ones_own_changes_a_base(tmp_path):
    policy = load(tmp_path, '[policy]\nname = "mine"\nbase = "retry16"\n'
                            'install = ["retry 3 pause 250", "local_retry"]\n'
                            'block = {on = "tree", do = ["retry 5", "kick"]}\nbar = "removal"').policy
    assert policy.name == "mine" and policy.bar == "removal"
    assert str(policy.install) == "retry 3 pause 250, local_retry"
    assert str(policy.block) == "retry 5, kick (on tree)"
    assert str(policy.track) == "retry forever"
    plan = make_plan(load(tmp_path, '[policy]\ninstall = ["retry 3 pause 250", "local_retry"]'))
    assert plan.costs_ns()[plan.program.costs.index("250 ns")] == 250


@pytest.mark.parametrize("site", SITES)
def test_every_response_that_is_allowed_at_a_site_can_be_assembled_there(tmp_path, site):
    for name in ALLOWED[site]:
        text = {"retry": "retry 2"}.get(name, name)
        make_plan(load(tmp_path, f'[policy]\n{site} = ["{text}"]'))


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: switch.name)
def test_every_value_of_a_switch_can_be_assembled_and_stands_in_the_result(tmp_path, switch):
    values = [["event", "invalid_slot"], []] if switch.several else list(switch.allowed)
    for value in values:
        word = json.dumps(value)
        loaded = load(tmp_path, f"[policy]\n{switch.name} = {word}\n[workload]\nremoval = 'memslot_delete'")
        make_plan(loaded)
        assert json.loads(json.dumps(loaded.resolved()))["policy"][switch.name] == value


@pytest.mark.parametrize("on", ["any", "tree", "bitmask"])
def test_every_match_can_be_assembled(tmp_path, on):
    make_plan(load(tmp_path, f'[policy]\nblock = {{on = "{on}", do = ["kick"]}}'))


@pytest.mark.parametrize("text", ["retry", "retry x", "retry 3 pause", "retry 3 pause x", "kick 2", "", "retry -1"])
def test_responses_in_the_wrong_form_are_refused(text):
    with pytest.raises(PolicyError):
        parse_response("block", text)


def test_every_policy_has_a_source_and_a_meaning():
    for policy in POLICIES:
        assert policy.meaning and policy.source
        assert all(policy.ladder(site) == ladder(site, *map(str, policy.ladder(site).responses),
                                                 on=policy.ladder(site).on) for site in SITES)
