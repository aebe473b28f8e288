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

APP = "promptmill.workers.main"
LOOPBACK = "127.0.0.1"
PASSES_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def add_to(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command(context_settings=PASSES_ON)(worker)
    app.command(context_settings=PASSES_ON)(beat)
    app.command(context_settings=PASSES_ON)(flower)
    app.command(context_settings=PASSES_ON, add_help_option=False)(emulator)
    app.command(context_settings=PASSES_ON, add_help_option=False)(storage)


def worker(
    ctx: typer.Context,
    queues: Annotated[
        str, typer.Option(metavar="NAME[,NAME…]", help="Any of ingest, work, jobs, poll; all when not given.")
    ] = "",
    concurrency: Annotated[int | None, typer.Option(min=1, help="Tasks at a time; else one for each CPU.")] = None,
    pool: Annotated[str, typer.Option(help="prefork, threads or solo.")] = "prefork",
    name: Annotated[str, typer.Option(help="How the node's name starts; else worker, or the queue's name.")] = "",
) -> None:
    """Run a Celery worker.

    Options that are not named here go to `celery worker`.

    \b
    promptmill worker
    promptmill worker --queues poll
    promptmill worker --queues ingest,work,jobs --concurrency 8 --max-tasks-per-child 1000
    """
    settings = _ready_for("worker", "google.cloud.aiplatform", "google.cloud.storage")
    chosen = worker_arguments(_full_names(queues), concurrency, pool, name, settings.log_level)
    become([*celery(), *chosen, *ctx.args])


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
    settings = _ready_for("worker", "google.cloud.aiplatform", "google.cloud.storage")
    become([*celery(), *beat_arguments(schedule, settings.log_level), *ctx.args])


def flower(
    ctx: typer.Context,
    port: Annotated[int, typer.Option(min=1, max=65_535, envvar="FLOWER_PORT", help="Where to listen.")] = 5555,
    address: Annotated[
        str, typer.Option(envvar="FLOWER_ADDRESS", help="On which address; beyond this machine only with a login.")
    ] = LOOPBACK,
    db: Annotated[Path | None, typer.Option(metavar="FILE", help="Remember tasks there over a restart.")] = None,
) -> None:
    """Run Flower, the page for workers and tasks.

    Options that are not named here go to `celery flower`.

    \b
    promptmill flower
    FLOWER_BASIC_AUTH=me:secret promptmill flower --address 0.0.0.0
    """
    _ready_for("monitor", "flower")
    refuse_open_page(address, os.environ, ctx.args)
    become([*celery(), *flower_arguments(port, address, db), *ctx.args])


def emulator(ctx: typer.Context) -> None:
    """Run the emulator of Vertex AI's batch jobs.

    \b
    promptmill emulator --help
    promptmill emulator --port 8080 --latency 20s
    """
    _need("local", "uvicorn", "starlette")
    become(["-m", "promptmill.emulator", *ctx.args])


def storage(ctx: typer.Context) -> None:
    """Run the emulator of Cloud Storage.

    \b
    promptmill storage --help
    promptmill storage --directory objects --bucket promptmill
    """
    _need("local", "uvicorn", "httptools")
    become(["-m", "promptmill.emulator.gcs", *ctx.args])


def celery() -> list[str]:
    """Return how Celery's own command is started by Python."""
    return ["-m", "celery", "-A", APP]


def worker_arguments(
    queues: list[str], concurrency: int | None, pool: str, name: str, log_level: str, pid: int | None = None
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
    memory = ("-s", str(schedule)) if schedule else ("--scheduler", "celery.beat:Scheduler")
    return ["beat", *memory, "--loglevel", log_level]


def flower_arguments(port: int, address: str, db: Path | None) -> list[str]:
    """Return the arguments of ``celery flower``."""
    memory = ("--persistent=True", f"--db={db}") if db else ()
    return ["flower", f"--conf={flower_config()}", f"--address={address}", f"--port={port}", *memory]


def flower_config() -> Path:
    """Return the file of options for Flower that comes with the workers."""
    spec = importlib.util.find_spec("promptmill.workers.runtime.flowerconfig")
    if spec is None or spec.origin is None:
        raise NotInstalled("promptmill.workers is not installed: pip install 'promptmill[worker,monitor]'")
    return Path(spec.origin)


def refuse_open_page(address: str, environ: Mapping[str, str], options: Sequence[str] = ()) -> None:
    """Raise ConfigurationError when everybody who reaches ``address`` could stop workers without a login.

    Flower asks for one when basic_auth or auth is set, by variable or option; auth_provider alone does not do.
    """
    given = any(option.replace("_", "-").startswith(("--basic-auth=", "--auth=")) for option in options)
    if is_loopback(address) or given or environ.get("FLOWER_BASIC_AUTH") or environ.get("FLOWER_AUTH"):
        return
    raise ConfigurationError(
        f"Flower at {address} would let anybody in: set FLOWER_BASIC_AUTH=user:password (or FLOWER_AUTH with "
        "FLOWER_AUTH_PROVIDER), or leave it at --address 127.0.0.1"
    )


def become(arguments: list[str]) -> NoReturn:
    """Let Python with these arguments take the place of this process."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 (no shell is wanted)


def full_names(text: str) -> list[str]:
    """Return the queues of a comma-separated list, with or without their prefix; raises ValueError."""
    from promptmill.config import queues

    short = {queue.removeprefix("promptmill."): queue for queue in queues.ALL}
    wanted = [name.strip().removeprefix("promptmill.") for name in text.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in short]:
        raise ValueError(f"no queue is called {unknown[0]!r}; there are {', '.join(short)}")
    return [short[name] for name in dict.fromkeys(wanted)] or list(queues.ALL)


def _full_names(text: str) -> list[str]:
    try:
        return full_names(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--queues") from None


def _ready_for(extra: str, *modules: str) -> "Settings":
    """Return the settings: what is wrong with them is better told here than by a traceback of the tool."""
    from promptmill.config import settings

    _need(extra, *modules)
    loaded = settings.load()
    loaded.refuse_open_redis()
    return loaded


def _need(extra: str, *modules: str) -> None:
    for module in modules:
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise NotInstalled(f"{module} is missing: pip install 'promptmill[{extra}]'")
