"""Our stand-in for Cloud Storage as a process: what is there after its death, and how much memory it takes."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client

from contract.own import running_storage
from contract.test_storage import QUANTUM, Server
from promptmill.local.services import BUCKET
from support.waiting import PATIENCE, wait_until

MIB = 1 << 20
LARGE = 300 * MIB
MOST_GROWTH = 20 * MIB


@contextlib.contextmanager
def running(directory: Path) -> Iterator[tuple[Server, psutil.Process]]:
    """A server over a directory, with Google's client and its process."""
    with (
        running_storage(directory, "--bucket", BUCKET) as storage,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("STORAGE_EMULATOR_HOST", storage.url)
        client = Client(project="p", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
        yield (
            Server(storage.url, client.bucket(BUCKET), "folder"),
            psutil.Process(storage.process.pid),
        )
        client.close()


def test_what_was_acknowledged_outlives_the_servers_death_and_half_an_upload_does_not(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as (server, process):
        session = server.begin("half")
        server.put(session, f"0-{QUANTUM - 1}/*", b"1" * QUANTUM)
        server.blob("replaced").upload_from_string("old")
        for number in range(50):
            server.blob(str(number)).upload_from_string(str(number), if_generation_match=0)
        server.resumable("large", b"2" * MIB, if_generation_match=0)
        server.blob("replaced").upload_from_string("new")
        generations = [server.generation(name) for name in ("large", "replaced")]
        process.kill()

    with running(tmp_path) as (server, _):
        assert [server.blob(str(number)).download_as_bytes() for number in range(50)] == [
            b"%d" % n for n in range(50)
        ]
        assert server.blob("large").download_as_bytes() == b"2" * MIB
        assert server.blob("replaced").download_as_bytes() == b"new"
        assert [server.generation(name) for name in ("large", "replaced")] == generations
        assert (
            server.put(
                session.replace(session.split("/upload")[0], server.url), f"*/{QUANTUM}"
            ).status
            == 410
        )
        assert not server.blob("half").exists()
        server.blob("half").upload_from_string("anew", if_generation_match=0)
        assert server.generation("half") > max(generations)
    assert len(list((tmp_path / "bodies").iterdir())) == 53


@pytest.mark.parametrize("kind", ["media", "multipart"])
def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path, kind: str) -> None:
    with running(tmp_path) as (server, _):
        with socket.create_connection(
            (server.url.split("/")[2].split(":")[0], int(server.url.split(":")[2]))
        ) as line:
            head = b"--B\r\nContent-Type: application/json\r\n\r\n{}\r\n--B\r\nContent-Type: text/plain\r\n\r\n"
            line.sendall(
                f"POST {server.upload(kind, 'a')} HTTP/1.1\r\nHost: x\r\nContent-Length: {MIB}\r\n"
                "Content-Type: multipart/related; boundary=B\r\n\r\n".encode()
            )
            line.sendall(head + b"x" * QUANTUM)
            wait_until(
                lambda: any(file.stat().st_size for file in (tmp_path / "bodies").iterdir()),
                "bytes on disk",
            )
        wait_until(lambda: not list((tmp_path / "bodies").iterdir()), "the end of the draft")

        assert not server.blob("a").exists()


def test_memory_depends_on_no_objects_size(tmp_path: Path) -> None:
    piece = os.urandom(8 * MIB)
    with running(tmp_path) as (server, process):
        server.resumable("small", b"x" * MIB)
        server.blob("small").download_as_bytes()
        before = process.memory_info().rss
        with server.blob("large").open("wb", chunk_size=8 * MIB) as out:
            for _ in range(LARGE // len(piece)):
                out.write(piece)
        whole = tmp_path / "whole"
        server.blob("large").download_to_filename(whole)
        server.call("POST", server.upload("media", "copy"), whole.read_bytes())
        peak = peak_memory(process.pid) if sys.platform == "linux" else process.memory_info().rss

        assert server.generation("copy") > server.generation("large")
        assert peak - before < MOST_GROWTH


def peak_memory(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def test_a_long_list_comes_in_pages_and_takes_no_memory(tmp_path: Path) -> None:
    with running(tmp_path) as (server, process):
        for number in range(1500):
            server.call("POST", server.upload("media", f"{number:04d}"), b"")
        before = process.memory_info().rss
        listed = server.bucket.list_blobs(prefix="folder/", page_size=100)

        assert [blob.name for blob in listed] == [f"folder/{number:04d}" for number in range(1500)]
        assert process.memory_info().rss - before < MOST_GROWTH


def test_a_directory_belongs_to_one_server(tmp_path: Path) -> None:
    with running(tmp_path):
        second = [
            sys.executable,
            "-m",
            "promptmill.emulator.gcs",
            "--port",
            "0",
            "--directory",
            str(tmp_path),
        ]
        ended = subprocess.run(
            second, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

        assert ended.returncode == 2
        assert "in use" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_when_it_is_asked_to(tmp_path: Path, number: int) -> None:
    with running_storage(tmp_path) as storage:
        storage.process.send_signal(number)

        assert storage.process.wait(timeout=PATIENCE) == 0
