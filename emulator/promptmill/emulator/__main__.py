"""The command line: `python -m promptmill.emulator`."""

import os
import re
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from .admin import validate_speed
from .app import make_app
from .bill import summarize_bill
from .clock import Clock, ClockState
from .errors import ApiError
from .execution import JobExecutor
from .faults import Faults, read_rules
from .openai import OpenAIResponder
from .registry import JobRegistry
from .responders import EchoResponder, Responder
from .server import exit_without_port, serve_app
from .service import JobService, ServiceOptions
from .storage import GoogleStorage, StorageFailed

_SECONDS_PER_UNIT = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600}
_Latency = Annotated[
    str, typer.Option(help="Time from a job's creation to its end: 5s, 2m, 500ms.")
]
_QueueSeconds = Annotated[
    str, typer.Option(help="Time that a job stays queued, part of --latency.")
]
_ResponderName = Annotated[str, typer.Option(help="echo, or openai:URL#MODEL to ask a real model.")]
_Models = Annotated[
    list[str] | None, typer.Option(help="Extra model to accept, as a shell pattern; repeatable.")
]
_FaultsFile = Annotated[Path | None, typer.Option(help="JSON file with fault rules to inject.")]
_StateFolder = Annotated[Path | None, typer.Option(help="Folder that keeps jobs across restarts.")]
_Today = Annotated[
    str, typer.Option(help="Date that decides which models are retired: 2026-12-01; default: now.")
]
_cli = typer.Typer(add_completion=False)


def main(args: Sequence[str] | None = None) -> None:
    """Run the emulator until SIGTERM or SIGINT, then end the process."""
    try:
        _cli(args, standalone_mode=True, prog_name="promptmill emulator")
    except SystemExit as exit_error:
        code = exit_error.code
        sys.stdout.flush()
        sys.stderr.flush()
        # A job thread may hold a lock, such as that of logging.
        # A normal exit would wait for that lock.
        os._exit(code if isinstance(code, int) else int(code is not None))


@_cli.command()
def emulator(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one and prints it.")] = 8080,
    latency: _Latency = "5s",
    queue_seconds: _QueueSeconds = "0s",
    speed: Annotated[float, typer.Option(help="Emulated seconds per real second.")] = 1.0,
    responder: _ResponderName = "echo",
    model: _Models = None,
    faults: _FaultsFile = None,
    state_dir: _StateFolder = None,
    today: _Today = "",
) -> None:
    """Emulate Vertex AI batch prediction jobs.

    Reads input and writes output in the storage server at STORAGE_EMULATOR_HOST.
    """
    try:
        clock = _load_clock(state_dir, speed)
        injected_faults = Faults(read_rules(faults.read_bytes()) if faults else [])
        durations = _parse_duration(latency), _parse_duration(queue_seconds)
        options = ServiceOptions(*durations, tuple(model or ()), _parse_date(today))
        chosen_responder = _make_responder(responder)
    except (ApiError, OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    # Otherwise the client requests the metadata of every bucket, for tracing.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "1")
    service = _start_service(clock, state_dir, chosen_responder, options, injected_faults)
    with exit_without_port(host, port):
        serve_app(make_app(service), host, port)
    typer.echo(summarize_bill(service.registry.list_jobs()))


def _start_service(
    clock: Clock,
    state_dir: Path | None,
    responder: Responder,
    options: ServiceOptions,
    faults: Faults,
) -> JobService:
    registry = JobRegistry(state_dir / "jobs" if state_dir else None)
    storage = GoogleStorage()
    executor = JobExecutor(storage, responder, clock)
    service = JobService(clock, registry, executor, options, faults)
    service.workers.submit(lambda: _connect_storage(storage))
    service.resume_jobs()
    return service


def _connect_storage(storage: GoogleStorage) -> None:
    try:
        storage.connect()
    except StorageFailed as error:
        typer.echo(f"promptmill emulator: no storage, so every job will fail: {error}", err=True)


def _load_clock(state_dir: Path | None, speed: float) -> Clock:
    """Return the clock saved in this folder, advanced to now, at the given speed."""
    if state_dir is None:
        return Clock(validate_speed(speed))
    state_file = state_dir / "clock.json"
    clock = (
        Clock.from_state(msgspec.json.decode(state_file.read_bytes(), type=ClockState))
        if state_file.exists()
        else Clock()
    )
    clock.set_speed(validate_speed(speed))
    state_dir.mkdir(parents=True, exist_ok=True)
    state_file.write_bytes(msgspec.json.encode(clock.to_state()))
    return clock


def _parse_duration(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a duration; write 5s, 2m or 500ms")
    return float(match[1]) * _SECONDS_PER_UNIT[match[2]]


def _parse_date(text: str) -> str:
    return date.fromisoformat(text).isoformat() if text else ""


def _make_responder(text: str) -> Responder:
    if text == "echo":
        return EchoResponder()
    kind, _, target = text.partition(":")
    url, _, model = target.partition("#")
    if kind != "openai" or not url.startswith(("http://", "https://")) or not model:
        raise ValueError(f"{text!r} is not a responder; write echo or openai:URL#MODEL")
    return OpenAIResponder(url, model)


if __name__ == "__main__":
    main()
