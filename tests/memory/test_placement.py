"""Where physical pages lie: by use as ever, to the digit; otherwise each has 2 MiB of the host, which uses and TDs share."""

import numpy as np
import pytest

from harness.engines.frames import misplaced
from harness.engines.processes import coordinator
from harness.engines.simulate import simulation
from harness.errors import UsageError
from harness.experiment import config_file
from harness.experiment.plan import make_plan
from harness.memory.block import Memory
from harness.memory.layout import ENTRIES, GROUPS, HOST, PAMT_COUNT, PAMT_TYPE, Layout
from harness.memory.placement import BY_USE, PACKED, RANDOM, SLOTS
from harness.results import document
from kernels.words import PT_NDA, PT_PAMT, PT_REG
from tests.engines.test_simulate import ROOT


def run(file: str, *sets: str):
    given = config_file.read(ROOT / file, list(sets))
    given.table.pop("sweep", None)
    return document.from_measured(simulation.run(make_plan(config_file.check(given)))).model_dump()


def layout(placement: str, **more) -> Layout:
    return Layout(2, 6, ENTRIES * 2, 0, 8, tds=2, placement=placement, **more)


def ran(*sets: str) -> simulation.Simulation:
    """configs/scale/dpamt.toml, two TDs that convert pages for 1 ms, to its end."""
    given = config_file.read(ROOT / "configs/scale/dpamt.toml", [
        "td.dpamt=dpamt_merged", "td.count=2", "duration_s=0.001", "policy=do_no_vcpus_619", *sets])
    given.table.pop("sweep")
    done = simulation.Simulation(make_plan(config_file.check(given)))
    done.run(lambda *_: None)
    return done


@pytest.mark.parametrize("placement", [PACKED, RANDOM])
def test_every_page_has_a_frame_of_its_own_and_two_megabytes_are_shared(placement):
    made = layout(placement)
    frames = {}
    for td in range(2):
        for group in GROUPS:
            for number in range(made.by_name[f"pamt_4k.{group}"].count):
                frames[int(made.frames.of(group, number, td))] = (td, group)
    assert len(frames) == 2 * made.frames.each_td and max(frames) < 1 << made.frames.bits
    users: dict[int, set] = {}
    for frame, user in frames.items():
        users.setdefault(frame >> 9, set()).add(user)
    shared = [each for each in users.values() if len({td for td, _ in each}) > 1]
    assert shared and any(len({group for _, group in each}) > 1 for each in users.values())
    assert (len(shared) == 1) == (placement == PACKED)


def test_a_guest_page_comes_back_in_other_two_megabytes():
    made = layout(RANDOM)
    assert all(made.frames.of("data", page) >> 9 != made.frames.of("data", page + made.data_frames) >> 9 for page in range(512))


@pytest.mark.parametrize("placement", [PACKED, RANDOM])
def test_frames_pass_between_tds_and_each_is_in_one_place(placement):
    """What one TD gives back another gets; none is lost, none is in two places."""
    done = ran(f"machine.placement={placement}", "workload.pages=64", "workload.removal_pages=16", "workload.removals_per_s=20000")
    made, memory = done.plan.layout, done.memory
    first, homes = made.frames.first["data"], made.by_name["frame"].count
    moved = [memory.view("frame", np.int64, td) for td in range(2)]
    frames = [td * made.frames.each_td + first + np.arange(homes) + moved[td] for td in range(2)]
    spare = made.frames.spare + np.arange(SLOTS) + memory.view("frame_slot", np.int64)[:, 0]
    began = np.concatenate([np.arange(first, first + homes), made.frames.each_td + np.arange(first, first + homes),
                            made.frames.spare + np.arange(SLOTS)])
    assert sorted(np.concatenate([*frames, spare])) == sorted(began)
    of_other = [((own >= other.min()) & (own < other.min() + homes)).sum() for own, other in (
        (frames[0], began[homes:2 * homes]), (frames[1], began[:homes]))]
    assert min(of_other) > 5


def test_in_a_scenario_a_page_has_the_frames_of_its_two_homes_in_turn():
    assert layout(RANDOM, passing=True).by_name["frame_slot"].count == SLOTS and "frame" not in layout(RANDOM).by_name
    assert not layout(BY_USE, passing=True).passing


# Of the commit before there were placements.
@pytest.mark.parametrize("file, sets, micro_ops, ended, installs, attempts, p99", [
    ("configs/scale/tds.toml", ("policy=kick_on_busy", "td.count=2", "duration_s=0.005", "warmup_s=0"),
     435_087, 0.0051958023, 809, 3_460, 5785.6),
    ("configs/scale/dpamt.toml", ("td.dpamt=dpamt_merged", "td.count=2", "duration_s=0.0005", "machine.placement=by_use"),
     173_273, 0.0005359046999999999, 482, 1_993, 22732.8),
])
def test_by_use_gives_what_it_gave(file, sets, micro_ops, ended, installs, attempts, p99):
    result = run(file, *sets)
    assert (result["simulation"]["micro_ops"], result["simulation"]["ended_at_s"]) == (micro_ops, ended)
    assert (result["counters"]["installs"], result["spans_ns"]["fault"]["p99"]) == (installs, p99)
    assert sum(call["attempts"] for call in result["seamcalls"].values()) == attempts


@pytest.mark.parametrize("placement", [PACKED, RANDOM])
def test_a_run_with_placed_pages_keeps_every_invariant(placement):
    result = run("configs/scale/tds.toml", "policy=kick_on_busy", "td.count=2", "duration_s=0.005", "warmup_s=0",
                 f"machine.placement={placement}")
    assert result["counters"]["removals"] > 20 and not result["bugs"] and not any(result["invariants"].values())


def counts_of(done) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each 2 MiB of the host: pages in use, by their own PAMT entries; what the module has counted; the type."""
    made, memory = done.plan.layout, done.memory
    used = np.zeros(made.frames.ranges, np.int64)
    for td in range(made.tds):
        for group in GROUPS:
            types = memory.view(f"pamt_4k.{group}", np.uint8, td)[:, PAMT_TYPE]
            used += np.bincount(memory.frames_of(group, np.flatnonzero(types != PT_NDA), td) >> 9, minlength=len(used))
    nodes = memory.view(f"pamt_2m.{HOST}", np.uint8)[:len(used)]
    counted = nodes[:, PAMT_COUNT:PAMT_COUNT + 2].copy().view(np.uint16)[:, 0]
    return used, counted * (nodes[:, PAMT_TYPE] == PT_PAMT), nodes[:, PAMT_TYPE]


@pytest.mark.parametrize("placement, removal", [(PACKED, "conversion"), (RANDOM, "conversion"), (RANDOM, "build")])
def test_a_range_is_counted_exactly_as_often_as_pages_of_all_uses_and_tds_are_in_use(placement, removal):
    """The kernel's counts, the module's, and the pages' own types, after a run, range by range."""
    done = ran(f"machine.placement={placement}", f"workload.removal={removal}",
               *(["workload.removal_pages=1", "workload.build_pages=8"] if removal == "build" else []))
    calls = document.from_measured(done.measured()).seamcalls
    used, counted, types = counts_of(done)
    memory = done.memory
    assert calls["tdh_phymem_pamt_add"].success > (2 if placement == PACKED else 20)
    if removal == "build":               # all TDs have been torn down: everything has come back
        assert calls["tdh_phymem_page_reclaim"].success > 20 and used.sum() == 0
    else:
        assert used.sum() > 50
    assert (memory.view("dpamt_ref")[:, 0] == used).all() and (counted == used).all()
    assert ((types == PT_PAMT) == (used > 0)).all()


# --- where 2 MiB of a guest are 2 MiB of the host ---------------------------------------------------

def whole(placement: str, whole_from: int = ENTRIES, **more) -> Layout:
    return Layout(2, 6, ENTRIES * 4, 0, 8, tds=2, placement=placement, passing=True, whole_from=whole_from, inhibits=True, **more)


def large(*sets: str, seed: int = 1) -> simulation.Simulation:
    """configs/huge_pages.toml, two TDs for 1 ms, to its end."""
    given = config_file.read(ROOT / "configs/huge_pages.toml", [
        "engine=simulate", "td.count=2", "duration_s=0.001", "warmup_s=0", f"seed={seed}", *sets])
    given.table.pop("expect")
    done = simulation.Simulation(make_plan(config_file.check(given)))
    done.run(lambda *_: None)
    return done


PAIRS = ("td.dynamic_pamt=true", "td.dpamt=dpamt_merged", "costs_ns.tdh_phymem_pamt_add=4000", "costs_ns.tdh_phymem_pamt_remove=2000",
         "workload.removal=punch_hole", "workload.removal_pages=4", "workload.removals_per_s=20000")


READ = 'policy={ base = "do_no_vcpus_619", split_lock = "read" }'


@pytest.mark.parametrize("placement", [PACKED, RANDOM])
def test_2_mib_of_a_guest_are_2_mib_of_the_host_and_all_else_lies_in_others(placement):
    made = whole(placement, dynamic_pamt=True)
    memory = Memory(made)
    frames, single = made.frames, set(made.frames.of_pairs().tolist())
    assert len(single) == 2 * frames.ranges
    for td in range(2):
        lie = memory.frames_of("data", np.arange(made.data_frames), td)
        assert (lie[ENTRIES:].reshape(-1, ENTRIES) - lie[ENTRIES::ENTRIES, None] == np.arange(ENTRIES)).all()
        assert (lie[ENTRIES::ENTRIES] % ENTRIES == 0).all()
        alone = {int(frame) for group in GROUPS if group != "data" for frame in frames.of(group, np.arange(made.by_name[f"pamt_4k.{group}"].count), td)}
        alone |= {int(frame) for frame in lie[:ENTRIES]}
        assert not alone & single
        single |= alone
        assert not {frame >> 9 for frame in single} & {int(frame) >> 9 for frame in lie[ENTRIES:]}
    users = {frame >> 9 for frame in single}
    assert len(users) <= frames.small and misplaced(memory, entries=True) == 0
    ranges = made.pamt("2m", "data", 2 * ENTRIES), made.pamt("2m", "data", 2 * ENTRIES + 511), made.pamt("2m", "data", 3 * ENTRIES)
    assert ranges[0] == ranges[1] != ranges[2]


def test_words_of_the_host_and_their_owners_have_names():
    made = whole(RANDOM, dynamic_pamt=True)
    entry = made.pamt("2m", "data", ENTRIES)
    assert made.name_of(entry).startswith("PAMT 2M entry of the host's 2 MiB number ")
    assert made.name_of(entry + made.shadow_delta) == f"owner of {made.name_of(entry)}"


def test_single_pages_of_two_tds_and_pairs_of_both_share_2_mib():
    made = whole(PACKED, dynamic_pamt=True)
    memory, frames = Memory(made), made.frames
    alone = [{int(frame) >> 9 for frame in memory.frames_of("data", np.arange(ENTRIES), td)} for td in range(2)]
    pairs = frames.of_pairs().reshape(-1, 2) >> 9
    of_other = {int(pairs[memory.frames_of("data", np.array([number * ENTRIES]), 1)[0] >> 9][0]) for number in range(1, 4)}
    assert alone[0] & alone[1] and of_other & alone[0]


@pytest.mark.parametrize("placement", [PACKED, RANDOM])
@pytest.mark.parametrize("sets", [(), ("workload.removal=conversion", "workload.removal_pages=64"), PAIRS,
                                  (*PAIRS, "td.dpamt=dpamt_fast_v6", "td.pamt_cache=5", READ)])
def test_large_pages_on_placed_memory_keep_every_invariant(placement, sets):
    done = large(f"machine.placement={placement}", *sets)
    result = document.from_measured(done.measured())
    assert result.counters["large_installs"] and result.counters["splits"] and result.counters["large_accepts"]
    assert not result.bugs and not any(result.invariants.values()) and result.invariants["quiet_frames"] == 0
    if PAIRS[0] in sets:
        assert result.seamcalls["tdh_phymem_pamt_add"].success > 3


@pytest.mark.parametrize("placement", [PACKED, RANDOM])
def test_2_mib_that_were_one_page_come_back_to_another_td_which_maps_them_in_parts(placement):
    """What one TD has given back is another's later, in pages of 4 KiB with a pair of their own too."""
    done = large(f"machine.placement={placement}", *PAIRS, "workload.removals_per_s=0", "workload.removal=conversion",
                 "workload.removal_pages=512", "duration_s=0.002", "td.memory_mib=32", seed=3)
    made, memory = done.plan.layout, done.memory
    firsts, passed, parts = np.arange(ENTRIES, made.pages, ENTRIES), 0, 0
    for td in range(2):
        began = set((made.frames.of("data", firsts, 1 - td) >> 9).tolist())
        for first, number in zip(firsts, (memory.frames_of("data", firsts, td) >> 9).tolist()):
            used = memory.view("pamt_4k.data", np.uint8, td)[first:first + ENTRIES, PAMT_TYPE] != PT_NDA
            passed += number in began
            parts += number in began and used.any() and memory.word(made.at(f"pamt_2m.{HOST}", number) + PAMT_TYPE, 8) == PT_PAMT
    assert passed > 1 and parts > 0


@pytest.mark.parametrize("sets", [(), ("workload.removal_pages=512", "td.dpamt=dpamt_fast_v6", READ)])
def test_with_large_pages_too_a_range_is_counted_as_often_as_its_pages_are_in_use(sets):
    """New SEPT pages of splits among them; 2 MiB that are one page have no pair."""
    done = large("machine.placement=random", *PAIRS, "td.memory_mib=32", *sets)
    used, counted, types = counts_of(done)
    assert document.from_measured(done.measured()).counters["splits"] and (types == PT_REG).any() and used.sum() > 50
    assert (done.memory.view("dpamt_ref")[:, 0] == used).all() and (counted == used).all()
    assert ((types == PT_PAMT) == (used > 0)).all() and not used[types == PT_REG].any()


TEARDOWN = ("workload.removal=teardown", "workload.removal_pages=1", "workload.removals_per_s=20000")
BUGS = ("restart_on_bug=true", "policy=zero_tolerance", "workload.removals_per_s=0")
SPLIT = ("workload.removal=split", "workload.removal_pages=1", "workload.removals_per_s=20000")


def keeps_every_count(done, reclaims: int, rebuilds: int) -> bool:
    """Of a run in which TDs gave way to fresh ones: pages, pairs and frames are where they should be, range by range."""
    result, (used, counted, types) = document.from_measured(done.measured()), counts_of(done)
    assert result.seamcalls["tdh_phymem_page_reclaim"].success >= reclaims and result.counters["rebuilds"] >= rebuilds
    assert not any(result.invariants.values()) and result.invariants["quiet_frames"] == 0 == result.counters["destroy_failures"]
    assert (done.memory.view("dpamt_ref")[:, 0] == used).all() and (counted == used).all()
    return ((types == PT_PAMT) == (used > 0)).all() and not used[types == PT_REG].any()


@pytest.mark.parametrize("placement, sets, reclaims", [
    (PACKED, TEARDOWN, 30), (RANDOM, TEARDOWN, 30), (PACKED, (*BUGS, "workload.removals_per_s=20000", "workload.removal_pages=16", "workload.pages=16"), 3), (RANDOM, SPLIT, 1_000)])
def test_a_td_that_gives_way_to_a_fresh_one_gives_its_pages_and_pairs_back(placement, sets, reclaims):
    """By RECLAIM and put: after a teardown its SEPT pages, after a KVM_BUG_ON and a split all that it has."""
    assert keeps_every_count(ran(f"machine.placement={placement}", *sets), reclaims, rebuilds=1)


@pytest.mark.parametrize("placement, sets, reclaims", [
    (RANDOM, ("workload.removal=teardown", "workload.removals_per_s=5000"), 10),
    (PACKED, (*BUGS, "workload.removal=conversion", "workload.removal_pages=512", "workload.accept_first=1.0", "duration_s=0.002"), 10),
    (RANDOM, (*BUGS, "workload.accept_parts=0.5", "workload.accept_first=1.0", "td.pamt_cache=5", "td.dpamt=dpamt_fast_v6"), 1_000)])
def test_so_does_one_with_large_pages_and_2_mib_pass_on_as_one(placement, sets, reclaims):
    done = large(f"machine.placement={placement}", *PAIRS, *sets)
    assert keeps_every_count(done, reclaims, rebuilds=2)
    made, firsts = done.plan.layout, np.arange(ENTRIES, done.plan.layout.pages, ENTRIES)
    lie = [set((done.memory.frames_of("data", firsts, td) >> 9).tolist()) for td in range(2)]
    assert any(lie[td] & set((made.frames.of("data", firsts, 1 - td) >> 9).tolist()) for td in range(2))


@pytest.mark.slow
@pytest.mark.parametrize("placement", [PACKED, RANDOM])
@pytest.mark.parametrize("design", ["dpamt_merged", "dpamt_fast_v6", "dpamt_pool", "dpamt_no_lock"])
def test_sixteen_tds_give_way_again_and_again_under_any_design(design, placement):
    each = f"td.dpamt={design}", f"machine.placement={placement}", "td.count=16", "duration_s=0.004"
    for sets in (TEARDOWN, (*BUGS, "workload.removal_pages=64"), SPLIT):
        assert keeps_every_count(ran(*each, *sets), 10, rebuilds=1)
    for sets in (("workload.removal=teardown",), BUGS):
        assert keeps_every_count(large(*PAIRS, *each, *sets), 10, rebuilds=1)
    given = config_file.read(ROOT / "configs/huge_pages.toml", [*PAIRS, *each, "td.count=2", "duration_s=0.2", "warmup_s=0", "workload.removal=teardown"])
    given.table.pop("expect")
    result = document.from_measured(coordinator.run(make_plan(config_file.check(given))))
    assert result.seamcalls["tdh_phymem_page_reclaim"].success > 10 and not any(result.invariants.values()) and not result.bugs


@pytest.mark.parametrize("removal", ["punch_hole", "build"])
def test_a_frame_that_is_owned_twice_is_seen_and_so_are_2_mib_that_are_one_page_for_nobody(removal):
    made = whole(RANDOM) if removal == "punch_hole" else layout(RANDOM, passing=True)
    memory = Memory(made)
    assert misplaced(memory, entries=True) == 0
    memory.view("frame", np.int64)[ENTRIES + 5] += 1
    assert misplaced(memory, entries=True) == 2          # one has two owners, one none
    memory.view("frame", np.int64)[ENTRIES + 5] -= 1
    if made.whole:
        memory.set_word(made.pamt("2m", "data", ENTRIES) + PAMT_TYPE, PT_REG, 8)
        assert misplaced(memory, entries=True) == 1 and misplaced(memory, entries=False) == 0
        memory.set_word(made.at("pamt_4k.data", ENTRIES + 7) + PAMT_TYPE, PT_REG, 8)
        assert misplaced(memory, entries=False) == 1


@pytest.mark.parametrize("design, meets", [("dpamt_demote_bare", True), ("dpamt_merged", False)])
def test_in_a_run_demote_without_the_lock_meets_another_tds_add_on_one_range_and_with_it_nobody(design, meets):
    """No kick of a TD's vCPUs helps: BUSY behind the bar, or a get that fails."""
    done = large("machine.placement=packed", *PAIRS, f"td.dpamt={design}", "td.count=4", "td.vcpus=2", "td.memory_mib=64",
                 "workload.accept_parts=1.0", "workload.removal=conversion")
    result = document.from_measured(done.measured())
    busy = sum(result.seamcalls[call].busy for call in ("tdh_phymem_pamt_add", "tdh_mem_page_demote"))
    assert result.counters["splits"] > 20 and result.seamcalls["tdh_phymem_pamt_add"].success > 20
    assert (busy > 0) == (sum(result.bugs.values()) + result.invariants["pamt_get"] > 0) == meets


def test_splits_of_placed_pages_run_too():
    given = config_file.read(ROOT / "configs/huge_page_split.toml", ["engine=simulate", "duration_s=0.001", "warmup_s=0", "machine.placement=random",
                                                                     "workload.removals_per_s=5000", "workload.spammers=0"])
    given.table.pop("expect", None)
    result = document.from_measured(simulation.run(make_plan(config_file.check(given))))
    assert result.counters["splits"] == result.counters["rebuilds"] > 0 and not result.bugs and not any(result.invariants.values())


@pytest.mark.parametrize("sets, sentence", [
    (["machine.placement=pakced"], "did you mean packed? must be one of by_use, packed, random"),
    (["machine.placement=packed", "workload.removal=split", "td.dpamt="], "needs td.dpamt: no large page has a pair"),
    (["machine.placement=packed", "td.large_pages=true", "td.memory_mib=2"], "td.memory_mib of at least 4 with a machine.placement"),
    (["td.dpamt=dpamt_v4", "workload.removal=build"], "a machine.placement other than by_use for workload.removal = 'build'"),
    (["machine.placement=packed", "td.dpamt=dpamt_per_2m"], "deadlocks with machine.placement"),
    (["machine.placement=packed", "costs_ns.tdh_phymem_pamt_add=0"], "needs costs_ns.tdh_phymem_pamt_add"),
    (["workload.removing_tds=1", "workload.removal=teardown"], "which host threads of all TDs take part in"),
])
def test_a_placement_that_is_not_modelled_is_one_line(sets, sentence):
    given = config_file.read(ROOT / "configs/scale/dpamt.toml", sets)
    given.table.pop("sweep")
    with pytest.raises(UsageError) as error:
        config_file.check(given)
    assert sentence in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) <= 300
