"""The progress of a run on stderr: a bar in a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from promptmill.cli import words
from promptmill.config import spans
from promptmill.producers.contract.status import END_STATES, RunStatus

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

OnStatus = Callable[[RunStatus], None]
OnSent = Callable[[int], None]
NEWS_EVERY = 3.0
SIGN_OF_LIFE_EVERY = 30.0


@contextmanager
def following(console: "Console") -> Iterator[OnStatus]:
    """Show every status that is passed to the function that this yields."""
    if not console.is_terminal:
        yield Lines(console.print).show
        return
    with _bar(console) as bar:
        task = bar.add_task("", total=None, state="", counts="")
        yield lambda run: bar.update(
            task,
            total=run.requests or None,
            completed=run.succeeded + run.failed,
            state=run.state.replace("_", " "),
            counts=words.progress(run),
        )


@contextmanager
def sending(console: "Console", total: int | None = None) -> Iterator[OnSent]:
    """Show how many requests were sent, as told to the function that this yields."""
    if not console.is_terminal:
        lines = _Now()
        yield lambda sent: console.print(f"sent {sent:,} requests") if lines.due(NEWS_EVERY) else None
        return
    with _bar(console, transient=True) as bar:
        task = bar.add_task("", total=total, state="sending", counts="")
        yield lambda sent: bar.update(task, completed=sent, counts=words.plural(sent, "request") + " sent")


@contextmanager
def _bar(console: "Console", transient: bool = False) -> "Iterator[Progress]":
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.fields[state]:<10}"), BarColumn(), TextColumn("{task.fields[counts]}"))
    with Progress(SpinnerColumn(), *columns, TimeElapsedColumn(), console=console, transient=transient) as bar:
        yield bar


class _Now:
    """Tells whether enough time has passed since it last said so."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()

    def due(self, seconds: float) -> bool:
        if self._clock() - self._last < seconds:
            return False
        self._last = self._clock()
        return True


class Lines:
    """Passes lines of text to ``write``: a new state at once, other news seldom, a sign of life more seldom."""

    def __init__(self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._started = clock()
        self._last = self._started - NEWS_EVERY
        self._shown = ("", "")

    @property
    def ended(self) -> bool:
        """Whether the last line spoke of the end of the run."""
        return self._shown[0] in END_STATES

    def show(self, run: RunStatus) -> None:
        """Take notice of a status, and write a line when it is time for one."""
        news = (run.state, words.progress(run))
        silent = self._clock() - self._last
        patience = SIGN_OF_LIFE_EVERY if news == self._shown else 0 if news[0] != self._shown[0] else NEWS_EVERY
        if silent >= patience:
            state = run.state.replace("_", " ")
            self._write(f"{spans.show(self._clock() - self._started):>9}  {state:<10}  {news[1]}")
            self._last, self._shown = self._clock(), news
