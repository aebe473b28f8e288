"""The progress of a run on stderr: a bar in a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from promptmill.cli import status_text
from promptmill.config import spans
from promptmill.producers.contract.status import END_STATES, RunStatus

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

OnStatus = Callable[[RunStatus], None]
OnSent = Callable[[int], None]
UPDATE_SECONDS = 3.0
KEEPALIVE_SECONDS = 30.0


@contextmanager
def track_run(console: "Console") -> Iterator[OnStatus]:
    """Show every status that is passed to the function that this yields."""
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
    """Show how many requests were sent, as told to the function that this yields."""
    if not console.is_terminal:
        throttle = _Throttle()
        yield (
            lambda sent: (
                console.print(f"sent {sent:,} requests")
                if throttle.is_due(UPDATE_SECONDS)
                else None
            )
        )
        return
    with _open_bar(console, transient=True) as bar:
        task = bar.add_task("", total=total, state="sending", counts="")
        yield lambda sent: bar.update(
            task, completed=sent, counts=status_text.format_count(sent, "request") + " sent"
        )


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
    """Tells whether enough time has passed since it last said so."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()

    def is_due(self, seconds: float) -> bool:
        if self._clock() - self._last < seconds:
            return False
        self._last = self._clock()
        return True


class StatusLines:
    """Passes lines of text to ``write``: a new state at once, other news seldom, a sign of life more seldom."""

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
        """Whether the last line spoke of the end of the run."""
        return self._last_shown[0] in END_STATES

    def update_status(self, run: RunStatus) -> None:
        """Take notice of a status, and write a line when it is time for one."""
        current = (run.state, status_text.format_progress(run))
        silent_seconds = self._clock() - self._last_written
        min_interval = (
            KEEPALIVE_SECONDS
            if current == self._last_shown
            else 0
            if current[0] != self._last_shown[0]
            else UPDATE_SECONDS
        )
        if silent_seconds >= min_interval:
            state = run.state.replace("_", " ")
            self._write(
                f"{spans.format_duration(self._clock() - self._started):>9}  {state:<10}  {current[1]}"
            )
            self._last_written, self._last_shown = self._clock(), current
