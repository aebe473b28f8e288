"""The command line: `python -m promptmill.emulator`."""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from .admin import read_speed
from .app import make_app
from .bill import sentence
from .clock import Clock, ClockState
from .errors import ApiError
from .execution import Execution
from .faults import Faults, read_rules
from .openai import OpenAIResponder
from .registry import Registry
from .responders import EchoResponder, Responder
from .server import serve
from .service import Options, Service
from .storage import GoogleStorage, StorageFailed

_UNITS = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600}
_cli = typer.Typer(add_completion=False)


def main(args: Sequence[str] | None = None) -> None:
    """Run the emulator with these command line arguments (the process's own by default) until SIGTERM or SIGINT.

    Ends the process there and then: a thread that was stopped in the middle of a job may hold a lock, such as that of
    logging, and Python would wait for it at its end.
    """
    try:
        _cli(args, standalone_mode=True, prog_name="promptmill emulator")
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))


@_cli.command()
def emulator(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one and prints it.")] = 8080,
    latency: Annotated[str, typer.Option(help="How long after its creation a job ends: 5s, 2m, 500ms.")] = "5s",
    queue_seconds: Annotated[str, typer.Option(help="How much of it a job is queued.")] = "0s",
    speed: Annotated[float, typer.Option(help="Emulated seconds per real second.")] = 1.0,
    responder: Annotated[str, typer.Option(help="echo, or openai:URL#model for real answers.")] = "echo",
    model: Annotated[
        list[str] | None, typer.Option(help="A model that exists besides Gemini's; shell pattern.")
    ] = None,
    faults: Annotated[Path | None, typer.Option(help="JSON file with fault rules.")] = None,
    state_dir: Annotated[Path | None, typer.Option(help="Folder that keeps jobs over a restart.")] = None,
) -> None:
    """Stand in for Vertex AI's batch prediction jobs. Storage is reached through STORAGE_EMULATOR_HOST."""
    try:
        clock = _clock(state_dir, speed)
        rules = read_rules(faults.read_bytes()) if faults else []
        options = Options(_seconds(latency), _seconds(queue_seconds), tuple(model or ()))
        asked = _responder(responder)
    except (ApiError, OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    # The client would look at every bucket from a thread of its own, for tracing that nobody reads.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "1")
    registry = Registry(state_dir / "jobs" if state_dir else None)
    storage = GoogleStorage()
    service = Service(clock, registry, Execution(storage, asked, clock), options, Faults(rules))
    service.workers.submit(lambda: _connect(storage))
    service.resume()
    try:
        serve(make_app(service), host, port)
    except OSError as error:
        typer.echo(f"cannot listen on {host}:{port}: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(sentence(registry.all()))


def _connect(storage: GoogleStorage) -> None:
    try:
        storage.connect()
    except StorageFailed as error:
        typer.echo(f"promptmill emulator: every job will fail: {error}", err=True)


def _clock(state_dir: Path | None, speed: float) -> Clock:
    """The clock of the last run in this folder, gone on since, at the speed that is asked for now."""
    if state_dir is None:
        return Clock(read_speed(speed))
    file = state_dir / "clock.json"
    clock = Clock.resumed(msgspec.json.decode(file.read_bytes(), type=ClockState)) if file.exists() else Clock()
    clock.set_speed(read_speed(speed))
    state_dir.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.encode(clock.state()))
    return clock


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", text.strip())
    if not match:
        raise ValueError(f"{text!r} is no duration: 5s, 2m, 500ms")
    return float(match[1]) * _UNITS[match[2]]


def _responder(text: str) -> Responder:
    if text == "echo":
        return EchoResponder()
    kind, _, target = text.partition(":")
    url, _, model = target.partition("#")
    if kind != "openai" or not url.startswith(("http://", "https://")) or not model:
        raise ValueError(f"{text!r} is no responder: echo, or openai:URL#model")
    return OpenAIResponder(url, model)


if __name__ == "__main__":
    main()
