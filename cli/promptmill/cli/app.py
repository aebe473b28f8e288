"""All verbs, together, and what an error of any of them looks like."""

from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from promptmill.cli import (
    cancel,
    config,
    costs,
    dead_letters,
    demo,
    doctor,
    enqueue,
    estimate,
    exit_codes,
    gc,
    lost_jobs,
    processes,
    reconcile,
    results,
    retry,
    runs,
    show,
    stack,
    submit,
    validate,
    watch,
)
from promptmill.config.errors import PromptmillError


class CommandGroup(TyperGroup):
    """Shows an error that was raised on purpose as one line, not as a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except PromptmillError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(exit_codes.code_for_error(error)) from None


app = typer.Typer(
    cls=CommandGroup, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)
"""The command ``promptmill``."""


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(version("promptmill"))
        raise typer.Exit


@app.callback()
def promptmill(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Run prompts through Gemini as Vertex AI batch prediction jobs, at half the online price.

    Data is on stdout, talk is on stderr. A run's id may be shortened.

    \b
    Exit codes: 0 all succeeded, 1 error, 2 usage, 3 partly succeeded, 4 failed,
    5 cancelled, 6 expired, 7 over budget, 124 the wait timed out, 130 stopped with Ctrl-C.

    \b
    Try it:   promptmill demo
    Use it:   promptmill submit prompts.jsonl --model gemini-3.8-flash --wait
    """


for command_module in (
    *(
        demo,
        submit,
        enqueue,
        validate,
        estimate,
        costs,
        runs,
        watch,
        results,
        show,
        cancel,
        retry,
        stack,
        processes,
    ),
    *(doctor, config, reconcile, dead_letters, lost_jobs, gc),
):
    command_module.add_to(app)
