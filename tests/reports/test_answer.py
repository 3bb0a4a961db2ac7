"""`decode`: one answer, taken apart; numbers and names in, one line and exit code 2 for anything else."""

import subprocess
import sys
from pathlib import Path

import pytest

from harness.__main__ import main
from harness.reports.answer import explanation, parse
from harness.protocol.seamcall_abi import FIELDS, KVM_STATUSES
from harness.reports.text import WIDTH
from kernels.words import OPERANDS, SOFTWARE_ERRORS, STATUSES, status, status_name

ROOT = Path(__file__).parent.parent.parent


def test_a_busy_tree_is_named_taken_apart_and_decoded_both_ways():
    text = explanation("0x8000020000000092")
    for word in ("TDX_OPERAND_BUSY|SEPT_TREE", "operand SEPT_TREE", "-EBUSY", "-EIO and KVM_BUG_ON",
                 "EXIT_FASTPATH_EXIT_HANDLED", "exit reason none (-1)", "146: no exit reason that KVM knows",
                 *(field.name.rstrip("_") for field in FIELDS)):
        assert word in text, word


@pytest.mark.parametrize("text, says", [
    ("TDX_OPERAND_BUSY|RCX", "handled as an interrupt; spurious"),
    ("TDX_TSC_ROLLBACK", "handled as an NMI or exception; spurious"),
    ("TDX_OPERAND_BUSY|77", "handled as a TDCALL; spurious"),
    ("0x4d", "handled as a TDCALL; the same as upstream"),
    ("0x4000000100000002", "KVM_EXIT_SHUTDOWN"),
    ("0x4000000200000002", "to KVM (to the module 0x6000000200000000)"),
    ("0x6000000500000000", "NMI handler looks at R9"), ("0x4000000180000021", "bits 31:16 are lost"),
])
def test_what_an_answer_comes_to_is_in_its_text(text, says):
    assert says in explanation(text)


@pytest.mark.parametrize("text", ["0x8000020000000092", "0x8000_0200_0000_0092", "9223374235878031506",
                                  "TDX_OPERAND_BUSY|SEPT_TREE", "TDX_OPERAND_BUSY|0x92",
                                  "TDX_OPERAND_BUSY|146"])
def test_an_answer_can_be_spelled_in_many_ways(text):
    assert parse(text) == 0x8000_0200_0000_0092


def test_names_that_reports_print_can_be_given_back():
    words = [status(name, operand) for name in STATUSES for operand in OPERANDS]
    words += SOFTWARE_ERRORS.values()
    assert all(parse(status_name(word)) == word for word in words)


def test_no_text_is_wider_than_the_page():
    words = [*STATUSES.values(), *SOFTWARE_ERRORS.values(), *KVM_STATUSES.values(), 0x30, 0x31, (1 << 64) - 1,
             *(status("TDX_OPERAND_BUSY", operand) for operand in OPERANDS)]
    assert max(len(line) for word in words for line in explanation(hex(word)).splitlines()) <= WIDTH


@pytest.mark.parametrize("text, says", [
    ("0xzz", "not a number"),
    ("12three", "not a number"),
    ("-5", "at least 0"),
    ("0x1" + 16 * "0", "less than 2**64"),
    ("TDX_OPERAND_BUZY", "did you mean TDX_OPERAND_BUSY?"),
    ("TDX_OPERAND_BUSY|SEPT_TRE", "did you mean SEPT_TREE?"),
    ("TDX_OPERAND_BUSY|", "is no operand"),
    ("TDX_SEAMCALL_UD|RCX", "takes no operand"),
    ("", "neither a number"),
])
def test_what_is_no_answer_is_one_line_and_exit_code_2(text, says, capsys):
    assert main(["decode", text]) == 2
    out, err = capsys.readouterr()
    assert says in err and err.count("\n") == 1 and not out


def test_the_command_prints_and_needs_no_compiler():
    code = ("import sys; from harness.__main__ import main\n"
            "assert main(['decode', '0x8000020000000092']) == 0\n"
            "assert not {'numba', 'numpy'} & set(sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "TDX_OPERAND_BUSY|SEPT_TREE" in done.stdout, done.stderr
