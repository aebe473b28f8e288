"""A Redis behind TLS, with a password: runs are sent to it and told of, and a server that nobody vouches for is not."""

import asyncio
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from promptmill.config.errors import Transient
from promptmill.local import servers
from promptmill.local.ports import HOST, reserve_ports
from promptmill.producers import Promptmill
from support.certificates import certify
from support.waiting import PATIENCE, wait_until

SECRET = "s3cret-4b1d"


@dataclass(frozen=True)
class Server:
    """A Redis that is reached by TLS at ``port``, and without at ``inner``."""

    port: int
    inner: int
    certificate: Path

    def url(self, query: str = "", password: str = SECRET) -> str:
        return f"rediss://:{password}@{HOST}:{self.port}/0{query}"

    @property
    def trusted(self) -> str:
        return self.url(f"?ssl_ca_certs={self.certificate}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = certify(directory)
    with redis_server(directory) as inner, terminating(certificate, key, inner) as port:
        yield Server(port, inner, certificate)


def test_a_run_is_sent_over_tls_and_told_of(server: Server) -> None:
    mill = Promptmill(broker_url=server.trusted, model="gemini-3.8-flash")

    run = mill.submit(["Say hello"])

    assert run.status.requests == 1
    with redis.Redis(port=server.inner, password=SECRET) as client:
        assert client.llen("promptmill.ingest") == 1
        client.flushall()


def test_a_server_that_nobody_vouches_for_is_not_told_the_password(server: Server) -> None:
    # kombu keeps connections for the whole process, by everything but their TLS: hence another database.
    untrusted = server.url().removesuffix("/0") + "/1"
    mill = Promptmill(broker_url=untrusted, redis_url=server.trusted, model="gemini-3.8-flash")

    with pytest.raises(
        Transient, match=r"(?i)the broker .* cannot be reached: .*certificate"
    ) as refusal:
        mill.submit(["Say hello"])
    with pytest.raises(Transient, match=r"(?i)certificate") as unknown:
        Promptmill(broker_url=untrusted).runs()

    assert SECRET not in str(refusal.value) + str(unknown.value)


def test_a_wrong_password_is_not_told_in_the_error(server: Server) -> None:
    wrong = f"{SECRET}-of-somebody-else"
    mill = Promptmill(broker_url=server.url(f"?ssl_ca_certs={server.certificate}", wrong))

    with pytest.raises(Transient, match=r"(?i)password") as refusal:
        mill.runs()

    assert wrong not in str(refusal.value)


@contextmanager
def redis_server(directory: Path) -> Iterator[int]:
    """Run a Redis with a password; yields its port."""
    with reserve_ports({"redis": 0}) as ports, (directory / "redis.log").open("wb") as log:
        port = ports["redis"]
        command = [*servers.redis_command(port, directory / "redis"), "--requirepass", SECRET]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_until(lambda: answers(port), "Redis")
            yield port
        finally:
            process.terminate()
            process.wait(PATIENCE)


def answers(port: int) -> bool:
    with suppress(redis.ConnectionError), redis.Redis(port=port, password=SECRET) as client:
        return bool(client.ping())
    return False


@contextmanager
def terminating(certificate: Path, key: Path, inner: int) -> Iterator[int]:
    """Take TLS off connections and hand them on to a port; yields the port that it listens to."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    ended = threading.Event()
    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(
            target=asyncio.run, args=(serve(listener, context, inner, ended),)
        )
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            ended.set()
            thread.join(PATIENCE)


async def serve(
    listener: socket.socket, context: ssl.SSLContext, inner: int, ended: threading.Event
) -> None:
    async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, downstream = await asyncio.open_connection(HOST, inner)
        with suppress(OSError):
            await asyncio.gather(pump(reader, downstream), pump(upstream, writer))

    async with await asyncio.start_server(hand_on, sock=listener, ssl=context):
        await asyncio.to_thread(ended.wait)


async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()
    finally:
        target.transport.abort()
