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

from promptmill.cli import exit_codes, output, progress, report
from promptmill.cli.options import (
    DEFAULT_DATA_DIRECTORY,
    DataDirectory,
    ObjectFormatOption,
    parse_span,
)
from promptmill.cli.output import ObjectFormat
from promptmill.cli.stack import EMULATED_NOTICE, convert_local_errors, print_event, url_rows
from promptmill.config.errors import PromptmillError

if TYPE_CHECKING:
    from promptmill.local import Event, ServiceState, StackOptions
    from promptmill.producers import Run

MODEL = "gemini-3.8-flash"
SHOWN_EVENTS = {"moved", "ready", "died", "restarting", "failed"}


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(demo)


def demo(
    requests: Annotated[int, typer.Option(min=1, help="How many sentences to translate.")] = 1500,
    latency: Annotated[
        float,
        typer.Option(
            metavar="SPAN", parser=parse_span, help="How long the emulator takes for a job."
        ),
    ] = "20s",  # type: ignore[assignment]  # Typer parses defaults too
    model: Annotated[str, typer.Option(help="The model that is asked for.")] = MODEL,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running at the end, until Ctrl-C.")
    ] = False,
    answers: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Where the answers go; else DIR/answers/."),
    ] = None,
    data: DataDirectory = DEFAULT_DATA_DIRECTORY,
    output_format: ObjectFormatOption = ObjectFormat.table,
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
    from promptmill.local import StackOptions

    typer.echo(EMULATED_NOTICE, err=True)
    options = StackOptions(directory=data, latency=latency)
    with (
        _handle_stop_signals(),
        convert_local_errors(),
        _ensure_stack(options, keep) as environment,
    ):
        os.environ.update(environment)
        state = _run_translations(
            requests, model, _choose_answers_file(answers, data), output_format
        )
    if code := exit_codes.code_for_state(state):
        raise typer.Exit(code)


@contextmanager
def _handle_stop_signals() -> Iterator[None]:
    """A stack must be stopped in order by SIGTERM too, which by itself ends a process on the spot."""
    previous_handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with exit_codes.exit_on_interrupt("stopped; nothing of it is left running"):
            yield
    finally:
        signal.signal(signal.SIGTERM, previous_handler)


@contextmanager
def _ensure_stack(options: "StackOptions", keep: bool) -> Iterator[Mapping[str, str]]:
    """Yield the environment of a stack: the one that runs in the directory, or one that is started for this."""
    from promptmill.local import Stack, read_state

    if running_stack := read_state(options.directory):
        typer.echo(
            f"using the stack that runs in {options.directory}; --latency is that of `promptmill up`",
            err=True,
        )
        _print_urls(running_stack.services)
        yield running_stack.environment
        return
    typer.echo("starting Redis, the emulators, the workers and Flower:", err=True)
    with Stack(options, _print_main_events) as stack:
        _print_urls(stack.status())
        yield stack.client_environment()
        if keep:
            typer.echo("\neverything stays up until Ctrl-C", err=True)
            with suppress(KeyboardInterrupt):
                stack.wait()


def _print_main_events(event: "Event") -> None:
    if event.kind in SHOWN_EVENTS:
        print_event(event)


def _print_urls(services: "Mapping[str, ServiceState]") -> None:
    typer.echo("\nWhile it runs (Flower shows every task):\n", err=True)
    output.stderr_console().print(output.build_table(url_rows(services)))


def _choose_answers_file(requested: Path | None, data: Path) -> Path:
    timestamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    path = (requested or data / "answers" / f"demo-{timestamp}.jsonl").resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        raise PromptmillError(f"{path} is there already; name another file with --output")
    return path


def _run_translations(requests: int, model: str, answers: Path, output_format: ObjectFormat) -> str:
    """Do the run and show its report; returns its state."""
    run = _submit_prompts(requests, model, answers)
    with progress.track_run(output.stderr_console()) as on_status:
        status = run.wait(on_status=on_status)
    if status.error:
        typer.echo(f"error: {status.error}", err=True)
    report.show_report(run.report(), answers, output_format)
    return status.state


def _submit_prompts(requests: int, model: str, answers: Path) -> "Run":
    from promptmill.cli.sample_prompts import translation_prompts
    from promptmill.config import logs
    from promptmill.producers import Promptmill
    from promptmill.producers.contract import sink_specs

    mill = Promptmill()
    logs.configure_logging(mill.settings)
    prompts = translation_prompts(requests)
    started = time.monotonic()
    with progress.track_sending(output.stderr_console(), requests) as on_sent:
        run = mill.submit(
            prompts, model=model, name="demo", sinks=[sink_specs.jsonl(answers)], on_sent=on_sent
        )
    typer.echo(
        f"sent {requests:,} requests in {time.monotonic() - started:.1f} s as run {run.id}",
        err=True,
    )
    return run
