"""What people paste: every spelling of one answer is that answer, log lines give their call, the rest is one line."""

import errno

import pytest
from hypothesis import given, settings, strategies

from harness.errors import UsageError
from harness.protocol.leaves import by_name
from harness.protocol.spelling import KNOWN, line, one, read, registers_only, shown
from kernels.words import OPERANDS, SOFTWARE_ERRORS, STATUSES, signed, status, status_name

TREE = 0x8000_0200_0000_0092


@pytest.mark.parametrize("text", [
    "0x8000020000000092", "0X8000020000000092", "0x8000_0200_0000_0092", "0x8000'0200'0000'0092", "80000200`00000092",
    "0x8000020000000092ULL", "0x8000020000000092ul", "8000020000000092", "8000_0200_0000_0092", "9223374235878031506",
    "-9223369837831520110", "  0x8000020000000092\n", "0x8000020000000092,", "(0x8000020000000092)", "'0x8000020000000092'.",
    "=0x8000020000000092;", "+0x8000020000000092", "-0x7ffffdffffffff6e", "“0x8000020000000092”", "0x00000000008000020000000092",
    "TDX_OPERAND_BUSY|SEPT_TREE", "TDX_OPERAND_BUSY | SEPT_TREE", "tdx_operand_busy|sept_tree", "OPERAND_BUSY|SEPT_TREE",
    "TDX_OPERAND_BUSY|0x92", "TDX_OPERAND_BUSY|146", "TDX_OPERAND_BUSY + 0x92", "(TDX_OPERAND_BUSY | TDX_OPERAND_ID_SEPT)",
    "TDX_OPERAND_BUSY|OPERAND_ID_SEPT_TREE", "TDX_OPERAND_BUSY|operand SEPT_TREE", "0x8000020000000000 | 0x92",
    "0x8000020000000000ULL|SEPT_TREE",
    # An operand that is not joined by |, and was once dropped without a word.
    "TDX_OPERAND_BUSY(SEPT_TREE)", "TDX_OPERAND_BUSY (SEPT)", "TDX_OPERAND_BUSY, SEPT_TREE", "tdx_operand_busy: sept_tree",
    "TDX_OPERAND_BUSY SEPT_TREE", "TDX_OPERAND_BUSY/SEPT_TREE", "TDX_OPERAND_BUSY & SEPT_TREE", "TDX_OPERAND_BUSY-SEPT_TREE",
    "TDX_OPERAND_BUSY || SEPT_TREE", "TDX_OPERAND_BUSY operand SEPT_TREE", "TDX_OPERAND_BUSY, operand id 0x92",
    "TDX_OPERAND_BUSY with operand SEPT_TREE", "TDX_OPERAND_BUSY on SEPT_TREE", "TDX_OPERAND_BUSY [0x92]", "TDX_OPERAND_BUSY: operand 146",
    "TDX_OPERAND_BUSY|operand id: 0x92", "(TDX_OPERAND_BUSY | (TDX_OPERAND_ID_SEPT))", "TDX_OPERAND_BUSY|(SEPT_TREE)", "operand busy|sept",
    # A number in parts, and as assemblers and debuggers write it.
    "80000200:00000092", "0x80000200 0x00000092", "80000200 00000092", "8000 0200 0000 0092", "8000020000000092h", "0x8000020000000092H",
    "x8000020000000092", "0x8000020000000092u64", "RAX = 8000020000000092h", "$1 = 0x8000020000000092", "(u64)0x8000020000000092",
    # Said twice.
    "TDX_OPERAND_BUSY|SEPT_TREE (0x8000020000000092)", "0x8000020000000092 (TDX_OPERAND_BUSY|SEPT_TREE)",
    "0x8000020000000092 = TDX_OPERAND_BUSY|SEPT_TREE",
])
def test_one_answer_in_many_spellings(text):
    [asked] = read(text)
    assert asked.word == TREE and asked.leaf is None and not asked.registers


def test_sixteen_digits_are_never_decimal_and_the_reader_says_so():
    assert one("8000020000000092").notes and one("1000000000000000").word == 0x1000_0000_0000_0000
    assert one("100000000000000").word == 10 ** 14 and not one("100000000000000").notes
    with pytest.raises(UsageError, match="no sign"):
        read("-8000020000000092")


@pytest.mark.parametrize("text, word", [
    ("b0700000001", 0x0B07_0000_0001), ("0x30", 48), ("48", 48), ("EXIT_REASON_EPT_VIOLATION", 48), ("ept_violation", 48),
    ("tdx_seamcall_gp", SOFTWARE_ERRORS["TDX_SEAMCALL_GP"]), ("TDX_OP_STATE_INCORRECT|RUNNABLE", 0xC000_0608_0000_0002),
    ("TDX_VCPU_STATE_INCORRECT|vCPU state ACTIVE", 0xC000_0700_0000_0004), ("TDX_PAGE_SIZE_MISMATCH|level 1", 0xC000_0B0B_0000_0001),
    ("TDX_OPERAND_BUSY|GPA_LIST_ENTRY|FATAL", 0xA000_0200_0000_0061), ("TDX_OPERAND_BUSY | 0x61 | bit 61", 0xA000_0200_0000_0061),
    ("TDX_OPERAND_BUSY|GPA_LIST_ENTRY|1<<61", 0xA000_0200_0000_0061), ("TDX_OPERAND_BUSY|GPA_LIST_ENTRY|BIT_ULL(61)", 0xA000_0200_0000_0061),
    ("TDX_NON_RECOVERABLE_TD | EXIT_REASON_EPT_VIOLATION", 0x6000_0002_0000_0030), ("TDX_NON_RECOVERABLE_TD|EPT_VIOLATION", 0x6000_0002_0000_0030),
    ("exit reason 77", 77), ("exit_reason: 0x30", 48), ("kvm: exit_reason = 0x0000004d", 77), ("exit reason EPT_VIOLATION", 48),
    ("TDX_PAGE_SIZE_MISMATCH, level 1", 0xC000_0B0B_0000_0001), ("tdx page size mismatch", 0xC000_0B0B_0000_0000), ("30h", 48),
    ("what is 0xc000060b00000000?", 0xC000_060B_0000_0000), ("TDVMCALL_STATUS_RETRY", 1), ("0", 0), ("18446744073709551615", (1 << 64) - 1),
])
def test_other_things_that_are_answers(text, word):
    assert [asked.word for asked in read(text)] == [word]


@pytest.mark.parametrize("text, number", [("EBUSY", errno.EBUSY), ("-EBUSY", errno.EBUSY), ("-16", errno.EBUSY), ("eio", errno.EIO),
                                          ("-5", errno.EIO), ("-0x10", errno.EBUSY), ("-95", errno.EOPNOTSUPP), ("EOPNOTSUPP", errno.EOPNOTSUPP),
                                          ("ret = -5", errno.EIO), ("ret=-16", errno.EBUSY), ("ret: -EBUSY", errno.EBUSY), ("returned -EIO", errno.EIO),
                                          ("KVM_RUN failed: -5", errno.EIO), ("module initialization failed (-28)", errno.ENOSPC),
                                          ("ioctl(KVM_RUN) = -1 EIO (Input/output error)", errno.EIO), ("errno=16", errno.EBUSY), ("errno 5", errno.EIO),
                                          ("EBUSY (16)", errno.EBUSY), ("-16 EBUSY", errno.EBUSY), ("-EBUSY (-16)", errno.EBUSY),
                                          ("Device or resource busy", errno.EBUSY), ("input/output error.", errno.EIO),
                                          ("qemu-system-x86_64: KVM_TDX_INIT_MEM_REGION failed: Input/output error", errno.EIO),
                                          ("ioctl(KVM_TDX_FINALIZE_VM): Invalid  argument", errno.EINVAL),
                                          ("tdx_mem_page_aug returned -16", errno.EBUSY), ("tdx_sept_set_private_spte: -EBUSY", errno.EBUSY)])
def test_a_small_negative_number_is_an_errno(text, number):
    [asked] = read(text)
    assert asked.word is None and asked.errno == number


@pytest.mark.parametrize("text, word, call, registers", [
    ("SEAMCALL failed: leaf 6 error 0x8000020000000001", 0x8000_0200_0000_0001, "tdh_mem_page_aug", {}),
    ("TDCALL failed, leaf=0x6 status 0xc0000b0b00000001", 0xC000_0B0B_0000_0001, "tdg_mem_page_accept", {}),
    # Linux 6.16, pr_tdx_error, pr_tdx_error_1 to _3.
    ("kvm_intel: SEAMCALL TDH_MEM_TRACK failed: 0x80000200000000a9", 0x8000_0200_0000_00A9, "tdh_mem_track", {}),
    ("[  512.034] kvm_intel: SEAMCALL TDH_MEM_PAGE_AUG failed: 0xc0000b0d00000001, rcx 0x80000001234560f7, rdx 0x400",
     0xC000_0B0D_0000_0001, "tdh_mem_page_aug", {"RCX": 0x8000_0001_2345_60F7, "RDX": 0x400}),
    ("SEAMCALL TDH_PHYMEM_PAGE_RECLAIM failed: 0xc000030000000001, rcx 0x0, rdx 0x1, r8 0x2", 0xC000_0300_0000_0001,
     "tdh_phymem_page_reclaim", {"RCX": 0, "RDX": 1, "R8": 2}),
    # Linux 6.19, TDX_BUG_ON_2 and, with its comma, TDX_BUG_ON_3.
    ("SEAMCALL TDH_MEM_RANGE_BLOCK failed: 0xc0000b0d00000001, entry 0x8000000000000000, level_state 0x0",
     0xC000_0B0D_0000_0001, "tdh_mem_range_block", {"RCX": 1 << 63, "RDX": 0}),
    ("SEAMCALL TDH_PHYMEM_PAGE_RECLAIM failed: 0xc000030000000001, rcx 0x0, rdx, 0x1, r8 0x2", 0xC000_0300_0000_0001,
     "tdh_phymem_page_reclaim", {"RCX": 0, "RDX": 1, "R8": 2}),
    # seamcall_err, tdh_vp_rd_failed, tdh_vp_wr_failed, tdx_handle_exit.
    ("virt/tdx: SEAMCALL (0x0000000000000021) failed: 0xc000050000000000", 0xC000_0500_0000_0000, "tdh_sys_init", {}),
    ("virt/tdx: SEAMCALL (0x0000000000010016) failed: 0x8000020000000080", 0x8000_0200_0000_0080, "tdh_vp_init", {}),
    ("TDH_VP_RD[VMCS.0x4402] failed 0x8000070100000000", 0x8000_0701_0000_0000, "tdh_vp_rd", {}),
    ("TDH_VP_WR[VMCS.0x201e]=0xc0000b0800000001 failed: 0xc000070000000002", 0xC000_0700_0000_0002, "tdh_vp_wr", {}),
    ("kvm: TD vp_enter_ret 0xc000070600000000", 0xC000_0706_0000_0000, "tdh_vp_enter", {}),
    # What people write themselves.
    ("SEAMCALL[TDH_MEM_PAGE_REMOVE] failed: 0x8000020000000092", TREE, "tdh_mem_page_remove", {}),
    ("tdh_mem_page_aug failed 0x8000020000000092, rcx 0x1, rdx 0x2", TREE, "tdh_mem_page_aug", {"RCX": 1, "RDX": 2}),
    ("tdh_mem_page_aug TDX_OPERAND_BUSY SEPT_TREE", TREE, "tdh_mem_page_aug", {}), ("tdh_mem_page_aug=0x8000020000000092", TREE, "tdh_mem_page_aug", {}),
    ("__seamcall(6, ...) -> 0x8000020000000092", TREE, "tdh_mem_page_aug", {}), ("seamcall_ret(6) = 0x8000020000000092", TREE, "tdh_mem_page_aug", {}),
    ("tdh_mem_page_aug: TDX_OPERAND_BUSY, rcx 0x1", 0x8000_0200_0000_0000, "tdh_mem_page_aug", {"RCX": 1}),
    ("TDH.MEM.PAGE.AUG -> TDX_OPERAND_BUSY|SEPT_TREE", TREE, "tdh_mem_page_aug", {}),
    ("TDH.MEM.PAGE.AUG returned TDX_OPERAND_BUSY (operand id SEPT_TREE)", TREE, "tdh_mem_page_aug", {}),
    ("tdh_mem_page_aug 0x30", 0x30, "tdh_mem_page_aug", {}), ("0x30 tdh_vp_enter", 0x30, "tdh_vp_enter", {}),
    ("tdh_vp_enter() returned 0x4d", 0x4D, "tdh_vp_enter", {}),
    ("TDCALL 6: RAX=8000020000000001 RCX=0000000000001000", 0x8000_0200_0000_0001, "tdg_mem_page_accept", {"RCX": 0x1000}),
    ("SEAMCALL leaf 6 returned -9223369837831520110", TREE, "tdh_mem_page_aug", {}),
    ("\x1b[31mtdh_mem_track\x1b[0m failed: \x1b[1m0x8000020000000092\x1b[0m", TREE, "tdh_mem_track", {}),
    ("something 0x8000020000000092 went wrong", TREE, None, {}),
])
def test_a_line_gives_the_call_the_status_and_the_registers(text, word, call, registers):
    [asked] = read(text)
    assert asked.word == word and dict(asked.registers) == registers
    assert asked.leaf == (by_name(call) if call else None)


def test_a_call_of_the_loader_is_said_to_be_one_and_none_of_the_module():
    for text in ("SEAMCALL (0x8000000000000001) failed: 0x8000000000010003",
                 "P-SEAMLDR: SEAMCALL (0x8000000000000001) failed: 0x8000000000010003"):
        [asked] = read(text)
        assert (asked.word, asked.leaf) == (0x8000_0000_0001_0003, None) and "P-SEAMLDR" in asked.notes[0]


def test_an_errno_in_a_line_counts_where_a_call_is_named():
    [asked] = read("tdh_mem_page_add: err=-16")
    assert asked.errno == errno.EBUSY and asked.leaf == by_name("tdh_mem_page_add")
    assert not line("some driver: probe failed with error -16")


@pytest.mark.parametrize("text, words", [
    ("page 0x123: reclaim -> TDX_OPERAND_BUSY (0x8000020000000080)", [0x8000_0200_0000_0080]),
    ("reclaim gave TDX_OPERAND_BUSY, then TDX_TD_FATAL (0x8000020000000080)", [0x8000_0200_0000_0080, 0xE000_0604_0000_0000]),
    ("a 0xc000060800000000 and b 0xc000060800000004", [0xC000_0608_0000_0000, 0xC000_0608_0000_0004]),
])
def test_a_name_beside_its_own_number_is_no_second_answer(text, words):
    assert sorted(asked.word for asked in read(text)) == words


def test_several_at_once():
    assert [asked.word for asked in read("0x8000020000000092, 0xc0000b0800000001 TDX_TD_FATAL")] == \
        [TREE, 0xC000_0B08_0000_0001, 0xE000_0604_0000_0000]


@pytest.mark.parametrize("text", [
    "", "usb 1-1: new high-speed USB device number 2", "BIOS-e820: [mem 0x0000000000000000-0x000000000009ffff] usable",
    "RIP: 0010:tdx_sept_zap_private_spte+0x12/0x34 [kvm_intel]", "RAX: 0000000000000000 RBX: ffff888101234567 RCX: 0000000000000001",
    "x86/tdx: KeyID range [32, 64)", "TDCALL 6 failed (Buggy TDX module!)",
])
def test_lines_without_an_answer_have_none(text):
    assert not line(text)


def test_registers_on_lines_of_their_own():
    assert registers_only("virt/tdx: RCX 0x0000000000000001 RDX 0x0000000000000002 R08 0x0000000000000003") == \
        (("RCX", 1), ("RDX", 2), ("R8", 3))
    assert not registers_only("SEAMCALL TDH_MEM_PAGE_AUG failed: 0xc0000b0d00000001, rcx 0x0, rdx 0x0")


@pytest.mark.parametrize("text, says", [
    ("0xzz", "not a number"), ("12three", "not a number"), ("0x1" + 16 * "0", "less than 2**64"), ("9" * 500, "less than 2**64"),
    ("-9223372036854775809", "at least -2**63"), ("TDX_OPERAND_BUZY", "did you mean TDX_OPERAND_BUSY?"),
    ("TDX_OPERAND_BUSY|SEPT_TRE", "did you mean SEPT_TREE?"), ("TDX_OPERAND_BUSY|", "is no operand"),
    ("TDX_OPERAND_BUSY|٣", "is no operand"), ("TDX_OPERAND_BUSY|0x100000000", "is no operand"),
    ("TDX_SEAMCALL_UD|RCX", "takes no operand"), ("", "no status in it"), ("hello world", "no status in it"),
    ("kvm_intel: tdh_mem_page_remove failed", "it names TDH.MEM.PAGE.REMOVE, but no status in it"),
    ("Kernel panic - not syncing: TDCALL 6 failed (Buggy TDX module!)", "it names TDG.MEM.PAGE.ACCEPT, but no status in it"),
    ("SEPT_TREE", "write TDX_OPERAND_BUSY|SEPT_TREE"), ("TDX_OPERAND_ID_TDR", "write TDX_OPERAND_BUSY|TDR"), ("tdh_mem_page_aug", "a call, not a status"),
    ("tdh_mem_page_agu 0x8000020000000092", "did you mean TDH_MEM_PAGE_AUG?"), ("EBUZY", "did you mean EBUSY?"),
    ("busy\x1b[2J\x07", r"busy\x1b[2J\x07"), ("b\u202eusy", r"b\u202eusy"), ("\udcff", r"\udcff"), ("a\\b", r"a\b"),
])
def test_what_is_no_answer_is_one_line_that_can_be_printed(text, says):
    with pytest.raises(UsageError) as mistake:
        read(text)
    assert says in str(mistake.value) and str(mistake.value).isprintable()


def test_names_that_reports_print_can_be_given_back():
    operands = [*OPERANDS]
    words = [status(name, operand) for number, name in enumerate(STATUSES) for operand in operands[number % 5::5]] + [*SOFTWARE_ERRORS.values()]
    assert all(one(status_name(word)).word == word for word in words)


def test_a_shown_text_is_short_and_printable():
    assert len(shown("x" * 1000)) < 100 and shown("x\x00\n\x9b") == r"x\x00\n\x9b"


# --- fuzzed --------------------------------------------------------------------------------------

WORDS = strategies.integers(0, (1 << 64) - 1)


@given(WORDS)
def test_each_word_in_each_spelling_is_that_word(word):
    spelled = [f"{word:#x}", f"{word:#018X}", f"{word:016x}", f"{word:#_x}", f"{word:#x}ull,", f"'{word:#x}'"]
    if word >= 10 ** 16:
        spelled += [str(word), f"{word:_}"]
    if signed(word) < -4095 and len(str(signed(word))) != 17:
        spelled.append(str(signed(word)))
    assert {one(text).word for text in spelled} == {word}


PIECES = strategies.sampled_from([
    "0x", "8000020000000092", "0x8000020000000092", "TDX_OPERAND_BUSY", "|", "+", "-", "RCX", "rcx", " ", ",", "(", ")", "[", "]", "=", "_",
    "SEAMCALL", "TDCALL", "TDH_MEM_PAGE_AUG", "tdg_mem_page_accept", "failed:", "ret", "-16", "EBUSY", "level", "bit 61", "\n", "\x00", "\x1b[0m",
    "٣", "ULL", "'", "`", "\udc80", "vp_enter_ret", "0", "9" * 30, "entry", "FATAL"])


@settings(max_examples=20)
@given(strategies.one_of(strategies.text(), strategies.lists(PIECES).map("".join), strategies.lists(PIECES).map(" ".join)))
def test_any_text_is_answers_or_one_line(text):
    try:
        found = read(text)
    except UsageError as mistake:
        assert str(mistake).isprintable() and str(mistake).isascii()
        return
    assert found
    for asked in [*found, *line(text)]:
        assert (asked.word is None) == bool(asked.errno)
        assert asked.word is None or 0 <= asked.word < 1 << 64
        assert all(0 <= value < 1 << 64 for _, value in asked.registers)


@given(WORDS.filter(lambda word: word >> 32), strategies.sampled_from(["tdh_mem_page_aug", "TDH.VP.ENTER", "TDG_MEM_PAGE_ACCEPT"]), WORDS, WORDS)
def test_each_line_of_the_kernel_gives_back_what_it_was_made_of(word, call, rcx, rdx):
    [asked] = read(f"kvm_intel: SEAMCALL {call} failed: {word:#x}, rcx {rcx:#x}, rdx {rdx:#x}")
    assert asked.word == word and asked.leaf == by_name(call) and dict(asked.registers) == {"RCX": rcx, "RDX": rdx}


def test_every_name_that_is_known_is_read():
    assert all(one(name).word == word and one(name.lower()).word == word for name, word in KNOWN.items())
