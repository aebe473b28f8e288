"""How files of results are encoded and joined."""

import shutil
from collections.abc import Callable, Iterable
from typing import BinaryIO, NamedTuple


class FileFormat(NamedTuple):
    """The format of a file of results.

    ``encode`` turns a run's id and lines into bytes, always the same for the same lines.
    ``join`` writes several files as one.
    """

    suffix: str
    encode: Callable[[str, bytes], bytes]
    join: Callable[[Iterable[BinaryIO], BinaryIO], None]


def _join_lines(parts: Iterable[BinaryIO], out: BinaryIO) -> None:
    for part in parts:
        with part:
            shutil.copyfileobj(part, out, 1 << 20)


JSONL = FileFormat(".jsonl", lambda _, lines: lines, _join_lines)
"""JSON lines, as in the run's own folder."""
