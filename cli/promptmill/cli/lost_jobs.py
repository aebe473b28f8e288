"""``promptmill lost-jobs``."""

from collections.abc import Iterator
from typing import Annotated

import typer

from promptmill.cli import entry_points, output
from promptmill.cli.options import RowFormatOption, format_time
from promptmill.cli.output import Record, RowFormat


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("lost-jobs")(lost_jobs)


def lost_jobs(
    end: Annotated[
        str | None,
        typer.Option(metavar="PLACE", help="Let this one's rows fail, with the reason JOB_LOST."),
    ] = None,
    retry: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE", help="Try this one's rows again, in a job that is paid for anew."
        ),
    ] = None,
    output_format: RowFormatOption = RowFormat.table,
) -> None:
    """List jobs that are lost, and decide about them.

    A job that Vertex has not known for PROMPTMILL_LOST_SECONDS is lost. It is looked for all the time, and its run stays
    open until you decide: nothing is paid for twice without your word. Answers that it left in the bucket are kept.

    Needs access to the bucket: pip install 'promptmill[worker]'.

    \b
    promptmill lost-jobs
    promptmill lost-jobs --end 01kq/0/1
    promptmill lost-jobs --retry 01kq/0/1
    """
    if end and retry:
        raise typer.BadParameter("give --end or --retry")
    if attempt_ref := end or retry:
        _resolve_job(attempt_ref, retry=bool(retry))
    elif output_format is not RowFormat.table:
        output.write_records(_lost_job_rows(), output_format)
    elif rows := list(_lost_job_rows()):
        output.stdout_console().print(output.build_table(rows))
    else:
        typer.echo("no job is lost", err=True)


def _resolve_job(attempt_ref: str, *, retry: bool) -> None:
    try:
        entry_points.call_entry_point("end_lost_job", attempt_ref, again=retry)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    typer.echo(
        f"the rows of {attempt_ref} {'are tried again' if retry else 'fail with the reason JOB_LOST'}",
        err=True,
    )


def _lost_job_rows() -> Iterator[Record]:
    for job in entry_points.call_entry_point("lost_jobs"):
        yield {"place": job.place, "job": job.job, "since": format_time(job.since)}
