"""The application: registers all commands and reports their errors."""

import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from promptmill.cli import (
    beat,
    cancel,
    config,
    costs,
    dead_letters,
    demo,
    describe,
    doctor,
    down,
    emulator,
    enqueue,
    estimate,
    exit_codes,
    failures,
    find_pooled,
    flower,
    gc,
    list_runs,
    lost_jobs,
    models,
    processes,
    reconcile,
    results,
    retry,
    show,
    storage,
    submit,
    up,
    validate,
    wait,
    watch,
    worker,
)
from promptmill.cli.help_text import add_help
from promptmill.config.errors import PromptmillError, PromptmillWarning

Command = Callable[..., None]

COMMANDS: dict[str, dict[str, Command]] = {
    "Try it": {"demo": demo.demo, "up": up.up, "down": down.down},
    "Submit": {
        "submit": submit.submit,
        "enqueue": enqueue.enqueue,
        "find-pooled": find_pooled.find_pooled,
        "validate": validate.validate,
        "estimate": estimate.estimate,
        "models": models.models,
    },
    "Follow runs": {
        "list": list_runs.list_runs,
        "describe": describe.describe,
        "wait": wait.wait,
        "watch": watch.watch,
        "results": results.results,
        "failures": failures.failures,
        "show": show.show,
        "costs": costs.costs,
    },
    "Change runs": {"cancel": cancel.cancel, "retry": retry.retry},
    "Operate": {
        "doctor": doctor.doctor,
        "reconcile": reconcile.reconcile,
        "dead-letters": dead_letters.dead_letters,
        "lost-jobs": lost_jobs.lost_jobs,
        "gc": gc.gc,
    },
}
"""All commands by section of the help, without ``config`` and the processes."""

PROCESSES: dict[str, Command] = {
    "worker": worker.worker,
    "beat": beat.beat,
    "flower": flower.flower,
    "emulator": emulator.emulator,
    "storage": storage.storage,
}
"""Commands that become another program. They pass unknown options on to it."""

OWN_HELP = frozenset({"emulator", "storage"})
"""Processes whose ``--help`` comes from the program itself."""


class CommandGroup(TyperGroup):
    """Lists commands by section, and prints expected errors as one line."""

    def invoke(self, ctx: Any) -> object:
        """Run the command."""
        try:
            with warnings.catch_warnings():
                _show_own_warnings()
                return super().invoke(ctx)
        except PromptmillError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(exit_codes.code_for_error(error)) from None

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Write the commands of each section with their short help."""
        sections: dict[str, list[tuple[str, str]]] = {}
        width = max(map(len, self.commands))
        for name, command in self.commands.items():
            section = str(getattr(command, "rich_help_panel", None) or "Commands")
            row = (name.ljust(width), command.get_short_help_str(limit=70))
            sections.setdefault(section, []).append(row)
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl(rows)


app = typer.Typer(
    cls=CommandGroup, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)
"""The command ``promptmill``."""


def _show_own_warnings() -> None:
    """Print each PromptmillWarning as one line, and other warnings as before."""
    show_other = warnings.showwarning

    def show_warning(message: Any, category: Any, *rest: Any) -> None:
        if not issubclass(category, PromptmillWarning):
            show_other(message, category, *rest)
        elif str(message) not in shown:
            shown.add(str(message))
            typer.echo(f"warning: {message}", err=True)

    shown: set[str] = set()
    warnings.simplefilter("always", PromptmillWarning)
    warnings.showwarning = show_warning  # type: ignore[assignment]


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(version("promptmill"))
        raise typer.Exit


ShowVersion = Annotated[
    bool,
    typer.Option(
        "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
    ),
]


@app.callback()
@add_help(
    """
    Data goes to stdout, messages to stderr. A run's id may be shortened.

    \b
    Examples:
      promptmill demo
      promptmill submit prompts.jsonl --model gemini-3.8-flash --wait

    \b
    Exit codes:
      0  all succeeded           5    cancelled
      1  error                   6    expired
      2  wrong usage             7    over budget
      3  partly succeeded        124  wait timed out
      4  failed                  130  interrupted with Ctrl-C
    """
)
def promptmill(_: ShowVersion = False) -> None:
    """Run prompts through Gemini as Vertex AI batch jobs, at half the online price."""


def _register_commands() -> None:
    for section, commands in COMMANDS.items():
        for name, command in commands.items():
            app.command(name, rich_help_panel=section)(command)
    app.add_typer(config.app, name="config", rich_help_panel="Operate")
    for name, command in PROCESSES.items():
        app.command(
            name,
            rich_help_panel="Run a process",
            context_settings=processes.PASS_THROUGH,
            add_help_option=name not in OWN_HELP,
        )(command)


_register_commands()
