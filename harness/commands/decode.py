"""The command `decode`: one answer of a SEAMCALL taken apart."""

from harness.errors import DONE
from harness.reports import answer


def add(parser) -> None:
    parser.add_argument("status", metavar="STATUS",
                        help="a number such as 0x8000020000000092, or a name such as 'TDX_OPERAND_BUSY|SEPT_TREE'")


def do(options) -> int:
    print(answer.explanation(options.status))
    return DONE
