"""The command line: `python -m promptmill.emulator.gcs`."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from ..server import exit_without_port, serve_app
from .app import StorageApp
from .store import ObjectStore

_KEEP_ALIVE_SECONDS = 600
"""As at Google. A client whose connection is closed must repeat its request."""
_Buckets = Annotated[
    list[str] | None, typer.Option(help="Bucket to create at the start; repeatable.")
]
_cli = typer.Typer(add_completion=False)


@_cli.command()
def storage(
    directory: Annotated[Path, typer.Option(help="Folder that keeps the objects.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one and prints it.")] = 4443,
    bucket: _Buckets = None,
) -> None:
    """Emulate Cloud Storage.

    Clients use it if STORAGE_EMULATOR_HOST is set to http://HOST:PORT.
    """
    try:
        store = ObjectStore(directory)
    except OSError as error:
        raise typer.BadParameter(str(error)) from error
    for name in bucket or ():
        if store.index.find_bucket(name) is None:
            store.add_bucket(name)
    with exit_without_port(host, port), closing(store):
        serve_app(StorageApp(store), host, port, "storage", "httptools", _KEEP_ALIVE_SECONDS)


if __name__ == "__main__":
    _cli(prog_name="promptmill storage")
