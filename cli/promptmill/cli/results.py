"""``promptmill results`` and ``failures``."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Annotated

import msgspec
import typer

from promptmill.cli import output, status_text
from promptmill.cli.options import RowFormatOption, RunId
from promptmill.cli.output import Record, RowFormat

if TYPE_CHECKING:
    from promptmill.producers import Result, Run

MAX_SPOOL_BYTES = 1 << 20


def add_to(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command()(results)
    app.command()(failures)


def results(
    run_id: RunId,
    file: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write to a file, not to stdout."),
    ] = None,
    late: Annotated[
        bool,
        typer.Option(
            "--late", help="Answers of jobs that were given up and ended after all, instead."
        ),
    ] = False,
    output_format: RowFormatOption = RowFormat.jsonl,
) -> None:
    """Stream the results of a run.

    In no particular order; of a run that goes on, those that are there.

    Needs access to the bucket: pip install 'promptmill[worker]'.

    \b
    promptmill results 01kq -o answers.jsonl
    promptmill results 01kq | jq -r .text
    promptmill results 01kq --format csv
    """
    selected_run = _open_run(run_id)
    with _redirect_stdout(file):
        if output_format is RowFormat.jsonl:
            for line in selected_run.result_lines(late=late):
                output.write_line(line)
        else:
            output.write_records(
                (_result_record(result) for result in selected_run.results(late=late)),
                output_format,
            )


def failures(
    run_id: RunId,
    limit: Annotated[int, typer.Option(min=0, help="Show so many rows in a table.")] = 50,
    output_format: RowFormatOption = RowFormat.table,
) -> None:
    """Show what failed in a run.

    How often for which reason, then the rows.

    Needs access to the bucket: pip install 'promptmill[worker]'.

    \b
    promptmill failures 01kq
    promptmill failures 01kq --format jsonl
    """
    rows = (_failure_record(result) for result in _open_run(run_id).failures())
    if output_format is not RowFormat.table:
        output.write_records(rows, output_format)
        return
    with SpooledTemporaryFile(MAX_SPOOL_BYTES) as spool:
        reasons = _spool_failures(rows, spool)
        _show_failures(reasons, spool, limit)


def _open_run(run_id: str) -> "Run":
    from promptmill.producers import Promptmill

    selected_run = Promptmill().get(run_id)
    status = selected_run.status
    if not status.done:
        typer.echo(
            f"the run is still {status.state}: {status_text.format_progress(status)}", err=True
        )
    return selected_run


@contextmanager
def _redirect_stdout(file: Path | None) -> Iterator[None]:
    """Send stdout to ``file``, which appears only when it is whole."""
    if file is None:
        yield
        return
    unfinished = file.with_name(file.name + ".part")
    original_stdout = sys.stdout
    with unfinished.open("w", encoding="utf-8") as sys.stdout:
        try:
            yield
        finally:
            sys.stdout, file_output = original_stdout, sys.stdout
            file_output.flush()
    unfinished.replace(file)


def _result_record(result: "Result") -> Record:
    error = result.error
    return {
        "key": result.key,
        "row": result.row,
        "state": result.state,
        "text": result.text,
        "parsed": result.parsed,
        "finish_reason": result.finish_reason,
        "reason": error.reason if error else "",
        "message": error.message if error else "",
        "metadata": result.metadata or {},
        "usage": result.usage,
    }


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
    """Keep the rows on disk while the reasons, which are shown before them, are counted."""
    reasons: Counter[str] = Counter()
    for row in rows:
        reasons[str(row["reason"])] += 1
        spool.write(msgspec.json.encode(row) + b"\n")
    spool.seek(0)
    return reasons


def _show_failures(reasons: Counter[str], spool: IO[bytes], limit: int) -> None:
    if not reasons:
        typer.echo("no request has failed", err=True)
        return
    console = output.stdout_console()
    console.print(
        output.build_table(
            [{"reason": reason, "requests": count} for reason, count in reasons.most_common()]
        )
    )
    shown: list[Record] = [msgspec.json.decode(line) for line in islice(spool, limit)]
    if shown:
        console.print(output.build_table(shown))
    if (more := reasons.total() - len(shown)) > 0:
        typer.echo(f"{more:,} more; see them all with --format jsonl", err=True)
