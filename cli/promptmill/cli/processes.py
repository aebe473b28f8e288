"""``promptmill worker``, ``beat``, ``flower``, ``emulator``, ``storage``: one process each, thin over the tool's command.

The process becomes the tool, so that signals and exit codes are the tool's.
"""

import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from promptmill.config.errors import ConfigurationError, NotInstalled
from promptmill.config.urls import is_loopback

if TYPE_CHECKING:
    from promptmill.config.settings import Settings

CELERY_APP = "promptmill.workers.main"
LOOPBACK = "127.0.0.1"
PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True}


def add_to(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command(context_settings=PASS_THROUGH)(worker)
    app.command(context_settings=PASS_THROUGH)(beat)
    app.command(context_settings=PASS_THROUGH)(flower)
    app.command(context_settings=PASS_THROUGH, add_help_option=False)(emulator)
    app.command(context_settings=PASS_THROUGH, add_help_option=False)(storage)


def worker(
    ctx: typer.Context,
    queues: Annotated[
        str,
        typer.Option(
            metavar="NAME[,NAME…]", help="Any of ingest, work, jobs, poll; all when not given."
        ),
    ] = "",
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Tasks at a time; else one for each CPU.")
    ] = None,
    pool: Annotated[str, typer.Option(help="prefork, threads or solo.")] = "prefork",
    name: Annotated[
        str, typer.Option(help="How the node's name starts; else worker, or the queue's name.")
    ] = "",
) -> None:
    """Run a Celery worker.

    Options that are not named here go to `celery worker`.

    \b
    promptmill worker
    promptmill worker --queues poll
    promptmill worker --queues ingest,work,jobs --concurrency 8 --max-tasks-per-child 1000
    """
    settings = _load_settings("worker", "google.cloud.aiplatform", "google.cloud.storage")
    celery_options = worker_arguments(
        _parse_queues_option(queues), concurrency, pool, name, settings.log_level
    )
    replace_process([*celery_command(), *celery_options, *ctx.args])


def beat(
    ctx: typer.Context,
    schedule: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Remember there when each task last ran.")
    ] = None,
) -> None:
    """Run Celery's beat, one for all workers.

    It starts the reconciler. Options that are not named here go to `celery beat`.

    \b
    promptmill beat
    """
    settings = _load_settings("worker", "google.cloud.aiplatform", "google.cloud.storage")
    replace_process([*celery_command(), *beat_arguments(schedule, settings.log_level), *ctx.args])


def flower(
    ctx: typer.Context,
    port: Annotated[
        int, typer.Option(min=1, max=65_535, envvar="FLOWER_PORT", help="Where to listen.")
    ] = 5555,
    address: Annotated[
        str,
        typer.Option(
            envvar="FLOWER_ADDRESS", help="On which address; beyond this machine only with a login."
        ),
    ] = LOOPBACK,
    db: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Remember tasks there over a restart.")
    ] = None,
) -> None:
    """Run Flower, the page for workers and tasks.

    Options that are not named here go to `celery flower`.

    \b
    promptmill flower
    FLOWER_BASIC_AUTH=me:secret promptmill flower --address 0.0.0.0
    """
    _load_settings("monitor", "flower")
    require_flower_login(address, os.environ, ctx.args)
    replace_process([*celery_command(), *flower_arguments(port, address, db), *ctx.args])


def emulator(ctx: typer.Context) -> None:
    """Run the emulator of Vertex AI's batch jobs.

    \b
    promptmill emulator --help
    promptmill emulator --port 8080 --latency 20s
    """
    _require_modules("local", "uvicorn", "starlette")
    replace_process(["-m", "promptmill.emulator", *ctx.args])


def storage(ctx: typer.Context) -> None:
    """Run the emulator of Cloud Storage.

    \b
    promptmill storage --help
    promptmill storage --directory objects --bucket promptmill
    """
    _require_modules("local", "uvicorn", "httptools")
    replace_process(["-m", "promptmill.emulator.gcs", *ctx.args])


def celery_command() -> list[str]:
    """Return how Celery's own command is started by Python."""
    return ["-m", "celery", "-A", CELERY_APP]


def worker_arguments(
    queues: list[str],
    concurrency: int | None,
    pool: str,
    name: str,
    log_level: str,
    pid: int | None = None,
) -> list[str]:
    """Return the arguments of ``celery worker``.

    Mingle and gossip are off: they cost seconds at the start and messages all the time, for the sake of revoked tasks
    and elections, which nothing here uses. The node's name has the process id in it, since two nodes of one name
    answer for each other.
    """
    only_polls = [queue.rpartition(".")[2] for queue in queues] == ["poll"]
    node = f"{name or ('poll' if only_polls else 'worker')}-{pid or os.getpid()}@%h"
    slots = concurrency or (1 if only_polls else None)
    return [
        *("worker", "-n", node, "-Q", ",".join(queues), "--pool", pool, "--loglevel", log_level),
        *("-E", "--without-mingle", "--without-gossip"),
        *(("--concurrency", str(slots)) if slots else ()),
    ]


def beat_arguments(schedule: Path | None, log_level: str) -> list[str]:
    """Return the arguments of ``celery beat``.

    All that it starts is due every few seconds, so it need not remember anything, nor have a file to write to.
    """
    schedule_options = (
        ("-s", str(schedule)) if schedule else ("--scheduler", "celery.beat:Scheduler")
    )
    return ["beat", *schedule_options, "--loglevel", log_level]


def flower_arguments(port: int, address: str, db: Path | None) -> list[str]:
    """Return the arguments of ``celery flower``."""
    storage_options = ("--persistent=True", f"--db={db}") if db else ()
    return [
        "flower",
        f"--conf={find_flower_config()}",
        f"--address={address}",
        f"--port={port}",
        *storage_options,
    ]


def find_flower_config() -> Path:
    """Return the file of options for Flower that comes with the workers."""
    spec = importlib.util.find_spec("promptmill.workers.runtime.flowerconfig")
    if spec is None or spec.origin is None:
        raise NotInstalled(
            "promptmill.workers is not installed: pip install 'promptmill[worker,monitor]'"
        )
    return Path(spec.origin)


def require_flower_login(
    address: str, environ: Mapping[str, str], options: Sequence[str] = ()
) -> None:
    """Raise ConfigurationError when everybody who reaches ``address`` could stop workers without a login.

    Flower asks for one when basic_auth or auth is set, by variable or option; auth_provider alone does not do.
    """
    has_login_option = any(
        option.replace("_", "-").startswith(("--basic-auth=", "--auth=")) for option in options
    )
    if (
        is_loopback(address)
        or has_login_option
        or environ.get("FLOWER_BASIC_AUTH")
        or environ.get("FLOWER_AUTH")
    ):
        return
    raise ConfigurationError(
        f"Flower at {address} would let anybody in: set FLOWER_BASIC_AUTH=user:password (or FLOWER_AUTH with "
        "FLOWER_AUTH_PROVIDER), or leave it at --address 127.0.0.1"
    )


def replace_process(arguments: list[str]) -> NoReturn:
    """Let Python with these arguments take the place of this process."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 (no shell is wanted)


def parse_queues(text: str) -> list[str]:
    """Return the queues of a comma-separated list, with or without their prefix; raises ValueError."""
    from promptmill.config import queues

    by_short_name = {queue.removeprefix("promptmill."): queue for queue in queues.ALL_QUEUES}
    short_names = [
        name.strip().removeprefix("promptmill.") for name in text.split(",") if name.strip()
    ]
    if unknown := [name for name in short_names if name not in by_short_name]:
        raise ValueError(f"no queue is called {unknown[0]!r}; there are {', '.join(by_short_name)}")
    return [by_short_name[name] for name in dict.fromkeys(short_names)] or list(queues.ALL_QUEUES)


def _parse_queues_option(text: str) -> list[str]:
    try:
        return parse_queues(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--queues") from None


def _load_settings(extra: str, *modules: str) -> "Settings":
    """Return the settings: what is wrong with them is better told here than by a traceback of the tool."""
    from promptmill.config import settings

    _require_modules(extra, *modules)
    current_settings = settings.load_settings()
    current_settings.refuse_insecure_redis()
    return current_settings


def _require_modules(extra: str, *modules: str) -> None:
    for module in modules:
        try:
            spec = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            spec = None
        if spec is None:
            raise NotInstalled(f"{module} is missing: pip install 'promptmill[{extra}]'")
