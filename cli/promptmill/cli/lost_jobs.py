"""``promptmill lost-jobs``."""

from collections.abc import Iterator
from typing import Annotated

import typer

from promptmill.cli import bucket, output
from promptmill.cli.arguments import RowsFormat, moment
from promptmill.cli.output import Format, Record


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("lost-jobs")(lost_jobs)


def lost_jobs(
    end: Annotated[
        str | None, typer.Option(metavar="PLACE", help="Let this one's rows fail, with the reason JOB_LOST.")
    ] = None,
    retry: Annotated[
        str | None, typer.Option(metavar="PLACE", help="Try this one's rows again, in a job that is paid for anew.")
    ] = None,
    form: RowsFormat = Format.table,
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
    if place := end or retry:
        _decide(place, again=bool(retry))
    elif form is not Format.table:
        output.write(_listed(), form)
    elif rows := list(_listed()):
        output.to_stdout().print(output.table(rows))
    else:
        typer.echo("no job is lost", err=True)


def _decide(place: str, *, again: bool) -> None:
    try:
        bucket.call("end_lost_job", place, again=again)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    typer.echo(f"the rows of {place} {'are tried again' if again else 'fail with the reason JOB_LOST'}", err=True)


def _listed() -> Iterator[Record]:
    for job in bucket.call("lost_jobs"):
        yield {"place": job.place, "job": job.job, "since": moment(job.since)}
