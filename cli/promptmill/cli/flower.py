"""``promptmill flower``."""

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from promptmill.cli import processes
from promptmill.cli.help_text import add_help
from promptmill.config.errors import ConfigurationError, NotInstalled
from promptmill.config.urls import is_loopback

LOOPBACK = "127.0.0.1"

Port = Annotated[
    int,
    typer.Option(
        metavar="PORT", min=1, max=65_535, envvar="FLOWER_PORT", help="Port to listen on."
    ),
]
Address = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS",
        envvar="FLOWER_ADDRESS",
        help="Address to listen on; other machines need a login.",
    ),
]
Db = Annotated[
    Path | None, typer.Option(metavar="FILE", help="File that keeps tasks across restarts.")
]


@add_help(
    """
    Other options are passed on to `celery flower`.

    \b
    Examples:
      promptmill flower
      FLOWER_BASIC_AUTH=me:secret promptmill flower --address 0.0.0.0
    """
)
def flower(
    ctx: typer.Context, port: Port = 5555, address: Address = LOOPBACK, db: Db = None
) -> None:
    """Run Flower, the web page for workers and tasks."""
    processes.load_process_settings("monitor", "flower")
    require_flower_login(address, os.environ, ctx.args)
    flower_options = flower_arguments(port, address, db)
    processes.replace_process([*processes.celery_command(), *flower_options, *ctx.args])


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
    """Return the Flower configuration file of the workers. Raises NotInstalled."""
    spec = importlib.util.find_spec("promptmill.workers.runtime.flowerconfig")
    if spec is None or spec.origin is None:
        raise NotInstalled(
            "promptmill.workers is missing; run: pip install 'promptmill[worker,monitor]'"
        )
    return Path(spec.origin)


def require_flower_login(
    address: str, environ: Mapping[str, str], options: Sequence[str] = ()
) -> None:
    """Raise ConfigurationError if Flower would be reachable without a login."""
    # Flower ignores auth_provider alone.
    flags = (option.replace("_", "-") for option in options)
    has_login_option = any(flag.startswith(("--basic-auth=", "--auth=")) for flag in flags)
    has_login_variable = environ.get("FLOWER_BASIC_AUTH") or environ.get("FLOWER_AUTH")
    if is_loopback(address) or has_login_option or has_login_variable:
        return
    raise ConfigurationError(
        f"Flower at {address} has no login; set FLOWER_BASIC_AUTH=user:password (or FLOWER_AUTH "
        "with FLOWER_AUTH_PROVIDER), or use --address 127.0.0.1"
    )
