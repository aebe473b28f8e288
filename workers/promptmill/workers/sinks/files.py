"""Results as files, of JSON or Parquet: in a bucket, one object a part; or on disk, in one file."""

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
from promptmill.workers.ports.google import Bucket
from promptmill.workers.sinks.file_format import JSONL, FileFormat

_TRANSIENT_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.EIO}


class BucketSink:
    """``gs://bucket/folder/<run>/<part>.jsonl``: a part has the same name and bytes every time."""

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
        """Return the folder; there is nothing to complete."""
        return f"{self._bucket.url}/{self._run}/"


class FileSink:
    """One file on a disk that the workers share; it appears whole, in the order of the run's parts, when the run ends."""

    def __init__(self, path: Path, run: str, file_format: FileFormat = JSONL) -> None:
        self._path = path
        self._run = run
        self._file_format = file_format
        self._folder = self._path.with_name(f".{self._path.name}.{run}")

    def check(self) -> None:
        """Make the folder for the parts."""
        try:
            self._make_folder()
        except OSError as error:
            raise ConfigurationError(
                f"sink {self._path} cannot be written: {error.strerror}"
            ) from error

    def deliver(self, part: str, lines: bytes) -> None:
        """Write one part beside its final name, then move it there: it is whole or not there."""
        with self._translate_disk_errors():
            self._make_folder()
            _write_file(
                self._folder / f"{part}{self._file_format.suffix}",
                self._file_format.encode(self._run, lines),
            )

    def finish(self, parts: list[str]) -> str:
        """Join the parts under the final name, then clean up; two may do so at once.

        The folder of parts goes away in one move, and only after the whole file is there: who misses it has been
        overtaken by a twin that finished, while a single part that is missing from it is an error.
        """
        try:
            with self._translate_disk_errors():
                self._join_parts(parts)
            self._folder.rename(
                self._folder.with_name(f"{self._folder.name}.done-{secrets.token_hex(4)}")
            )
        except FileNotFoundError as error:
            if self._folder.is_dir():
                raise Permanent(f"{error.filename} is missing from sink {self._path}") from error
        for finished_folder in self._folder.parent.glob(f"{glob.escape(self._folder.name)}.done-*"):
            shutil.rmtree(finished_folder, ignore_errors=True)
        return str(self._path)

    def _make_folder(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._folder.is_symlink():
            raise ConfigurationError(
                f"sink {self._path}: {self._folder} is a link, perhaps to where nobody may write"
            )

    def _join_parts(self, parts: list[str]) -> None:
        with _write_atomically(self._path, self._folder / f"whole.{secrets.token_hex(4)}") as out:
            self._file_format.join((self._open_part(part) for part in parts), out)

    def _open_part(self, part: str) -> BinaryIO:
        return _open_no_follow(self._folder / f"{part}{self._file_format.suffix}", "rb")

    @contextmanager
    def _translate_disk_errors(self) -> Iterator[None]:
        """Take a disk that is full, or a want of file descriptors, for what it is: something that passes."""
        try:
            yield
        except OSError as error:
            if error.errno in _TRANSIENT_ERRNOS:
                raise Transient(
                    f"sink {self._path} cannot be written now: {error.strerror}"
                ) from error
            raise


def _open_no_follow(path: Path, mode: Literal["rb", "xb"]) -> BinaryIO:
    """Open a file that is not a link: a sink is checked by its path, and a link would lead elsewhere."""
    return open(path, mode, opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o666))


def _write_file(path: Path, data: bytes) -> None:
    with _write_atomically(path, path.with_suffix(f".{secrets.token_hex(4)}")) as out:
        out.write(data)


@contextmanager
def _write_atomically(path: Path, draft: Path) -> Iterator[BinaryIO]:
    """Write a file beside its final name, and move it there when it is whole; nothing stays of one that is not."""
    try:
        with _open_no_follow(draft, "xb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
