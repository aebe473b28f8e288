"""``promptmill costs``."""

import time
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from promptmill.cli import cost_tables, output
from promptmill.cli.help_text import add_help
from promptmill.cli.options import RowFormatOption
from promptmill.cli.output import Record, RowFormat
from promptmill.config import spans
from promptmill.producers.pricing.totals import GroupBy, Total


def _parse_since(text: str | float) -> float:
    """Parse a day, or a duration before now, into seconds since the epoch."""
    try:
        return datetime.fromisoformat(str(text)).replace(tzinfo=UTC).timestamp()
    except ValueError:
        pass
    try:
        return time.time() - spans.parse_duration(str(text))
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a time; write a day such as 2026-11-01 or a duration such as 7d"
        ) from None


By = Annotated[GroupBy, typer.Option(help="How to group runs.")]
Since = Annotated[
    float | None,
    typer.Option(
        metavar="DAY|SPAN",
        parser=_parse_since,
        help="Only runs since 2026-11-01 (UTC), or of the last 7d.",
    ),
]


@add_help(
    """
    Compares them with the estimates and with online prices. Covers runs for 30 days
    after their end. A run with several labels counts in the row of each label. Open
    runs and runs of unknown price are counted separately; amounts exclude them.

    \b
    Examples:
      promptmill costs --by label
      promptmill costs --by model --since 7d --format csv
    """
)
def costs(
    by: By = GroupBy.day, since: Since = None, output_format: RowFormatOption = RowFormat.table
) -> None:
    """Sum the costs of runs by day, label or model."""
    from promptmill.producers import Promptmill

    totals = Promptmill().costs(by, since=since or 0.0)
    if output_format is RowFormat.table and not totals:
        typer.echo("no runs in this period; use an earlier --since", err=True)
        return
    output.write_records([_total_row(total, by, output_format) for total in totals], output_format)


def _total_row(total: Total, by: GroupBy, output_format: RowFormat) -> Record:
    values = msgspec.structs.asdict(total)
    row: dict[str, object] = {by.value: values.pop("of")} | values
    if output_format is RowFormat.table:
        row |= {name: _format_usd(total, usd) for name, usd in row.items() if name.endswith("usd")}
    return row


def _format_usd(total: Total, usd: object) -> str:
    """Format an amount: "" if no run has ended, "unknown" without prices."""
    if usd is None and not total.unknown:
        return ""
    return cost_tables.format_usd(usd if isinstance(usd, float) else None)
