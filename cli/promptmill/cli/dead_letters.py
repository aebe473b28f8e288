"""``promptmill dead-letters``."""

from collections.abc import Iterator
from typing import Annotated

import typer

from promptmill.cli import entry_points, output, status_text
from promptmill.cli.options import RowFormatOption, format_time
from promptmill.cli.output import Record, RowFormat


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("dead-letters")(dead_letters)


def dead_letters(
    replay: Annotated[
        list[str] | None, typer.Option(metavar="STEP", help="Send this one again; may be repeated.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Send all of them again.")] = False,
    output_format: RowFormatOption = RowFormat.table,
) -> None:
    """List work that is no longer tried, or try it again.

    A step is parked as a dead letter when it has failed, or taken its worker down, again and again. The rest of its run
    goes on; the run stays open until the step is sent again and comes through.

    Needs access to the bucket: pip install 'promptmill[worker]'.

    \b
    promptmill dead-letters
    promptmill dead-letters --replay 01kq.s000.a1.p00003.parse
    promptmill dead-letters --all
    """
    if replay and everything:
        raise typer.BadParameter("give --replay or --all")
    if replay or everything:
        _replay_steps(replay)
        return
    rows = _letter_rows()
    if output_format is not RowFormat.table:
        output.write_records(rows, output_format)
    elif letters := list(rows):
        output.stdout_console().print(output.build_table(letters))
    else:
        typer.echo("there are no dead letters", err=True)


def _replay_steps(steps: list[str] | None) -> None:
    """Send these again, or all; their ids are on stdout."""
    sent = 0
    for step in steps or [str(letter["step"]) for letter in _letter_rows()]:
        try:
            entry_points.call_entry_point("replay", step)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--replay") from None
        typer.echo(step)
        sent += 1
    typer.echo(f"{status_text.format_count(sent, 'dead letter')} sent again", err=True)


def _letter_rows() -> Iterator[Record]:
    for letter in entry_points.call_entry_point("dead_letters"):
        yield {
            "step": letter.step,
            "task": letter.task,
            "parked": format_time(letter.at),
            "reason": letter.reason,
        }
