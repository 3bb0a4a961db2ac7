"""`decode`: one answer taken apart, the answer first; the same document as text and as JSON."""

import json

import pytest
from hypothesis import given, settings, strategies

from harness.protocol.leaves import LEAVES, by_name, by_number
from harness.protocol.releases import BY_NAME, NAMES
from harness.protocol.errnos import SITES
from harness.protocol.seamcall_abi import FIELDS, KVM_STATUSES
from harness.protocol.spelling import Asked, read
from harness.reports.answer import ENTER, facts
from harness.reports.explained import NARROW, explanation, summary
from kernels.words import NAME_OF_STATUS, OPERANDS, SOFTWARE_ERRORS, STATUSES, known_class, status, unsigned


def printed(text, module=None, whole=True):
    """What is printed about the one answer in a text, on one line per item."""
    [asked] = read(text)
    lines = explanation(facts(asked, BY_NAME.get(module)), whole).replace("\n              ", " ")
    return lines.replace("\n  ", "\n").replace("  ", " ") if not whole else lines


def test_a_busy_tree_is_named_explained_and_taken_apart():
    text = printed("0x8000020000000092")
    assert text.startswith("0x8000020000000092  TDX_OPERAND_BUSY|SEPT_TREE\n")
    for words in ("A lock that the call needs was held", "yes: once the holder has returned", "operand SEPT_TREE: the lock of",
                  "1.5.01 to 1.5.34, 2.0.08 to 2.0.18", "-EBUSY: tdh_mem_sept_add, tdh_mem_page_aug",
                  "-EIO and KVM_BUG_ON: tdh_mem_range_block, tdh_mem_page_remove", "back to the vCPU loop, which enters again: tdh_vp_enter",
                  "EXIT_FASTPATH_EXIT_HANDLED", "exit reason none (-1)", "146: no exit reason that KVM knows",
                  *(field.name.rstrip("_") for field in FIELDS)):
        assert words in text, words


def test_of_a_call_that_is_named_only_its_own_holders_and_sites_are_printed():
    text = " ".join(printed("SEAMCALL TDH_MEM_PAGE_REMOVE failed: 0x8000020000000092, rcx 0x0, rdx 0x0", whole=False).split())
    for words in ("from tdh_mem_page_remove, SEAMCALL leaf 29", "may be held by EX tdh_vp_enter; KVM's own locks keep out EX tdh_mem_range_block, tdh_mem_range_unblock, tdh_mem_sept_remove",
                  "a page is taken away, last step: entry barred, all vCPUs kicked, one more try; then -EIO and KVM_BUG_ON; the page is leaked",
                  "the call did not get as far as an SEPT entry"):
        assert words in text, words
    assert "tdh_mem_page_aug" not in text and "the vCPU loop" not in text and "SEAMCALLs" not in text


def test_releases_of_a_giver_are_said_as_spans():
    text = " ".join(printed("0xc0000b0800000001", whole=False).split())
    assert "tdh_mem_range_unblock (1.5.05 to 1.5.34, 2.0.08 to 2.0.18), tdh_mmio_unmap (2.0.08 to 2.0.18)" in text


def test_who_may_hold_a_lock_is_the_releases():
    older = facts(*read("tdh_mem_page_remove 0x8000020000000092"), BY_NAME["1.5.16"])
    newer = facts(*read("tdh_mem_page_remove 0x8000020000000092"), BY_NAME["1.5.20"])
    assert older["module"] == "1.5.16" and "tdh_vp_enter" in older["locks"][0]["exclusive"]
    assert newer["module"] == "1.5.20" and "tdh_vp_enter" not in newer["locks"][0]["exclusive"]


@pytest.mark.parametrize("text, says", [
    ("TDX_OPERAND_BUSY|RCX", "handled as an interrupt; spurious"),
    ("TDX_TSC_ROLLBACK", "handled as an NMI or exception; spurious"),
    ("TDX_OPERAND_BUSY|77", "handled as a TDCALL; spurious"),
    ("0x4d", "handled as a TDCALL; the same as upstream"),
    ("0x4000000100000002", "KVM_EXIT_SHUTDOWN"),
    ("0x4000000200000002", "(to the module"),
    ("0x6000000500000000", "NMI handler looks at R9"), ("0x4000000180000021", "bits 31:16 are lost"),
    ("0", "exception or NMI handled: tdh_vp_enter"),
])
def test_what_the_entry_makes_of_an_answer_is_in_its_text(text, says):
    assert says in printed(text)


@pytest.mark.parametrize("text, says", [
    ("TDX_OP_STATE_INCORRECT|2", "op_state of the TD: 2 RUNNABLE"),
    ("TDX_OP_STATE_INCORRECT", "0 in releases before 1.5.20; from then on op_state of the TD: 0 UNINITIALIZED"),
    ("TDX_VCPU_STATE_INCORRECT|4", "state of the vCPU: 4 ACTIVE"),
    ("TDX_INCONSISTENT_MSR|0x3b", "MSR: 0x3b IA32_TSC_ADJUST"), ("TDX_INCONSISTENT_MSR|0x777", "MSR: 0x777\n"),
    ("TDX_CPUID_LEAF_NOT_SUPPORTED|0x1f", "CPUID leaf: 0x1f"), ("TDX_PAGE_SIZE_MISMATCH|1", "level of the SEPT: 1 PD, 2 MiB"),
    ("0x4000000100000002", "VMX exit reason 2, TRIPLE_FAULT"), ("TDX_OPERAND_BUSY|0x77", "operand 0x77, which no release has"),
    ("TDX_OPERAND_INVALID|MEM_SCAN_CONTEXT", "(from 1.5.34 and 2.0.18)"),
    ("TDX_PAMT_OVERLAP|0x30102", "TDMR index: 2; of the PAMT of pages of: 1 2 MiB; other TDMR: 3"),
    ("TDX_L2_SEPT_WALK_FAILED|0x20001", "VM: 2; level of its SEPT: 1 PD, 2 MiB"),
    ("TDX_UPDATE_COMPATIBILITY_SENSITIVE|0x30000", "how many: 3; of what: 0 TDs being built"),
    ("TDX_PREVIOUS_TLB_EPOCH_BUSY|5", "nothing is known to stand there"),
])
def test_bits_31_to_0_are_explained_as_what_they_are(text, says):
    assert says in printed(text, whole=False) + "\n"


@pytest.mark.parametrize("text, says", [
    ("TDX_TLB_TRACKING_NOT_DONE|RCX", "yes: after TDH.MEM.TRACK and an exit of every vCPU that entered before it"),
    ("TDX_PREVIOUS_TLB_EPOCH_BUSY", "kick them all"), ("TDX_OPERAND_INVALID|RCX", "no: the same call answers the same"),
    ("TDX_GPA_RANGE_ALREADY_BLOCKED|RCX", "not needed: go on with TDH.MEM.TRACK"), ("TDX_TD_FATAL", "no: what it was about is lost"),
    ("TDX_MEM_SCAN_IN_PROGRESS", "yes: bit 62 is clear"), ("TDX_GUEST_INV_NOT_REQUIRED", "not needed: no error"),
    ("TDX_OPERAND_BUSY|GPA_LIST_ENTRY|FATAL", "no: what it was about is lost: bit 61"),
    ("tdh_vp_flush TDX_OPERAND_BUSY|RCX", "a vCPU that runs holds it until its TD exits: kick it"),
])
def test_whether_trying_again_can_help_and_after_what(text, says):
    assert f"try again {says}" in printed(text, whole=False) or says in printed(text, whole=False)


def test_a_tdcalls_answer_is_distinguished_from_a_seamcalls():
    both = facts(*read("TDX_OPERAND_BUSY|RCX"))
    assert {giver["instruction"] for giver in both["given_by"]} == {"SEAMCALL", "TDCALL"} and both["kvm"] and both["guest"]
    guests = facts(*read("TDX_PAGE_SIZE_MISMATCH|0"))
    assert {giver["instruction"] for giver in guests["given_by"]} == {"TDCALL"} and not guests["kvm"] and not guests["entry"]
    assert [site["call"] for site in guests["guest"]] == ["tdg_mem_page_accept"]
    named = facts(*read("tdg_mem_page_accept 0x8000020000000001"))
    assert not named["kvm"] and named["guest"] and any("host has priority" in note for note in named["notes"])
    hosts = facts(*read("TDX_GPA_RANGE_ALREADY_BLOCKED|RCX"))
    assert hosts["kvm"] and not hosts["guest"]


@pytest.mark.parametrize("text, kind, says", [
    ("0xffffffffffffffff", "mark", "no call ever returns it"), ("0x8000000000000000", "hypercall", "R10 of TDG.VP.VMCALL"),
    ("0x8000ff0000000006", "software error", "not in VMX operation"), ("0x8000ff0000000099", "software error", "no reason that Linux"),
    ("0x2000000000000030", "unknown", "No release"), ("0x2000000000000000", "unknown", "TDX_SUCCESS with bit 61 besides"), ("0x20000b0700000001", "unknown", "only an error can be fatal"), ("UNINITIALIZE_ERROR", "mark", "no call ever"), ("0x1234567800000000", "unknown", "No release up to 1.5.34 and 2.0.18"), ("0xc000020000000000", "unknown", "TDX_OPERAND_BUSY"),
    ("0x8000bb0000000000", "unknown", "No release"), ("0x30", "exit", "The TD has exited"), ("0", "success", "has gone through"),
    ("TDX_OPERAND_BUSY_HOST_PRIORITY|RCX", "internal", "the guest was refused"),
    ("TDX_DMAR_INDEX_OUT_OF_BOUNDS", "status", "TDX Connect"), ("0x6000000700000000", "exit", "The TD has exited"),
])
def test_what_kind_of_answer_it_is(text, kind, says):
    document = facts(*read(text))
    assert document["kind"] == kind and says in " ".join(document["says"])


def test_a_refusal_for_host_priority_leaves_the_module_in_one_way():
    text = " ".join(printed("SEAMCALL (0x000000000000001d) failed: 0x8000020400000092", whole=False).split())
    assert "never leaves" not in text and "One way leads out: a service TD" in text and "TDX_CROSS_TD_TRAP" in text


@pytest.mark.parametrize("text, name", [
    ("0x9000020000000001", "TDX_OPERAND_BUSY|RCX|HINT"), ("0x90000204000000ac", "TDX_OPERAND_BUSY_HOST_PRIORITY|OP_STATE|HINT"),
    ("TDG_MEM_PAGE_ACCEPT failed: 0x9000020000000001", "TDX_OPERAND_BUSY|RCX|HINT"),
    ("tdx: err=0xd0000d0400000000", "TDX_SERVTD_UUID_MISMATCH|HINT"),
])
def test_a_guest_finds_its_hosts_hint_in_an_error(text, name):
    document = facts(*read(text))
    assert document["name"] == name and "Only a guest finds it" in " ".join(document["says"])
    assert not document["entry"] and all(giver["instruction"] == "TDCALL" for giver in document["given_by"])
    assert document["fields"]["host_recoverability_hint"] == 1


@pytest.mark.parametrize("text", ["0x9000020500000000", "0x9000000900000000", "0x1000000000000030", "0x9000123400000000"])
def test_bit_60_of_a_status_is_no_hint_and_only_an_error_has_one(text):
    assert "HINT" not in facts(*read(text))["name"]


def test_what_may_have_been_meant_instead_is_noted():
    assert "TDX_OPERAND_BUSY" in facts(*read("0x80000200"))["notes"][0]
    assert "write -16 or EBUSY" in facts(*read("16"))["notes"][0]
    assert not facts(*read("0x10"))["notes"]


def test_a_release_that_has_not_got_the_status_is_said_not_to():
    assert facts(*read("TDX_INTERRUPTED_BUSY"), BY_NAME["1.5.05"])["releases"].startswith("not 1.5.05: 1.5.20 to")
    assert facts(*read("TDX_INTERRUPTED_BUSY"))["module"] == "1.5.20"            # the first that has it
    older = facts(*read("TDX_SPDM_INVALID_MESSAGE"), BY_NAME["2.0.08"])          # the name that it had there
    assert older["name"] == "TDX_SDPM_INVALID_MESSAGE" and older["releases"].endswith("as TDX_SPDM_INVALID_MESSAGE 2.0.18")


@pytest.mark.parametrize("text, says", [
    ("EBUSY", "TDX_OPERAND_BUSY with any operand [tdx_gmem_post_populate]"), ("-11", "TDX_RND_NO_ENTROPY [__tdx_td_init]"),
    ("EINVAL", "tdh_mng_init): TDX_OPERAND_INVALID with any operand"), ("ENODEV", "TDX_SEAMCALL_VMFAILINVALID"),
    ("EIO", "every error but TDX_OPERAND_BUSY [tdx_mem_page_aug ...]"), ("ENOMEM", "No answer of the module ends as that"),
])
def test_an_errno_leads_back_to_the_answers_that_end_as_it(text, says):
    assert says in printed(text, whole=False)


def test_each_status_has_its_name_also_with_bit_61():
    for word in STATUSES.values():
        document = facts(Asked("", word | 1 << 61))
        assert document["name"].startswith(f"{NAME_OF_STATUS[known_class(word)[0]]}"), document["name"]
        assert not document["given_by"] or word >> 63 or not known_class(word | 1 << 61)[1]


def test_every_errno_of_every_site_leads_back_there():
    for site in SITES.values():
        for known in site.errnos:
            if known.errno and site.returns:
                document = facts(Asked("", None, known.errno))
                [place] = [place for place in document["from"] if place["at"] == site.text]
                assert any(answer.startswith(known.status) for answer in place["answers"])


def test_everything_is_readable_in_eighty_columns():
    words = [*STATUSES.values(), *SOFTWARE_ERRORS.values(), *KVM_STATUSES.values(), 0, 0x30, 0x31, (1 << 64) - 1,
             status("TDX_OPERAND_BUSY", 0x1000_0000), status("TDX_PAMT_OVERLAP", 0xFFFF_FFFF),
             *(status("TDX_OPERAND_BUSY", operand) for operand in OPERANDS)]
    assert max(len(line) for word in words for line in explanation(facts(Asked("", word))).splitlines()) <= NARROW == 80


CALLS = strategies.sampled_from([None, *(by_number(side, number) for side, leaves in LEAVES.items() for number in leaves)])
WORDS = strategies.one_of(strategies.integers(0, (1 << 64) - 1), strategies.builds(
    lambda upper, low, fatal: unsigned(upper | low | fatal), strategies.sampled_from(sorted(STATUSES.values())),
    strategies.one_of(strategies.integers(0, 0x200), strategies.integers(0, (1 << 32) - 1)), strategies.sampled_from([0, 1 << 61])))


@settings(deadline=None)
@given(WORDS, CALLS, strategies.dictionaries(strategies.sampled_from(["RCX", "RDX", "R8", "R9", "RBX"]), strategies.integers(0, (1 << 64) - 1)),
       strategies.sampled_from([None, *NAMES]), strategies.booleans())
def test_any_word_of_any_call_in_any_release_is_explained(word, leaf, registers, release, whole):
    document = facts(Asked("pasted", word, leaf=leaf, registers=tuple(registers.items())), BY_NAME.get(release), lines=2)
    text = explanation(document, whole)
    assert text.startswith(f"{word:#018x}  ") and all(len(line) <= NARROW and line.isprintable() for line in text.splitlines())
    assert json.loads(json.dumps(document))["word"] == f"{word:#018x}"
    assert leaf is None or leaf.name == ENTER or document["entry"] is None


def test_a_summary_is_a_row_for_each():
    documents = [facts(*read(text)) for text in ("tdh_mem_track 0x80000200000000a9", "EBUSY")]
    head, busy, number = summary(documents, "csv").splitlines()
    assert head == "answer,name,call,lines,try again" and busy == "0x80000200000000a9,TDX_OPERAND_BUSY|TD_EPOCH,tdh_mem_track,1,yes"
    assert number.startswith("-EBUSY,")


def test_a_call_that_is_not_modelled_or_not_made_is_said_to_be():
    text = printed("tdh_sys_info 0xc000050500000000", whole=False)
    assert by_name("tdh_sys_info").name == "TDH.SYS.INFO" and "Linux 6.16 does not make it" in text


def test_a_status_that_no_call_answers_is_nobodys_answer():
    document = facts(*read("TDX_OPERAND_BUSY_HOST_PRIORITY|RCX"))
    assert not (document["given_by"] or document["kvm"] or document["entry"]) and document["again"]
    assert "no row" not in explanation(document) and "No SEAMCALL answers it" in explanation(document)


def test_a_status_without_its_operand_says_with_which_it_is_given():
    text = " ".join(printed("TDX_TLB_TRACKING_NOT_DONE", whole=False).split())
    assert "operands given with RCX, SEPT_TREE; name one" in text and "tdh_mem_page_remove" in text and "no row" not in text
    assert "operands given with RCX, SEPT_TREE, OP_STATE, RDX;" in " ".join(
        printed("tdh_mem_page_remove TDX_OPERAND_BUSY", whole=False).split())


def test_the_locks_are_those_of_a_release_that_gives_the_answer():
    document = facts(*read("tdh_mem_page_demote 0x800002000000000c"))        # R12, with Dynamic PAMT
    assert document["module"] == "1.5.20" and {lock["resource"] for lock in document["locks"]} == {"PAGE", "PAMT_2M"}
