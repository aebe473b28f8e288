"""``promptmill doctor``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from promptmill.cli import exit_codes, output
from promptmill.cli.help_text import add_help
from promptmill.cli.options import ObjectFormatOption
from promptmill.cli.output import ObjectFormat
from promptmill.config.errors import ConfigurationError

if TYPE_CHECKING:
    from promptmill.producers.checks import Check

_MARKS = {True: "✓", False: "✗", None: "–"}


@add_help(
    """
    Checks settings, Redis, workers, bucket and Vertex. The exit code is 1 if a check
    fails.

    \b
    Examples:
      promptmill doctor
      promptmill doctor --format json
    """
)
def doctor(output_format: ObjectFormatOption = ObjectFormat.table) -> None:
    """Check the installation and print a fix for each problem."""
    checks = []
    for check in _run_checks():
        checks.append(check)
        if output_format is ObjectFormat.table:
            typer.echo(format_check(check))
    if output_format is ObjectFormat.json:
        output.write_json([check._asdict() for check in checks])
    if any(check.ok is False for check in checks):
        raise typer.Exit(exit_codes.ERROR)


def format_check(check: "Check") -> str:
    """Return a check as text, with the fix if it failed."""
    remedy = f"\n  {'':<18} fix: {check.remedy}" if check.remedy else ""
    return f"{_MARKS[check.ok]} {check.name:<18} {check.message}{remedy}"


def _run_checks() -> "Iterator[Check]":
    from promptmill.config import logs, settings
    from promptmill.producers import checks

    try:
        current_settings = settings.load_settings()
    except ConfigurationError as error:
        yield checks.Check("settings", False, str(error), "correct the variables in this message")
        return
    logs.configure_logging(current_settings)
    yield checks.Check("settings", True, "valid")
    yield from checks.run_checks(current_settings)
