"""Asks for, runs and reports the live check of ``promptmill doctor --live``."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from promptmill.cli import entry_points, exit_codes, output, status_text
from promptmill.cli.option_groups import OptionGroup
from promptmill.cli.options import parse_span
from promptmill.cli.output import ObjectFormat
from promptmill.config import spans
from promptmill.config.errors import PromptmillError

if TYPE_CHECKING:
    from promptmill.producers.checks import Finding, LiveCheck

_MARKS = {True: "✓", False: "✗", None: "?"}
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_KEEPALIVE_SECONDS = 15.0
_UNDECIDED = 3


class LiveFlags(OptionGroup, frozen=True, kw_only=True):
    """Options of the live check."""

    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="With --live: model. Default: gemini-3.5-flash-lite."),
    ] = None
    search: Annotated[
        bool, typer.Option("--search", help="With --live: also pay for one Google search, $0.014.")
    ] = False
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --live: do not ask.")] = False
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SPAN", parser=parse_span, help="With --live: longest wait. Default: 1h."
        ),
    ] = None
    capture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --live: name of the capture file.")
    ] = None

    def refuse_flags(self) -> None:
        """Raise BadParameter if a flag is set."""
        for name, value in msgspec.structs.asdict(self).items():
            if value:
                raise typer.BadParameter(f"--{name} applies to the live check; add --live")


def check_live(flags: LiveFlags, output_format: ObjectFormat) -> None:
    """Run the live check and report it. Exits with 1 or 3 unless all beliefs hold."""
    _require_folder(flags.capture)
    check: LiveCheck = entry_points.call_entry_point(
        "live_check", flags.model or "", search=flags.search, timeout=flags.timeout or 0
    )
    _ask_to_pay(check, flags)
    findings = _run_check(check)
    _report_check(check, findings, flags.capture, output_format)
    if code := code_for_findings(findings):
        raise typer.Exit(code)


def _require_folder(capture: Path | None) -> None:
    """Raise BadParameter, before anything is paid, if the capture cannot be written."""
    folder = (capture or Path()).parent
    if not os.access(folder, os.W_OK):
        message = f"{folder} is no folder that can be written to; use --capture FILE"
        raise typer.BadParameter(message)


def _report_check(
    check: "LiveCheck", findings: "list[Finding]", capture: Path | None, output_format: ObjectFormat
) -> None:
    """Print everything. Raises PromptmillError if the check ended early."""
    path = check.write_capture(findings, capture)
    if output_format is ObjectFormat.json:
        output.write_json(_to_record(check, findings, path))
    else:
        _print_findings(findings)
    _print_summary(check, findings, path)
    if check.failure:
        raise PromptmillError(f"the check ended early: {check.failure}")


def code_for_findings(findings: "list[Finding]") -> int:
    """Return the exit code: 1 if a belief is false, 3 if one is undecided, else 0."""
    outcomes = {finding.holds for finding in findings}
    if False in outcomes:
        return exit_codes.ERROR
    return _UNDECIDED if None in outcomes else 0


def format_finding(finding: "Finding") -> str:
    """Return a belief as a line of text; one that does not hold has a second line."""
    line = f"{_MARKS[finding.holds]} {finding.name:<15} {finding.evidence}"
    return line if finding.holds else f"{line}\n  {'':<15} belief: {finding.statement}"


def _ask_to_pay(check: "LiveCheck", flags: LiveFlags) -> None:
    dollars = check.max_dollars
    price = "an unknown amount" if dollars is None else f"at most ${dollars:.4f}"
    typer.echo(f"Two jobs of {check.target}. Price: {price}.", err=True)
    if flags.yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(
            "the check costs money, and there is no terminal to confirm it; add --yes"
        )
    typer.confirm("Continue?", abort=True, err=True)


def _run_check(check: "LiveCheck") -> "list[Finding]":
    message = "interrupted; the jobs and objects of the check were removed"
    with exit_codes.exit_on_interrupt(message), _raise_on_signals():
        try:
            return check.run_check(_make_progress())
        finally:
            for thing in check.left:
                typer.echo(f"not removed: {thing}; remove it by hand", err=True)


@contextmanager
def _raise_on_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt on the first signal; later ones must not stop the cleanup."""
    received: list[int] = []
    handler = partial(_handle_signal, received)
    previous = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, earlier_handler in previous.items():
            signal.signal(number, earlier_handler)


def _handle_signal(received: list[int], number: int, _frame: FrameType | None) -> None:
    received.append(number)
    if len(received) == 1:
        raise KeyboardInterrupt
    typer.echo("removing jobs and objects; please wait", err=True)


def _make_progress() -> Callable[[str], None]:
    """Return a function that prints each new text at once, and an old one every 15 s."""
    started = time.monotonic()
    last_text, last_printed = "", 0.0

    def print_progress(text: str) -> None:
        nonlocal last_text, last_printed
        now = time.monotonic()
        if text != last_text or now - last_printed >= _KEEPALIVE_SECONDS:
            typer.echo(f"{spans.format_duration(now - started):>12}  {text}", err=True)
            last_text, last_printed = text, now

    return print_progress


def _print_findings(findings: "list[Finding]") -> None:
    for finding in findings:
        typer.echo(format_finding(finding))


def _print_summary(check: "LiveCheck", findings: "list[Finding]", path: Path) -> None:
    count = sum(finding.holds is True for finding in findings)
    calls = ", ".join(f"{number} of {service}" for service, number in sorted(check.calls.items()))
    typer.echo(
        f"{count} of {status_text.format_count(len(findings), 'belief')} hold. "
        f"{spans.format_duration(check.seconds)}, {sum(check.calls.values())} calls ({calls}).\n"
        f"Capture file, without names of projects, buckets and accounts: {path}\n"
        "docs/live.md says what each belief means, and where to send the file.",
        err=True,
    )


def _to_record(check: "LiveCheck", findings: "list[Finding]", path: Path) -> dict[str, object]:
    return {
        "beliefs": [finding._asdict() for finding in findings],
        "seconds": round(check.seconds, 1),
        "calls": dict(check.calls),
        "capture": str(path),
        "left": check.left,
        "failure": check.failure,
    }
