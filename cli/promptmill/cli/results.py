"""``promptmill results``."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptmill.cli import output, run_views
from promptmill.cli.help_text import add_help
from promptmill.cli.options import RowFormatOption, RunId
from promptmill.cli.output import Record, RowFormat
from promptmill.producers.contract.kept_parts import KEPT_PARTS

if TYPE_CHECKING:
    from promptmill.producers import Result


File = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write to a file instead of stdout."),
]
Late = Annotated[
    bool,
    typer.Option("--late", help="Write the answers of abandoned jobs that ended later."),
]


Keep = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PART",
        help=f"Part of Google's answer to add: {', '.join(KEPT_PARTS)}; repeatable. What the "
        "run did not keep is read from its raw output.",
    ),
]


@add_help(
    """
    For an open run it writes the results so far.

    Needs access to the bucket: pip install 'promptmill[worker]'.

    \b
    Examples:
      promptmill results 01kq -o answers.jsonl
      promptmill results 01kq | jq -r .text
      promptmill results 01kq --format csv
      promptmill results 01kq --keep grounding
    """
)
def results(
    run_id: RunId,
    file: File = None,
    late: Late = False,
    keep: Keep = None,
    output_format: RowFormatOption = RowFormat.jsonl,
) -> None:
    """Write the results of a run, in no particular order."""
    if late and keep:
        raise typer.BadParameter("--keep is not for late answers: they have what the run keeps")
    run, parts = run_views.open_run(run_id), keep or ()
    with _redirect_stdout(file):
        if output_format is RowFormat.jsonl:
            for line in run.result_lines(late=late, keep=parts):
                output.write_line(line)
        else:
            records = map(_result_record, run.results(late=late, keep=parts))
            is_table = output_format is RowFormat.table
            output.write_records(shorten_records(records) if is_table else records, output_format)


@contextmanager
def _redirect_stdout(file: Path | None) -> Iterator[None]:
    """Redirect stdout to ``file``, which is created only when it is complete."""
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


def shorten_records(records: Iterable[Record]) -> list[Record]:
    """Return rows of a table, without columns that are empty in all."""
    rows = [_shorten_record(record) for record in records]
    used = [name for name in (rows[0] if rows else ()) if any(row[name] for row in rows)]
    return [{name: row[name] or "" for name in used} for row in rows]


def _shorten_record(record: Record) -> Record:
    """Replace a vector by its length, and the usage by its total."""
    vector, usage = record["embedding"], record["usage"]
    total = usage.get("totalTokenCount") if isinstance(usage, dict) else None
    return {
        **record,
        "usage": f"{total:,} tokens" if isinstance(total, int) else "",
        "embedding": f"{len(vector):,} numbers" if isinstance(vector, list) and vector else "",
    }


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
        "response": result.response or {},
        "embedding": result.embedding or [],
    }
