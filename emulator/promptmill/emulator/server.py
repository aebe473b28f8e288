"""Serves an application with uvicorn and announces its address."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer
import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import HTTPProtocolType
from uvicorn.protocols.http.h11_impl import H11Protocol

_SHUTDOWN_SECONDS = 2


class DroppableProtocol(H11Protocol):
    """HTTP whose handlers can drop the connection through `request.state.transport`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Add the transport to the application's state."""
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)


class _AnnouncingServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, name: str) -> None:
        super().__init__(config)
        self.name = name

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if sockets and self.started:
            host, port = sockets[0].getsockname()[:2]
            announcement = f"promptmill {self.name} (not Google): http://{host}:{port}"
            print(announcement, flush=True)  # noqa: T201 - starters wait for it


def serve_app(
    app: ASGIApp,
    host: str,
    port: int,
    name: str = "emulator",
    http: type[asyncio.Protocol] | HTTPProtocolType = DroppableProtocol,
    keep_alive: int = 5,
) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError if the port is in use.

    Port 0 picks a free one. Connections close after `keep_alive` idle seconds.
    """
    # uvicorn raises the signal again after it has stopped. These handlers ignore it,
    # so that the function returns.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ignore_signal)
    config = uvicorn.Config(
        app, http=http, ws="none", lifespan="off", log_level="warning", access_log=False,
        timeout_keep_alive=keep_alive, timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )  # fmt: skip
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio disables Nagle's algorithm only if the protocol is named. With it every
    # response takes 40 ms.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        _AnnouncingServer(config, name).run(sockets=[listener])


@contextmanager
def exit_without_port(host: str, port: int) -> Iterator[None]:
    """Exit with a message if the server cannot listen."""
    try:
        yield
    except OSError as error:
        typer.echo(f"cannot listen on {host}:{port}: {error}; choose another --port", err=True)
        raise typer.Exit(1) from error


def _ignore_signal(_number: int, _frame: FrameType | None) -> None:
    pass
