"""The contention matrix: the lock report's table line by line, its conclusions, and what KVM's locks leave."""

import contextlib
import io
import json
import subprocess

import pytest

from harness.__main__ import main
from harness.errors import DONE, USAGE
from harness.protocol import contention
from harness.protocol.kvm_locks import CONTEXTS, NOT_MADE
from harness.protocol.seamcalls import IN_REPORT, held_by, seamcalls
from harness.protocol.releases import BY_NAME, RELEASES
from harness.reports.module import is_derived

REPORT, DEFAULT = BY_NAME["report-2024"], BY_NAME["1.5.05"]

# "Resources & users list" of the lock report (Yan Zhao, 13 Sep 2024), (1) to (7): shared, exclusive.
LISTED = {
    "TDR": (
        "tdh_mng_rdwr tdh_vp_create tdh_vp_addcx tdh_vp_init tdh_vp_enter tdh_vp_flush tdh_vp_rd_wr tdh_mem_sept_add"
        " tdh_mem_sept_remove tdh_mem_page_aug tdh_mem_page_remove tdh_mem_range_block tdh_mem_track"
        " tdh_mem_range_unblock tdh_phymem_page_reclaim",
        "tdh_mng_create tdh_mng_add_cx tdh_mng_init tdh_mng_vpflushdone tdh_mng_key_config tdh_mng_key_freeid"
        " tdh_mr_extend tdh_mr_finalize tdh_vp_init_apicid tdh_mem_page_add"),
    "KOT": ("tdh_phymem_cache_wb", "tdh_mng_create tdh_mng_vpflushdone tdh_mng_key_freeid"),
    "OP_STATE": (
        "tdh_mng_rdwr tdh_vp_create tdh_vp_addcx tdh_vp_init tdh_vp_init_apicid tdh_vp_enter tdh_vp_rd_wr"
        " tdh_mem_sept_add tdh_mem_sept_remove tdh_mem_page_aug tdh_mem_page_remove tdh_mem_range_block tdh_mem_track"
        " tdh_mem_range_unblock", ""),
    "TDVPR": ("tdh_vp_rd_wr", "tdh_vp_create tdh_vp_addcx tdh_vp_init tdh_vp_init_apicid tdh_vp_enter tdh_vp_flush"),
    "TD_EPOCH": ("tdh_vp_enter", "tdh_mem_track"),
    "SEPT_TREE": ("tdh_mem_sept_add tdh_mem_page_aug tdh_mem_page_remove",
                  "tdh_vp_enter tdh_mem_sept_remove tdh_mem_range_block tdh_mem_range_unblock"),
    "SEPT_ENTRY": ("", "tdh_mem_sept_add tdh_mem_sept_remove tdh_mem_page_aug tdh_mem_page_remove tdh_mem_range_block"
                       " tdh_mem_range_unblock tdg_mem_page_accept"),
}


def users(release, resource, mode) -> set[str]:
    return {call for call, uses in contention.uses(release).items()
            for use in uses if (use.resource, use.mode) == (resource, mode)}


@pytest.mark.parametrize("resource", LISTED)
def test_the_reports_list_of_users_is_what_its_rows_say(resource):
    shared, exclusive = LISTED[resource]
    assert users(REPORT, resource, "shared") == set(shared.split())
    assert users(REPORT, resource, "exclusive") == set(exclusive.split())


def test_the_report_has_27_seamcalls_and_one_tdcall_and_so_has_the_table():
    names = [row.name for row in seamcalls(REPORT)]
    assert len(names) == 28 and set(names) == set(IN_REPORT)
    assert [name for name in names if name.startswith("tdg")] == ["tdg_mem_page_accept"]


def test_the_reports_conclusions_follow_from_its_table_under_kvms_locks():
    found = contention.conclusions(REPORT)
    assert [each.number for each in found] == list(range(1, 9))
    assert all(each.holds for each in found)
    assert {each.number: bool(each.pairs) for each in found} == {
        1: False, 2: False, 3: False, 4: False, 5: True, 6: True, 7: True, 8: False}


def test_from_1_5_20_conclusion_6_no_longer_holds_and_all_others_do():
    for release in RELEASES:
        failed = [each.number for each in contention.conclusions(release) if not each.holds]
        assert failed == ([6] if release.tree == "hp" else []), release.name


def test_where_the_source_disagrees_with_the_report_each_difference_has_its_reason():
    found = {(each.resource, each.in_report): each for each in contention.disagreements(DEFAULT)}
    assert set(found) == {("TDVPR", True), ("PAMT_2M", False), ("KET", False)}
    assert found["TDVPR", True].pairs == (("tdh_vp_enter", "tdh_vp_enter"), ("tdh_vp_enter", "tdh_vp_rd_wr"))
    assert found["KET", False].pairs == (("tdh_mng_key_config", "tdh_mng_key_config"),)
    large = {"tdh_mem_page_aug", "tdh_mem_page_remove", "tdh_phymem_page_reclaim"}
    assert all(large & set(pair) for pair in found["PAMT_2M", False].pairs)
    for release in RELEASES:
        assert all(each.reason for each in contention.disagreements(release)), release.name
    assert not contention.disagreements(REPORT)


# What is left under KVM for the running TD, per resource, without the guest's calls among themselves.
LEFT_1_5_05 = {
    "TD_EPOCH": {("tdh_mem_track", "tdh_vp_enter")},
    "SEPT_TREE": {("tdh_mem_page_aug", "tdh_vp_enter"), ("tdh_mem_page_remove", "tdh_vp_enter"),
                  ("tdh_mem_range_block", "tdh_vp_enter"), ("tdh_mem_range_unblock", "tdh_vp_enter"),
                  ("tdh_mem_sept_add", "tdh_vp_enter"), ("tdh_mem_sept_remove", "tdh_vp_enter"),
                  ("tdh_vp_enter", "tdh_vp_enter")},
    "SEPT_ENTRY": {(guest, host) for guest in ("tdg_mem_page_accept", "tdg_mem_page_attr_rd", "tdg_mem_page_attr_wr")
                   for host in contention.PAGE_CALLS},
}
LEFT_1_5_20 = LEFT_1_5_05 | {
    "SEPT_TREE": {pair for pair in LEFT_1_5_05["SEPT_TREE"]
                  if pair[0] in ("tdh_mem_range_block", "tdh_mem_range_unblock", "tdh_mem_sept_remove")}}


@pytest.mark.parametrize("release, expected", [("1.5.05", LEFT_1_5_05), ("1.5.16", LEFT_1_5_05),
                                               ("1.5.20", LEFT_1_5_20), ("1.5.24", LEFT_1_5_20)])
def test_under_kvm_a_running_td_is_left_with_enter_and_the_guest(release, expected):
    left = contention.conflicts(BY_NAME[release], under_kvm=True, phase="run")
    found: dict[str, set] = {}
    for each in left:
        if not each.b.startswith("tdg"):
            found.setdefault(each.resource, set()).add((each.a, each.b))
    assert found == expected


def test_kvm_6_16_has_pages_of_4k_only_so_nobody_takes_a_2m_or_1g_entry_exclusively():
    for release in RELEASES:
        left = contention.conflicts(release, under_kvm=True)
        assert not [each for each in left if each.resource in ("PAMT_2M", "PAMT_1G")], release.name
        # The module's own matrix has them: a page that RECLAIM names may be a large one.
        assert release.report_only or "PAMT_2M" in {each.resource for each in contention.conflicts(release)}


def test_before_it_runs_kvm_6_16_lets_population_meet_the_creation_of_vcpus():
    left = contention.conflicts(DEFAULT, "TDR", under_kvm=True, phase="build")
    found = set(contention.pairs(left, "TDR"))
    assert ("tdh_mr_extend", "tdh_vp_create") in found and ("tdh_mem_page_add", "tdh_vp_init") in found
    assert ("tdh_vp_init_apicid", "tdh_vp_init_apicid") in found
    assert ("tdh_mem_page_add", "tdh_mem_range_block") not in found
    assert ("tdh_vp_init_apicid", "tdh_vp_init_apicid") not in set(contention.pairs(
        contention.conflicts(BY_NAME["1.5.01"], "TDR", under_kvm=True), "TDR"))


def test_key_tables_of_two_tds_can_meet_under_kvm_and_the_ownership_table_cannot():
    left = contention.conflicts(DEFAULT, under_kvm=True)
    assert contention.pairs(left, "KET") == [("tdh_mng_key_config", "tdh_mng_key_config")]
    assert not contention.pairs(left, "KOT") and not contention.pairs(left, "WBT")


def test_every_call_has_a_context_or_is_not_made():
    names = {row.name for release in RELEASES for row in seamcalls(release)}
    assert names == set(CONTEXTS) | set(NOT_MADE)
    assert not set(CONTEXTS) & set(NOT_MADE)


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
def test_pairs_are_ordered_unique_and_contend(release):
    found = contention.conflicts(release)
    assert found == sorted(set(found))
    taken = contention.uses(release)
    for each in found:
        assert each.a <= each.b and "exclusive" in (each.a_mode, each.b_mode)
        assert any((use.resource, use.mode, use.operand) == (each.resource, each.a_mode, each.a_operand)
                   for use in taken[each.a])
        assert any((use.resource, use.mode, use.operand) == (each.resource, each.b_mode, each.b_operand)
                   for use in taken[each.b])


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
def test_calls_that_are_kept_apart_exclude_each_other_on_a_lock_that_they_take_before_and_drop_behind(release):
    rows = {row.name: row for row in seamcalls(release)}
    places = {}
    for name, row in rows.items():
        taken = list(dict.fromkeys(lock.resource for level in row.levels for lock in held_by(row, level, release)))
        dropped = list(row.order) or taken[::-1]
        places[name] = {lock: (taken.index(lock), dropped.index(lock)) for lock in taken if lock in dropped}
    modes = {name: {use.resource: use.mode for use in uses} for name, uses in contention.uses(release).items()}

    def encloses(name, above, resource):
        (taken, dropped), (inner_taken, inner_dropped) = places[name][above], places[name][resource]
        return taken < inner_taken and dropped > inner_dropped

    apart = contention.conflicts(release, apart=True)
    assert apart and not set(apart) & set(contention.conflicts(release))
    for each in apart:
        assert any(encloses(each.a, above, each.resource) and encloses(each.b, above, each.resource)
                   and "exclusive" in (modes[each.a][above], modes[each.b][above])
                   for above in contention.ABOVE[each.resource] if above in places[each.a] and above in places[each.b]), each


def test_n27_the_lock_of_the_migration_context_is_taken_and_never_busy():
    assert not contention.conflicts(DEFAULT, "MIG") and contention.conflicts(DEFAULT, "MIG", apart=True)
    text = " ".join(run("contention", "--resource", "MIG").stdout.split())
    assert "MIG: 22 pairs of tdh_export_abort" in text and "never meet there: a lock above it (TDR, OP_STATE)" in text


def test_what_the_tree_keeps_apart_is_counted_beside_what_can_be_busy():
    pairs, apart = (set(contention.pairs(contention.conflicts(DEFAULT, apart=each), "SEPT_ENTRY")) for each in (False, True))
    assert ("tdg_mem_page_accept", "tdh_mem_range_block") in pairs and ("tdh_mem_page_aug", "tdh_mem_page_aug") in pairs
    assert ("tdh_mem_page_aug", "tdh_mem_range_block") in apart
    text = run("contention", "--resource", "SEPT_ENTRY").stdout
    assert f"SEPT_ENTRY, {len(pairs)} pairs" in text and f"SEPT_ENTRY: {len(apart)} more pairs never meet there" in text


def run(*arguments) -> subprocess.CompletedProcess:
    """The command line, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(arguments))
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def test_the_matrix_as_json_is_a_list_of_pairs():
    result = run("contention", "--module", "1.5.20", "--format", "json")
    rows = json.loads(result.stdout)
    assert {frozenset(row) for row in rows} == {frozenset(("a", "b", "resource", "a_mode", "b_mode"))}
    assert {"a": "tdh_mem_range_block", "b": "tdh_vp_enter", "resource": "SEPT_TREE", "a_mode": "exclusive",
            "b_mode": "shared"} in rows


@pytest.mark.parametrize("arguments", [
    ("contention",), ("contention", "--under-kvm"), ("contention", "--resource", "tdcs epoch"), ("seamcalls",),
    ("contention", "--module", "report-2024"), ("seamcalls", "--diff", "1.5.16", "1.5.20"),
    ("seamcalls", "--diff", "report-2024", "2.0.18"), ("seamcalls", "--module", "2.0.14"),
    ("explain", "tdh_mem_page_promote", "--module", "1.5.20"), ("explain", "tdg_mem_page_accept", "--level", "1"),
])
def test_tables_fit_100_columns_and_name_the_release(arguments):
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    assert max(map(len, result.stdout.splitlines())) <= 100
    assert "module" in result.stdout


def test_a_difference_names_what_changed_and_in_which_calls():
    text = run("seamcalls", "--diff", "1.5.16", "1.5.20").stdout
    for words in ("lock SEPT_TREE", "exclusive (sharex)", "shared (hp)", "TDX_INTERRUPTED_BUSY", "PENDING: #VE",
                  "CHILD_ENTRIES", "keeps TDHP"):
        assert words in text, words
    assert "no row differs" in run("seamcalls", "--diff", "1.5.05", "1.5.06").stdout


def test_a_difference_names_fields_release_orders_and_what_was_not_read(tmp_path):
    text = run("seamcalls", "--diff", "1.5.09", "1.5.13").stdout
    assert "the same in all that is modelled: 1.5.05, 1.5.06, 1.5.08" in text
    assert "locks given back" in text and "tdh_mng_add_cx" in text and "0x407" in text
    assert "(derived)" not in text and text.count("not read in it, but derived") == 1        # a field that both have alike
    text = " ".join(run("seamcalls", "--diff", "1.5.25", "1.5.34").stdout.split())
    assert "field guest_entry set, look look, set" in text and "not read in it, but derived: filter_pending" in text
    assert "derived" not in run("seamcalls", "--diff", "1.5.24", "1.5.13").stdout
    text = " ".join(run("seamcalls", "--diff", "1.5.16", "1.5.28").stdout.split())
    assert "field filter_pending true false (derived)" in text


def test_a_difference_can_be_to_a_module_of_ones_own(tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text('policy = "kick_on_busy"\n[module]\nbase = "1.5.34"\nepf_threshold = 12\n')
    text = run("seamcalls", "--diff", "1.5.34", str(mine)).stdout
    assert "1.5.34+epf_threshold=12" in text
    [row] = [line.split() for line in text.splitlines() if line.startswith("field")]
    assert row == ["field", "epf_threshold", "6", "12", "(the", "release)"]
    mine.write_text('module = ["1.5.05", "1.5.24"]\n')
    assert "must be one release, or a table" in run("seamcalls", "--diff", "1.5.34", str(mine)).stderr
    mine.write_text('[module]\nepf_treshold = 12\n')
    assert "did you mean epf_threshold?" in run("seamcalls", "--diff", "1.5.34", str(mine)).stderr


def test_a_source_is_of_the_release_or_says_that_it_is_not():
    def line_behind(call, module):
        lines = run("seamcalls", "--module", module).stdout.splitlines()
        place = next(number for number, line in enumerate(lines) if line.startswith(f"{call}  "))
        return " ".join(lines[place + 1:place + 6])

    assert "tdh_mem_page_add.c:148-165" in line_behind("tdh_mem_page_add", "1.5.05")
    assert "(of 1.5.05, which shares this row)" in line_behind("tdh_mem_page_add", "1.5.06")
    assert "of 1.5.24, the same text (the trees differ" in line_behind("tdh_mem_page_add", "1.5.25")
    assert "tdh_mem_page_add.c at character 3500" in line_behind("tdh_mem_page_add", "2.0.18")
    assert "not read in 1.5.34 itself" in line_behind("tdh_mem_page_add", "1.5.34")
    assert "tdg_mem_page_accept.c at character 1400" in line_behind("tdg_mem_page_accept", "1.5.34")


def test_contention_says_how_many_of_its_rows_were_not_read_in_that_release():
    derived = sum(is_derived(row, BY_NAME["1.5.34"]) for row in seamcalls(BY_NAME["1.5.34"]))
    assert derived and f"\n{derived} of its {len(seamcalls(BY_NAME['1.5.34']))} calls are derived, neither read in 1.5.34 itself nor run" in \
        run("contention", "--module", "1.5.34").stdout
    assert "itself" not in run("contention", "--module", "report-2024").stdout


@pytest.mark.parametrize("arguments, message", [
    (("contention", "--module", "1.5.23"), "did you mean 1.5.20?"),
    (("contention", "--resource", "SEPT_TRE"), "did you mean SEPT_TREE?"),
    (("seamcalls", "--diff", "1.5.05", "report"), "did you mean report-2024?"),
    (("explain", "tdh_mem_page_agu"), "did you mean tdh_mem_page_aug?"),
    (("explain", "tdh_mem_page_aug", "--module", "2.0"), "not a release"),
    (("explain", "tdh_mem_page_aug", "--level", "2"), "must be one of 0, 1"),
])
def test_an_unknown_name_is_one_line_with_the_nearest_one(arguments, message):
    result = run(*arguments)
    assert result.returncode == 2 and not result.stdout
    [line] = result.stderr.splitlines()
    assert message in line


@pytest.mark.parametrize("arguments, part", [
    (["--dpamt", "dpamt_merge", "--module", "1.5.24"], "did you mean dpamt_merged?"),
    (["--dpamt", "dpamt_merged"], "--module 1.5.05: has no Dynamic PAMT; releases that have it: 1.5.20"),
    (["--placement", "packed"], "--placement packed: needs --dpamt"),
    (["--dpamt", "dpamt_merged", "--under-kvm"], "--dpamt: not together with --under-kvm"),
])
def test_options_about_ranges_that_cannot_be_are_refused_in_a_line(arguments, part, capsys):
    assert main(["contention", *arguments]) == USAGE
    said = capsys.readouterr().err
    assert part in said and said.count("\n") == 1


def test_the_matrix_of_ranges_says_what_a_design_leaves(capsys):
    assert main(["contention", "--module", "1.5.24", "--dpamt", "dpamt_demote_bare"]) == DONE
    said = capsys.readouterr().out
    assert "pages packed: 4 ways" in said and "tdh_mem_page_demote|R12" in said
    assert main(["contention", "--module", "1.5.24", "--dpamt", "dpamt_demote_bare", "--placement", "by_use", "--format", "json"]) == DONE
    assert json.loads(capsys.readouterr().out) == []
