"""``promptmill demo``."""

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
from promptmill.cli.help_text import add_help
from promptmill.cli.local_stack import (
    EMULATED_NOTICE,
    convert_local_errors,
    print_event,
    url_rows,
)
from promptmill.cli.options import (
    DEFAULT_DATA_DIRECTORY,
    DataDirectory,
    ObjectFormatOption,
    parse_span,
)
from promptmill.cli.output import ObjectFormat
from promptmill.config.errors import PromptmillError

if TYPE_CHECKING:
    from promptmill.local import Event, ServiceState, StackOptions
    from promptmill.producers import Run

MODEL = "gemini-3.8-flash"
SHOWN_EVENTS = {"moved", "ready", "died", "restarting", "failed"}

Requests = Annotated[
    int, typer.Option(metavar="N", min=1, help="Number of sentences to translate.")
]
Latency = Annotated[
    float, typer.Option(metavar="SPAN", parser=parse_span, help="Duration of an emulated job.")
]
Model = Annotated[str, typer.Option(metavar="MODEL", help="Model of the run.")]
Keep = Annotated[bool, typer.Option("--keep", help="Keep the stack running until Ctrl-C.")]
Answers = Annotated[
    Path | None,
    typer.Option(
        "--output", metavar="FILE", help="File for the answers. Default: in DIR/answers/."
    ),
]


@add_help(
    """
    Translates sentences of Python's manual and reports the time of each stage.
    Everything in this run is real except Google: an emulator invents the answers, and
    nothing is billed. If `promptmill up` runs in the same directory, its stack is used.

    \b
    Examples:
      promptmill demo
      promptmill demo --requests 5500 --latency 60s
      promptmill demo --format json | tail -n 1
    """
)
def demo(
    requests: Requests = 1500,
    latency: Latency = "20s",  # type: ignore[assignment]  # Typer parses defaults too
    model: Model = MODEL,
    keep: Keep = False,
    answers: Answers = None,
    data: DataDirectory = DEFAULT_DATA_DIRECTORY,
    output_format: ObjectFormatOption = ObjectFormat.table,
) -> None:
    """Run a complete example on this machine."""
    from promptmill.local import StackOptions

    typer.echo(EMULATED_NOTICE, err=True)
    stack_options = StackOptions(directory=data, latency=latency)
    with (
        _handle_stop_signals(),
        convert_local_errors(),
        _ensure_stack(stack_options, keep) as environment,
    ):
        os.environ.update(environment)
        answers_file = _choose_answers_file(answers, data)
        state = _run_translations(requests, model, answers_file, output_format)
    if code := exit_codes.code_for_state(state):
        raise typer.Exit(code)


@contextmanager
def _handle_stop_signals() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C, so that the stack is stopped in order."""
    previous_handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with exit_codes.exit_on_interrupt("interrupted; all services are stopped"):
            yield
    finally:
        signal.signal(signal.SIGTERM, previous_handler)


@contextmanager
def _ensure_stack(stack_options: "StackOptions", keep: bool) -> Iterator[Mapping[str, str]]:
    """Yield the environment of the directory's running stack, or of a new one."""
    from promptmill.local import read_state

    directory = stack_options.directory
    if running_stack := read_state(directory):
        note = f"using the stack in {directory}, with the --latency of `promptmill up`"
        typer.echo(note, err=True)
        _print_urls(running_stack.services)
        yield running_stack.environment
    else:
        with _start_stack(stack_options, keep) as environment:
            yield environment


@contextmanager
def _start_stack(stack_options: "StackOptions", keep: bool) -> Iterator[Mapping[str, str]]:
    from promptmill.local import Stack

    typer.echo("starting Redis, emulators, workers and Flower:", err=True)
    with Stack(stack_options, _print_main_events) as stack:
        _print_urls(stack.status())
        yield stack.client_environment()
        if keep:
            typer.echo("\nall services keep running until Ctrl-C", err=True)
            with suppress(KeyboardInterrupt):
                stack.wait()


def _print_main_events(event: "Event") -> None:
    if event.kind in SHOWN_EVENTS:
        print_event(event)


def _print_urls(services: "Mapping[str, ServiceState]") -> None:
    typer.echo("\nURLs during the run (Flower shows every task):\n", err=True)
    output.stderr_console().print(output.build_table(url_rows(services)))


def _choose_answers_file(requested: Path | None, data: Path) -> Path:
    timestamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    path = (requested or data / "answers" / f"demo-{timestamp}.jsonl").resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        raise PromptmillError(f"{path} already exists; choose another file with --output")
    return path


def _run_translations(requests: int, model: str, answers: Path, output_format: ObjectFormat) -> str:
    """Run the translations, print the report and return the final state."""
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
    prompts, sinks = translation_prompts(requests), [sink_specs.jsonl(answers)]
    started = time.monotonic()
    with progress.track_sending(output.stderr_console(), requests) as on_sent:
        run = mill.submit(prompts, model=model, name="demo", sinks=sinks, on_sent=on_sent)
    seconds = time.monotonic() - started
    typer.echo(f"sent {requests:,} requests in {seconds:.1f} s as run {run.id}", err=True)
    return run
