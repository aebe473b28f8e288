"""``promptmill doctor``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from promptmill.cli import exit_codes, output
from promptmill.cli.help_text import add_help
from promptmill.cli.live_check import LiveFlags, check_live
from promptmill.cli.option_groups import expand_groups
from promptmill.cli.options import ObjectFormatOption
from promptmill.cli.output import ObjectFormat
from promptmill.config.errors import ConfigurationError

if TYPE_CHECKING:
    from promptmill.config.settings import Settings
    from promptmill.producers.checks import Check

_LIVE_NOTE = (
    "not run; `promptmill doctor --live` checks Google's behaviour in 5 minutes for under $0.001"
)
_MARKS = {True: "✓", False: "✗", None: "–"}


@expand_groups
@add_help(
    """
    Checks settings, Redis, workers, bucket and Vertex. The exit code is 1 if a check
    fails. Warnings, marked with !, are about cost and data residency.

    With --live it checks instead what Promptmill believes of Google, at a price of less
    than $0.001. It needs credentials, project, location and bucket, but no Redis and no
    worker. It prints the price and asks, runs two small jobs, reports belief by belief,
    removes everything it created, and writes a redacted capture file. That takes 4 to 7
    minutes. The exit code is 0 if all beliefs hold, 1 if one is false, and 3 if some
    could not be decided.

    \b
    Examples:
      promptmill doctor
      promptmill doctor --format json
      promptmill doctor --live
      promptmill doctor --live --yes --search --capture capture.json
    """
)
def doctor(
    *,
    output_format: ObjectFormatOption = ObjectFormat.table,
    live: Annotated[
        bool, typer.Option("--live", help="Check beliefs about Google with two real, small jobs.")
    ] = False,
    live_flags: LiveFlags,
) -> None:
    """Check the installation and print a fix for each problem."""
    if live:
        check_live(live_flags, output_format)
    else:
        live_flags.refuse_flags()
        _check_installation(output_format)


def _check_installation(output_format: ObjectFormat) -> None:
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
    """Return a check as text, with the fix if it failed or warns."""
    remedy = f"\n  {'':<18} fix: {check.remedy}" if check.remedy else ""
    mark = "!" if check.is_warning else _MARKS[check.ok]
    return f"{mark} {check.name:<18} {check.message}{remedy}"


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
    yield from suggest_live_check(current_settings)


def suggest_live_check(settings: "Settings") -> "Iterator[Check]":
    """Mention the live check if Google is configured, and no emulator in its place."""
    from promptmill.producers.checks import Check

    if settings.project and settings.bucket and not settings.vertex_endpoint:
        yield Check("live check", None, _LIVE_NOTE)
