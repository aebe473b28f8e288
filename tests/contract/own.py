"""Our stand-in for Cloud Storage as a process, as tests see it: started, killed, started again."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Storage:
    """A running server."""

    url: str
    process: subprocess.Popen[str]


@contextlib.contextmanager
def running_storage(directory: Path, *options: str) -> Iterator[Storage]:
    """Run it over a directory; it need not be alive any more at the end."""
    command = [
        sys.executable,
        "-m",
        "promptmill.emulator.gcs",
        "--port",
        "0",
        "--directory",
        str(directory),
        *options,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield Storage(process.stdout.readline().split()[-1], process)
        finally:
            process.terminate()
