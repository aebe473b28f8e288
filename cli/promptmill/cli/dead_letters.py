"""``promptmill dead-letters``."""

from collections.abc import Iterator
from typing import Annotated

import typer

from promptmill.cli import entry_points, output, status_text
from promptmill.cli.help_text import add_help
from promptmill.cli.options import RowFormatOption, format_time
from promptmill.cli.output import Record, RowFormat

Replay = Annotated[
    list[str] | None, typer.Option(metavar="STEP", help="Queue this step again; repeatable.")
]
Everything = Annotated[bool, typer.Option("--all", help="Queue all dead letters again.")]


@add_help(
    """
    A step becomes a dead letter after it has failed or crashed its worker repeatedly.
    The rest of its run continues. The run stays open until the step is queued again
    and succeeds.

    Needs access to the bucket: pip install 'promptmill[worker]'.

    \b
    Examples:
      promptmill dead-letters
      promptmill dead-letters --replay 01kq.s000.a1.p00003.parse
      promptmill dead-letters --all
    """
)
def dead_letters(
    replay: Replay = None,
    everything: Everything = False,
    output_format: RowFormatOption = RowFormat.table,
) -> None:
    """List dead letters or queue them again."""
    if replay and everything:
        raise typer.BadParameter("use either --replay or --all, not both")
    if replay or everything:
        _replay_steps(replay)
    else:
        output.write_listing(_letter_rows(), output_format, "no dead letters")


def _replay_steps(steps: list[str] | None) -> None:
    """Queue these steps or all of them again, and print their ids."""
    count = 0
    for step in steps or [str(letter["step"]) for letter in _letter_rows()]:
        try:
            entry_points.call_entry_point("replay", step)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--replay") from None
        typer.echo(step)
        count += 1
    typer.echo(f"{status_text.format_count(count, 'dead letter')} queued again", err=True)


def _letter_rows() -> Iterator[Record]:
    for letter in entry_points.call_entry_point("dead_letters"):
        yield {
            "step": letter.step,
            "task": letter.task,
            "parked": format_time(letter.at),
            "reason": letter.reason,
        }
