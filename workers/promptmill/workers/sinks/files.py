"""Results as files: one object per part in a bucket, or one file on a shared disk."""

import errno
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

from promptmill.config.errors import ConfigurationError, Denied, Permanent, Transient
from promptmill.producers.contract.messages import SinkSpec
from promptmill.producers.contract.sink_kinds import is_local_file
from promptmill.workers.ports.google import Bucket
from promptmill.workers.sinks import allowlist
from promptmill.workers.sinks.context import SinkContext
from promptmill.workers.sinks.file_format import JSONL, FileFormat
from promptmill.workers.sinks.sink import Sink

_TRANSIENT_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.EIO}


def open_sink(spec: SinkSpec, context: SinkContext) -> Sink:
    """Open a sink of JSON lines. Raises ConfigurationError."""
    return open_file_sink(spec, context, JSONL)


def open_file_sink(spec: SinkSpec, context: SinkContext, file_format: FileFormat) -> Sink:
    """Open a local file or a bucket's folder, as the spec says. Raises ConfigurationError."""
    if is_local_file(spec):
        path = allowlist.resolve_file(context.settings, spec)
        return FileSink(path, context.run, file_format)
    folder = allowlist.resolve_folder(context.settings, spec, context.run)
    return BucketSink(context.open_bucket(folder), context.run, file_format)


class BucketSink:
    """Writes ``gs://bucket/folder/RUN/PART.jsonl``, always with the same bytes."""

    def __init__(self, bucket: Bucket, run: str, file_format: FileFormat = JSONL) -> None:
        self._bucket = bucket
        self._run = run
        self._file_format = file_format

    def check(self) -> None:
        """Write and delete a small object."""
        name = f"{self._run}/.promptmill-check"
        try:
            self._bucket.write(name, b"")
            self._bucket.delete(name)
        except (Permanent, Denied) as error:
            raise ConfigurationError(
                f"sink {self._bucket.url} cannot be written: {error}"
            ) from error

    def deliver(self, part: str, lines: bytes) -> None:
        """Write one part."""
        try:
            self._bucket.write(
                f"{self._run}/{part}{self._file_format.suffix}",
                self._file_format.encode(self._run, lines),
            )
        except Permanent as error:
            raise Permanent(f"sink {self._bucket.url} cannot be written: {error}") from error

    def finish(self, parts: list[str]) -> str:  # noqa: ARG002
        """Return the folder."""
        return f"{self._bucket.url}/{self._run}/"


class FileSink:
    """Writes one file on a disk that all workers share.

    The file appears when the run ends: complete, with the parts in the run's order.

    Two workers may finish it concurrently. The folder of parts disappears in one rename,
    after the file is complete. So a missing folder means that another worker has finished,
    while a single missing part is an error.
    """

    def __init__(self, path: Path, run: str, file_format: FileFormat = JSONL) -> None:
        self._path = path
        self._run = run
        self._file_format = file_format
        self._folder = self._path.with_name(f".{self._path.name}.{run}")

    def check(self) -> None:
        """Create the folder for the parts."""
        try:
            self._make_folder()
        except OSError as error:
            raise ConfigurationError(
                f"sink {self._path} cannot be written: {error.strerror}"
            ) from error

    def deliver(self, part: str, lines: bytes) -> None:
        """Write one part under a temporary name, then rename it."""
        with self._translate_disk_errors():
            self._make_folder()
            _write_file(
                self._folder / f"{part}{self._file_format.suffix}",
                self._file_format.encode(self._run, lines),
            )

    def finish(self, parts: list[str]) -> str:
        """Join the parts under the final name, then remove them."""
        with self._translate_disk_errors():
            try:
                self._join_parts(parts)
                self._retire_folder()
            except FileNotFoundError as error:
                if self._folder.is_dir():
                    raise Permanent(f"sink {self._path}: {error.filename} is missing") from error
        for finished_folder in self._folder.parent.glob(f"{glob.escape(self._folder.name)}.done-*"):
            shutil.rmtree(finished_folder, ignore_errors=True)
        return str(self._path)

    def _make_folder(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._folder.is_symlink():
            raise ConfigurationError(
                f"sink {self._path}: {self._folder} is a link, which could lead to any folder. "
                "Remove it"
            )

    def _join_parts(self, parts: list[str]) -> None:
        with _write_atomically(self._path, self._folder / f"whole.{secrets.token_hex(4)}") as out:
            self._file_format.join((self._open_part(part) for part in parts), out)

    def _open_part(self, part: str) -> BinaryIO:
        return _open_no_follow(self._folder / f"{part}{self._file_format.suffix}", "rb")

    def _retire_folder(self) -> None:
        retired_name = f"{self._folder.name}.done-{secrets.token_hex(4)}"
        self._folder.rename(self._folder.with_name(retired_name))

    @contextmanager
    def _translate_disk_errors(self) -> Iterator[None]:
        """Raise Transient for a full disk or too many open files, Permanent otherwise."""
        try:
            yield
        except OSError as error:
            if error.errno in _TRANSIENT_ERRNOS:
                raise Transient(
                    f"sink {self._path} cannot be written now: {error.strerror}"
                ) from error
            raise Permanent(f"sink {self._path} cannot be written: {error.strerror}") from error


def _open_no_follow(path: Path, mode: Literal["rb", "xb"]) -> BinaryIO:
    """Open a file that is not a link: the allowlist checks the path, not its target."""
    return open(path, mode, opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o666))


def _write_file(path: Path, data: bytes) -> None:
    with _write_atomically(path, path.with_suffix(f".{secrets.token_hex(4)}")) as out:
        out.write(data)


@contextmanager
def _write_atomically(path: Path, draft: Path) -> Iterator[BinaryIO]:
    """Write a file under a temporary name, and rename it when it is complete."""
    try:
        with _open_no_follow(draft, "xb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
