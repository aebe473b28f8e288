"""``promptmill results``."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptmill.cli import output, run_views
from promptmill.cli.help_text import add_help
from promptmill.cli.options import RowFormatOption, RunId
from promptmill.cli.output import Record, RowFormat

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


@add_help(
    """
    For an open run it writes the results so far.

    Needs access to the bucket: pip install 'promptmill[worker]'.

    \b
    Examples:
      promptmill results 01kq -o answers.jsonl
      promptmill results 01kq | jq -r .text
      promptmill results 01kq --format csv
    """
)
def results(
    run_id: RunId,
    file: File = None,
    late: Late = False,
    output_format: RowFormatOption = RowFormat.jsonl,
) -> None:
    """Write the results of a run, in no particular order."""
    run = run_views.open_run(run_id)
    with _redirect_stdout(file):
        if output_format is RowFormat.jsonl:
            for line in run.result_lines(late=late):
                output.write_line(line)
        else:
            output.write_records(
                (_result_record(result) for result in run.results(late=late)), output_format
            )


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
