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

from promptmill.cli import output, words
from promptmill.cli.arguments import RowsFormat, RunId
from promptmill.cli.output import Format, Record

if TYPE_CHECKING:
    from promptmill.producers import Result, Run

KEPT_IN_MEMORY = 1 << 20


def add_to(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command()(results)
    app.command()(failures)


def results(
    run: RunId,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a file, not to stdout.")
    ] = None,
    late: Annotated[
        bool, typer.Option("--late", help="Answers of jobs that were given up and ended after all, instead.")
    ] = False,
    form: RowsFormat = Format.jsonl,
) -> None:
    """Stream the results of a run.

    In no particular order; of a run that goes on, those that are there.

    Needs access to the bucket: pip install 'promptmill[worker]'.

    \b
    promptmill results 01kq -o answers.jsonl
    promptmill results 01kq | jq -r .text
    promptmill results 01kq --format csv
    """
    found = _find(run)
    with _written_to(file):
        if form is Format.jsonl:
            for line in found.result_lines(late=late):
                output.write_line(line)
        else:
            output.write((_record(result) for result in found.results(late=late)), form)


def failures(
    run: RunId,
    limit: Annotated[int, typer.Option(min=0, help="Show so many rows in a table.")] = 50,
    form: RowsFormat = Format.table,
) -> None:
    """Show what failed in a run.

    How often for which reason, then the rows.

    Needs access to the bucket: pip install 'promptmill[worker]'.

    \b
    promptmill failures 01kq
    promptmill failures 01kq --format jsonl
    """
    rows = (_failure(result) for result in _find(run).failures())
    if form is not Format.table:
        output.write(rows, form)
        return
    with SpooledTemporaryFile(KEPT_IN_MEMORY) as spool:
        reasons = _spooled(rows, spool)
        _show_failures(reasons, spool, limit)


def _find(run: str) -> "Run":
    from promptmill.producers import Promptmill

    found = Promptmill().get(run)
    status = found.status
    if not status.done:
        typer.echo(f"the run is still {status.state}: {words.progress(status)}", err=True)
    return found


@contextmanager
def _written_to(file: Path | None) -> Iterator[None]:
    """Send stdout to ``file``, which appears only when it is whole."""
    if file is None:
        yield
        return
    unfinished = file.with_name(file.name + ".part")
    before = sys.stdout
    with unfinished.open("w", encoding="utf-8") as sys.stdout:
        try:
            yield
        finally:
            sys.stdout, written = before, sys.stdout
            written.flush()
    unfinished.replace(file)


def _record(result: "Result") -> Record:
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


def _failure(result: "Result") -> Record:
    error = result.error
    return {
        "key": result.key,
        "row": result.row,
        "reason": error.reason if error else "",
        "attempt": result.attempt,
        "message": error.message if error else "",
    }


def _spooled(rows: Iterable[Record], spool: IO[bytes]) -> Counter[str]:
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
    console = output.to_stdout()
    console.print(output.table([{"reason": reason, "requests": count} for reason, count in reasons.most_common()]))
    shown: list[Record] = [msgspec.json.decode(line) for line in islice(spool, limit)]
    if shown:
        console.print(output.table(shown))
    if (more := reasons.total() - len(shown)) > 0:
        typer.echo(f"{more:,} more; see them all with --format jsonl", err=True)
