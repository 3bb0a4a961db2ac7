"""What `doctor` has found of this machine, as a table: each check, the finding, what to do."""

import json

from tabulate import tabulate

from harness.reports.text import csv_of, spare


def doctor_report(rows, style: str = "table") -> str:
    """What was found of each check, and what to do about it.

    rows   (check, finding, advice), of commands/doctor.py
    """
    named = [{"check": row.check, "finding": row.finding, "what to do": row.advice or "nothing"}
             for row in rows]
    if style == "json":
        return json.dumps(named, indent=1)
    if style == "csv":
        return csv_of(named)
    if style == "github":
        return tabulate(named, headers="keys", tablefmt="github", disable_numparse=True)
    return tabulate(named, headers="keys", tablefmt="simple", disable_numparse=True,
                    maxcolwidths=[20, 33 + spare() // 2, 43 + spare() - spare() // 2])
