"""``promptmill lost-jobs``."""

from collections.abc import Iterator
from typing import Annotated

import typer

from promptmill.cli import entry_points, output
from promptmill.cli.help_text import add_help
from promptmill.cli.options import RowFormatOption, format_time
from promptmill.cli.output import Record, RowFormat

End = Annotated[
    str | None,
    typer.Option(metavar="ATTEMPT", help="Fail the job's rows with reason JOB_LOST."),
]
Retry = Annotated[
    str | None,
    typer.Option(metavar="ATTEMPT", help="Retry the job's rows in a new job, which is billed too."),
]


@add_help(
    """
    A job is lost when Vertex has answered 404 for it for PROMPTMILL_LOST_SECONDS.
    Polling continues, and the run stays open until you decide, because a retry could be
    billed twice. Answers in the bucket are kept.

    Needs access to the bucket: pip install 'promptmill[worker]'.

    \b
    Examples:
      promptmill lost-jobs
      promptmill lost-jobs --end 01kq/0/1
      promptmill lost-jobs --retry 01kq/0/1
    """
)
def lost_jobs(
    end: End = None, retry: Retry = None, output_format: RowFormatOption = RowFormat.table
) -> None:
    """List lost jobs, and end or retry them."""
    if end and retry:
        raise typer.BadParameter("use either --end or --retry, not both")
    if attempt_ref := end or retry:
        _resolve_job(attempt_ref, retry=bool(retry))
    else:
        output.write_listing(_lost_job_rows(), output_format, "no lost jobs")


def _resolve_job(attempt_ref: str, *, retry: bool) -> None:
    try:
        entry_points.call_entry_point("end_lost_job", attempt_ref, retry=retry)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    effect = "are retried in a new job" if retry else "fail with reason JOB_LOST"
    typer.echo(f"the rows of {attempt_ref} {effect}", err=True)


def _lost_job_rows() -> Iterator[Record]:
    for job in entry_points.call_entry_point("lost_jobs"):
        yield {"attempt": job.attempt, "job": job.job, "since": format_time(job.since)}
