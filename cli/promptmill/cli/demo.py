"""``promptmill demo``: a real run from start to end, with everything on this machine."""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptmill.cli import exits, output, progress, report
from promptmill.cli.arguments import DATA, DataDirectory, OneFormat, span
from promptmill.cli.output import Shape
from promptmill.cli.stack import EMULATED, local_errors, tell, urls
from promptmill.config.errors import PromptmillError

if TYPE_CHECKING:
    from promptmill.local import Event, Options, ServiceState
    from promptmill.producers import Run

MODEL = "gemini-3.8-flash"
SHOWN_EVENTS = {"moved", "ready", "died", "restarting", "gave_up"}


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(demo)


def demo(
    requests: Annotated[int, typer.Option(min=1, help="How many sentences to translate.")] = 1500,
    latency: Annotated[
        float, typer.Option(metavar="SPAN", parser=span, help="How long the emulator takes for a job.")
    ] = "20s",  # type: ignore[assignment]  # Typer parses defaults too
    model: Annotated[str, typer.Option(help="The model that is asked for.")] = MODEL,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end, until Ctrl-C.")] = False,
    answers: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Where the answers go; else DIR/answers/.")
    ] = None,
    data: DataDirectory = DATA,
    form: OneFormat = Shape.table,
) -> None:
    """Do a whole run with everything on this machine.

    Translates sentences of Python's manual and reports where the time went. Real Redis, Celery workers, Flower and
    Google client libraries; only Google itself is an emulator, which makes its answers up. Nothing is paid for.
    Uses the stack that `promptmill up` runs in the same directory, if any.

    \b
    promptmill demo
    promptmill demo --requests 5500 --latency 60s
    promptmill demo --format json | tail -n 1
    """
    from promptmill.local import Options

    typer.echo(EMULATED, err=True)
    options = Options(directory=data, latency=latency)
    with _ctrl_c_stops_it(), local_errors(), _running(options, keep) as environment:
        os.environ.update(environment)
        state = _translate(requests, model, _destination(answers, data), form)
    if code := exits.of_state(state):
        raise typer.Exit(code)


@contextmanager
def _ctrl_c_stops_it() -> Iterator[None]:
    """A stack must be stopped in order by SIGTERM too, which by itself ends a process on the spot."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with exits.told_when_interrupted("stopped; nothing of it is left running"):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _running(options: "Options", keep: bool) -> Iterator[Mapping[str, str]]:
    """Yield the environment of a stack: the one that runs in the directory, or one that is started for this."""
    from promptmill.local import Stack, read_state

    if found := read_state(options.directory):
        typer.echo(f"using the stack that runs in {options.directory}; --latency is that of `promptmill up`", err=True)
        _introduce(found.services)
        yield found.environment
        return
    typer.echo("starting Redis, the emulators, the workers and Flower:", err=True)
    with Stack(options, _tell_what_matters) as stack:
        _introduce(stack.status())
        yield stack.environment()
        if keep:
            typer.echo("\neverything stays up until Ctrl-C", err=True)
            with suppress(KeyboardInterrupt):
                stack.wait()


def _tell_what_matters(event: "Event") -> None:
    if event.kind in SHOWN_EVENTS:
        tell(event)


def _introduce(services: "Mapping[str, ServiceState]") -> None:
    typer.echo("\nWhile it runs (Flower shows every task):\n", err=True)
    output.to_stderr().print(output.table(urls(services)))


def _destination(wanted: Path | None, data: Path) -> Path:
    started = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    path = (wanted or data / "answers" / f"demo-{started}.jsonl").resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        raise PromptmillError(f"{path} is there already; name another file with --output")
    return path


def _translate(requests: int, model: str, answers: Path, form: Shape) -> str:
    """Do the run and show its report; returns its state."""
    run = _submit(requests, model, answers)
    with progress.following(output.to_stderr()) as on_status:
        status = run.wait(on_status=on_status)
    if status.error:
        typer.echo(f"error: {status.error}", err=True)
    report.show(run.report(), answers, form)
    return status.state


def _submit(requests: int, model: str, answers: Path) -> "Run":
    from promptmill.cli.sentences import translations
    from promptmill.config import logs
    from promptmill.producers import Promptmill
    from promptmill.producers.contract import sink_specs

    mill = Promptmill()
    logs.configure(mill.settings)
    prompts = translations(requests)
    started = time.monotonic()
    with progress.sending(output.to_stderr(), requests) as on_sent:
        run = mill.submit(prompts, model=model, name="demo", sinks=[sink_specs.jsonl(answers)], on_sent=on_sent)
    typer.echo(f"sent {requests:,} requests in {time.monotonic() - started:.1f} s as run {run.id}", err=True)
    return run
