"""The command `explain` as a user meets it."""

from tests.command_line import inside


def test_explain_prints_the_micro_ops_of_a_call():
    text = inside("explain", "tdh_mem_range_block").stdout
    for word in ("hp_take_shared", "sharex_take_exclusive", "TDX_OPERAND_BUSY|SEPT_TREE", "entry_take",
                 "tdh_mem_range_block.c"):
        assert word in text, word
