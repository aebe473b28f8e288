"""What a step says is to be done next."""

from typing import NamedTuple


class Step(NamedTuple):
    """One unit of work: the ``task`` that does it, the run, and within it the shard, attempt, part or sink."""

    task: str
    run: str
    indices: tuple[int, ...] = ()

    @property
    def id(self) -> str:
        """The same for the same work, readable: ``01jd….s003.a1.p00007.parse``."""
        labels = [
            f"{letter}{number:0{width}}"
            for (letter, width), number in zip(_LETTERS, self.indices, strict=False)
        ]
        return ".".join([self.run, *labels, self.task])


_LETTERS = (("s", 3), ("a", 1), ("p", 5), ("k", 2))


class Wait(NamedTuple):
    """Not yet: the same step again in so many seconds. Not a failure."""

    seconds: float
