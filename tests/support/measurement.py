"""Print measurements as a table and as a line of JSON."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]
Tell = Callable[[str, Rows], None]


def show(title: str, rows: Rows) -> None:
    """Print rows that all have the same names."""
    sys.stdout.write(f"\n{title}\n" + "\n".join(_table(rows)) + "\n")
    sys.stdout.write(json.dumps({"benchmark": title, "rows": list(rows)}) + "\n")


def _table(rows: Rows) -> list[str]:
    lines = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    ]


def _cell(value: object) -> str:
    return (
        f"{value:,.2f}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )
