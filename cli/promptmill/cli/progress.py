"""Progress on stderr: a bar in a terminal, or else lines of text."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from promptmill.cli import exit_codes, output, status_text
from promptmill.config import spans
from promptmill.producers.contract.status import END_STATES, RunStatus

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from promptmill.producers import Run

OnStatus = Callable[[RunStatus], None]
OnSent = Callable[[int], None]
UPDATE_SECONDS = 3.0
KEEPALIVE_SECONDS = 30.0


def wait_for_run(run: "Run", timeout: float | None = None) -> None:
    """Wait with a progress display and print the final status.

    Exits with the code of that status unless all requests succeeded.
    """
    message = f"the run continues; follow it with: promptmill wait {run.id}"
    with (
        exit_codes.exit_on_interrupt(message),
        track_run(output.stderr_console()) as on_status,
    ):
        status = run.wait(timeout, on_status)
    typer.echo(status_text.describe_status(status, time.time()), err=True)
    for warning in status.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if code := exit_codes.code_for_status(status):
        raise typer.Exit(code)


@contextmanager
def track_run(console: "Console") -> Iterator[OnStatus]:
    """Yield a function that shows each status it gets."""
    if not console.is_terminal:
        yield StatusLines(console.print).update_status
        return
    with _open_bar(console) as bar:
        task = bar.add_task("", total=None, state="", counts="")
        yield lambda run: bar.update(
            task,
            total=run.requests or None,
            completed=run.succeeded + run.failed,
            state=run.state.replace("_", " "),
            counts=status_text.format_progress(run),
        )


@contextmanager
def track_sending(console: "Console", total: int | None = None) -> Iterator[OnSent]:
    """Yield a function that shows the number of sent requests it gets."""
    if not console.is_terminal:
        yield _print_sending(console)
        return
    with _open_bar(console, transient=True) as bar:
        task = bar.add_task("", total=total, state="sending", counts="")
        yield lambda count: bar.update(
            task, completed=count, counts=status_text.format_count(count, "request") + " sent"
        )


def _print_sending(console: "Console") -> OnSent:
    throttle = _Throttle()

    def print_count(count: int) -> None:
        if throttle.is_due(UPDATE_SECONDS):
            console.print(f"sent {count:,} requests")

    return print_count


@contextmanager
def _open_bar(console: "Console", transient: bool = False) -> "Iterator[Progress]":
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.fields[state]:<10}"),
        BarColumn(),
        TextColumn("{task.fields[counts]}"),
    )
    with Progress(
        SpinnerColumn(), *columns, TimeElapsedColumn(), console=console, transient=transient
    ) as bar:
        yield bar


class _Throttle:
    """Limits the rate of an action."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()

    def is_due(self, seconds: float) -> bool:
        if self._clock() - self._last < seconds:
            return False
        self._last = self._clock()
        return True


class StatusLines:
    """Writes status lines.

    A new state is written at once, new counts every 3 s, and others every 30 s.
    """

    def __init__(
        self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write
        self._clock = clock
        self._started = clock()
        self._last_written = self._started - UPDATE_SECONDS
        self._last_shown = ("", "")

    @property
    def is_finished(self) -> bool:
        """Whether the last line showed the end of the run."""
        return self._last_shown[0] in END_STATES

    def update_status(self, run: RunStatus) -> None:
        """Write a line for this status if one is due."""
        current = (run.state, status_text.format_progress(run))
        silent_seconds = self._clock() - self._last_written
        if silent_seconds >= self._choose_interval(current):
            state = run.state.replace("_", " ")
            elapsed = spans.format_duration(self._elapsed_seconds(run))
            self._write(f"{elapsed:>9}  {state:<10}  {current[1]}")
            self._last_written, self._last_shown = self._clock(), current

    def _elapsed_seconds(self, run: RunStatus) -> float:
        """Return the duration of a completed run, or the time since the first line."""
        if run.done and run.ended:
            return run.ended - run.created
        return self._clock() - self._started

    def _choose_interval(self, current: tuple[str, str]) -> float:
        if current == self._last_shown:
            return KEEPALIVE_SECONDS
        return UPDATE_SECONDS if current[0] == self._last_shown[0] else 0
