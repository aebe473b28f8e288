"""The form of a file of results."""

import shutil
from collections.abc import Callable, Iterable
from typing import BinaryIO, NamedTuple


class FileFormat(NamedTuple):
    """How a file of results is written: the end of its name, its bytes for a run's lines, and how parts are joined.

    The same lines have the same bytes every time.
    """

    suffix: str
    encode: Callable[[str, bytes], bytes]
    join: Callable[[Iterable[BinaryIO], BinaryIO], None]


def _join_lines(parts: Iterable[BinaryIO], out: BinaryIO) -> None:
    for part in parts:
        with part:
            shutil.copyfileobj(part, out, 1 << 20)


JSONL = FileFormat(".jsonl", lambda _, lines: lines, _join_lines)
"""Lines of JSON, as they are in the run's own folder."""
