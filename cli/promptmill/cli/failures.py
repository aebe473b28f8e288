"""``promptmill failures``."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Annotated

import msgspec
import typer

from promptmill.cli import output, run_views
from promptmill.cli.help_text import add_help
from promptmill.cli.options import RowFormatOption, RunId
from promptmill.cli.output import Record, RowFormat
from promptmill.producers.contract.failure_reasons import FailureReason

if TYPE_CHECKING:
    from promptmill.producers import Result

MAX_SPOOL_BYTES = 1 << 20

Limit = Annotated[
    int, typer.Option(metavar="N", min=0, help="Maximum number of rows in the table.")
]


@add_help(
    """
    The table starts with the number of failures for each reason. What to do about
    each reason is printed below it.

    Needs access to the bucket: pip install 'promptmill[worker]'.

    \b
    Examples:
      promptmill failures 01kq
      promptmill failures 01kq --format jsonl
    """
)
def failures(
    run_id: RunId, limit: Limit = 50, output_format: RowFormatOption = RowFormat.table
) -> None:
    """Show the failed requests of a run with their reasons."""
    rows = (_failure_record(result) for result in run_views.open_run(run_id).failures())
    if output_format is not RowFormat.table:
        output.write_records(rows, output_format)
        return
    with SpooledTemporaryFile(MAX_SPOOL_BYTES) as spool:
        reasons = _spool_failures(rows, spool)
        _show_failures(reasons, spool, limit)


def _failure_record(result: "Result") -> Record:
    error = result.error
    return {
        "key": result.key,
        "row": result.row,
        "reason": error.reason if error else "",
        "attempt": result.attempt,
        "message": error.message if error else "",
    }


def _spool_failures(rows: Iterable[Record], spool: IO[bytes]) -> Counter[str]:
    """Write the rows to disk and count the reasons, which the table shows first."""
    reasons: Counter[str] = Counter()
    for row in rows:
        reasons[str(row["reason"])] += 1
        spool.write(msgspec.json.encode(row) + b"\n")
    spool.seek(0)
    return reasons


def describe_reasons(reasons: Iterable[str]) -> Iterator[str]:
    """Yield what happened and what to do, one line for each reason that this version knows."""
    for reason in reasons:
        if known := FailureReason.__members__.get(reason):
            yield f"{reason}: {known.explanation} {known.remedy}"


def _show_failures(reasons: Counter[str], spool: IO[bytes], limit: int) -> None:
    if not reasons:
        typer.echo("no failed requests", err=True)
        return
    console = output.stdout_console()
    reason_rows: list[Record] = [
        {"reason": reason, "requests": count} for reason, count in reasons.most_common()
    ]
    console.print(output.build_table(reason_rows))
    shown_rows: list[Record] = [msgspec.json.decode(line) for line in islice(spool, limit)]
    if shown_rows:
        console.print(output.build_table(shown_rows))
    for line in describe_reasons(reasons):
        typer.echo(line, err=True)
    if (hidden_count := reasons.total() - len(shown_rows)) > 0:
        typer.echo(f"{hidden_count:,} more; list all with --format jsonl", err=True)
