"""The command `decode`: arguments, standard input, log lines, formats; mistakes are one line and exit code 2."""

import io
import json
import subprocess
import sys

import pytest

from harness.__main__ import main
from harness.protocol import spelling
from harness.reports.answer import facts


LOG = b"""\
[   10.1] Linux version 7.1.0
[   11.2] virt/tdx: SEAMCALL (0x0000000000000022) failed: 0xc0000c0200000000
[   11.2] virt/tdx: RCX 0x0000000000000000 RDX 0x0000000000000007 R08 0x0000000000000000
[   11.2] virt/tdx: R09 0x0000000000000009 R10 0x0000000000000000 R11 0x0000000000000000
[  512.3] kvm_intel: SEAMCALL TDH_MEM_PAGE_AUG failed: 0xc0000b0d00000001, rcx 0x80000001234560f7, rdx 0x400
[  512.4] kvm_intel: SEAMCALL TDH_MEM_PAGE_AUG failed: 0xc0000b0d00000001, rcx 0x80000001234570f7, rdx 0x400
[  513.0] \xff\x00\x1b[31mgarbage\x1b[0m
[  513.1] RIP: 0010:tdx_sept_zap_private_spte+0x12/0x34
"""


@pytest.fixture
def feed(monkeypatch):
    """Put bytes where standard input is."""
    return lambda data: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def printed(capsys, *arguments):
    assert main(["decode", *arguments]) == 0
    out, err = capsys.readouterr()
    assert not err
    return out


def test_one_answer_is_taken_apart_to_its_bits(capsys):
    out = printed(capsys, "0x8000020000000092")
    assert "TDX_OPERAND_BUSY|SEPT_TREE" in out and "details_l2" in out and "naive, bits 15:0 alone" in out


def test_several_are_explained_one_after_the_other(capsys):
    out = printed(capsys, "0x8000020000000092", "0xc0000b0800000001", "EBUSY")
    assert [block.split()[0] for block in out.split("\n\n")] == ["0x8000020000000092", "0xc0000b0800000001", "-EBUSY"]
    assert "details_l2" not in out


@pytest.mark.parametrize("arguments", [
    ["SEAMCALL TDH_VP_INIT failed: 0x8000020000000080"], ["SEAMCALL", "TDH_VP_INIT", "failed:", "0x8000020000000080"],
    ["TDH_VP_INIT", "0x8000020000000080"], ["tdh_vp_init", "TDX_OPERAND_BUSY", "|", "TDR"],
])
def test_the_words_of_one_line_belong_together_even_if_a_shell_has_parted_them(arguments, capsys):
    [document] = json.loads(printed(capsys, *arguments, "--format", "json"))
    assert document["word"] == "0x8000020000000080" and document["call"]["call"] == "tdh_vp_init"


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_a_log_on_standard_input_gives_each_answer_once(arguments, feed, capsys):
    feed(LOG)
    first, second = json.loads(printed(capsys, *arguments, "--format", "json"))
    assert (first["call"]["call"], first["lines"]) == ("tdh_sys_rd", 1)
    assert [row["register"] for row in first["registers"]] == ["RDX", "R8", "R9"]
    assert (second["call"]["call"], second["lines"]) == ("tdh_mem_page_aug", 2)
    assert second["notes"] == ["The registers are those of the first line."]


def test_a_log_may_be_pasted_as_an_argument(feed, capsys):
    out = printed(capsys, LOG.decode("utf-8", "surrogateescape").replace("\x00", ""))
    assert "from tdh_mem_page_aug, SEAMCALL leaf 6" in out and "found       in 2 lines" in out


def test_other_formats_have_a_row_for_each(feed, capsys):
    feed(LOG)
    assert len(printed(capsys, "--format", "csv").splitlines()) == 3
    feed(LOG)
    assert printed(capsys, "--format", "github").startswith("| answer")


@pytest.mark.parametrize("text", ["-EBUSY", "-16", "-ebusy"])
def test_an_errno_is_no_option(text, capsys):
    assert printed(capsys, text).startswith("-EBUSY (-16)  Device or resource busy\n")


def test_the_release_is_chosen(capsys):
    [document] = json.loads(printed(capsys, "tdh_mem_page_aug 0x8000020000000092", "--module", "1.5.20", "--format", "json"))
    assert document["module"] == "1.5.20" and "tdh_vp_enter" not in document["locks"][0]["exclusive"]


def test_a_status_has_the_name_of_the_release_and_its_other_names_are_told(capsys):
    [document] = json.loads(printed(capsys, "0xC0000F4E00000000", "--module", "2.0.16", "--format", "json"))
    assert (document["name"], document["releases"]) == (
        "TDX_SDPM_INVALID_MESSAGE", "2.0.08 to 2.0.16; as TDX_SPDM_INVALID_MESSAGE 2.0.18")
    [document] = json.loads(printed(capsys, "0xC0000F4E00000000", "--format", "json"))
    assert document["name"] == "TDX_SPDM_INVALID_MESSAGE" and "as TDX_SDPM_INVALID_MESSAGE 2.0.08 to 2.0.16" in document["releases"]


def test_eight_digits_that_could_be_the_upper_half_of_a_status_are_told_to_be():
    [document] = [facts(asked) for asked in spelling.read("80000200")]
    assert document["word"] == "0x0000000004c4b4c8" and "0x80000200, it is the upper half of TDX_OPERAND_BUSY" in document["notes"][0]


def test_a_row_of_an_errno_says_what_it_is(capsys):
    assert printed(capsys, "EBUSY", "--format", "csv").splitlines()[1] == "-EBUSY,Device or resource busy,,1,"


def test_all_statuses_are_listed(capsys):
    assert "0x8000020000000000  TDX_OPERAND_BUSY\n" in printed(capsys, "--list", "--module", "1.5.05")


@pytest.mark.parametrize("arguments, says", [
    (["0xzz"], "not a number"), (["TDX_OPERAND_BUZY"], "did you mean TDX_OPERAND_BUSY?"), ([""], "no status in it"),
    (["0x8000020000000092", "TDX_OPERAND_BUZY"], "did you mean TDX_OPERAND_BUSY?"), (["0x8000020000000092", "foo"], "decode foo"),
    (["tdh_mem_page_aug"], "a call, not a status"), (["busy\x1b[2J\udc80"], r"busy\x1b[2J\udc80"),
    (["0x30", "--module", "1.5.5"], "--module 1.5.5: not a release"), (["0x30", "--list"], "--list takes no answer"),
    (["a\nb"], "no answer in the 2 lines"),
])
def test_a_mistake_is_one_line_and_exit_code_2(arguments, says, capsys):
    assert main(["decode", *arguments]) == 2
    out, err = capsys.readouterr()
    assert says in err and err.count("\n") == 1 and err[:-1].isprintable() and not out


@pytest.mark.parametrize("data, says", [
    (b"", "no answer in the 0 lines of standard input"), (b"nothing\nat all here\n", "no answer in the 2 lines"),
    (b"0x8000020000000092\nTDX_OPERAND_BUZY\n", "standard input, line 2: decode TDX_OPERAND_BUZY"),
    (b"fine 0x8000020000000092\n0x12 0xzz\n", "line 2"),
])
def test_so_is_one_on_standard_input(data, says, feed, capsys):
    feed(data)
    assert main(["decode"]) == 2
    out, err = capsys.readouterr()
    assert says in err and err.count("\n") == 1 and not out


class Endless(io.RawIOBase):
    """Like `yes`; counts what has been read."""

    given = 0

    def readable(self):
        return True

    def readinto(self, buffer):
        self.given += len(buffer)
        buffer[:] = (b"0xzz\n" * (len(buffer) // 5 + 1))[:len(buffer)]
        return len(buffer)


def test_standard_input_without_an_end_is_refused_before_a_line_of_it_is_looked_at(capsys, monkeypatch):
    endless = Endless()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(endless)))
    monkeypatch.setattr("harness.commands.decode.INPUT_MOST", 1 << 20)
    assert main(["decode"]) == 2
    assert capsys.readouterr() == ("", "standard input: is longer than 1 MiB; must be at most that\n")
    assert endless.given < 2 << 20


def test_a_word_of_a_log_that_is_no_answer_is_not_compared_with_all_names(feed, monkeypatch, capsys):
    monkeypatch.setattr("harness.protocol.spelling.nearest", lambda *_: pytest.fail("compared"))
    feed(b"x\n" * 100 + b"-EBUSY\n")
    assert "EBUSY" in printed(capsys)


def test_a_sentence_that_begins_like_a_status_and_a_dump_of_memory_are_passed_over(feed, capsys):
    feed(b"TDX_MODULE is loaded\n0xffffc90001234567: 0xffff888012345678\n(TDX_OPERAND_BUSY | SEPT_TREE)\n")
    assert [line.split(",")[0] for line in printed(capsys, "-", "--format", "csv").splitlines()[1:]] == ["0x8000020000000092"]


def test_numbers_in_a_log_are_no_answers_unless_they_can_be_nothing_else(feed, capsys):
    feed(b"Code: 00 01 02\nffff888101234567 0000000000000030\n <TASK>\nerr -16\n0x8000020000000092\n8000020000000080\nEBUSY\n")
    assert [each.get("word", each.get("errno")) for each in json.loads(printed(capsys, "--format", "json"))] == \
        ["0x8000020000000092", "0x8000020000000080", "-EBUSY"]


def test_it_runs_in_a_pipe_whatever_the_encoding():
    done = subprocess.run([sys.executable, "-m", "harness", "decode"], input=LOG, capture_output=True,
                          env={"PYTHONIOENCODING": "ascii", "PATH": ""})
    assert done.returncode == 0 and b"TDX_METADATA_FIELD_NOT_READABLE" in done.stdout, done.stderr
