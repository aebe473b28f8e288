"""The log file of one service, limited in size."""

import shutil
from pathlib import Path

MAX_BYTES = 20_000_000
TAIL_LINES = 20
TAIL_BYTES = 16_384


class ServiceLog:
    """`NAME.log` in a directory, and the previous log as `NAME.log.1`."""

    def __init__(self, directory: Path, name: str):
        self.path = directory / f"{name}.log"
        self.start_offset = 0

    def open_new(self) -> None:
        """Create an empty log, and keep the previous one as a backup."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self.path.replace(self._backup_path())
        self.path.touch()

    def mark_start(self) -> None:
        """Mark the start of the service, for `read_since_start`."""
        self.start_offset = self.path.stat().st_size

    def read_since_start(self) -> str:
        """Return the output since the last mark, at most the newest 16 KiB."""
        with self.path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(min(self.start_offset, size), size - TAIL_BYTES))
            return file.read().decode(errors="replace")

    def read_tail(self) -> str:
        """Return the last lines since the last mark."""
        return "\n".join(self.read_since_start().splitlines()[-TAIL_LINES:])

    def limit_size(self) -> None:
        """Truncate a long file. Writers append, so they continue at its end."""
        if self.path.stat().st_size > MAX_BYTES:
            shutil.copyfile(self.path, self._backup_path())
            with self.path.open("r+b") as file:
                file.truncate(0)
            self.start_offset = 0

    def _backup_path(self) -> Path:
        return self.path.with_name(self.path.name + ".1")
