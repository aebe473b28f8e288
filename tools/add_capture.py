"""Add a capture of ``promptmill doctor --live`` to the tests.

``python tools/add_capture.py FILE [FOLDER]`` checks the file, redacts it once more, and writes
it to the folder, by default ``tests/captures/live/``. A unit test replays every file there.
"""

import sys
from pathlib import Path

from promptmill.config.errors import PromptmillError
from promptmill.workers.live import beliefs, capture

FOLDER = Path(__file__).parents[1] / "tests" / "captures" / "live"


def add_capture(file: Path, folder: Path = FOLDER) -> Path:
    """Return the path of the new test file. Raises PromptmillError, OSError."""
    read = capture.decode_capture(file.read_bytes())
    read.findings = beliefs.judge_beliefs(read.evidence)
    target = folder / capture.name_capture(read)
    if target.exists():
        raise PromptmillError(f"{target} exists; rename one of the two captures")
    folder.mkdir(parents=True, exist_ok=True)
    target.write_bytes(capture.encode_capture(read))
    return target


def main() -> None:
    """Add the file that the command line names."""
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python tools/add_capture.py FILE [FOLDER]")
    try:
        print(add_capture(*map(Path, sys.argv[1:])))
    except (PromptmillError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
