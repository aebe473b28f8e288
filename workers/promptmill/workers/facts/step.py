"""What a step says is to be done next."""

from typing import NamedTuple


class Step(NamedTuple):
    """One unit of work: the ``task`` that does it, the run, and within it the shard, attempt, part or sink."""

    task: str
    run: str
    place: tuple[int, ...] = ()

    @property
    def id(self) -> str:
        """The same for the same work, readable: ``01jd….s003.a1.p00007.parse``."""
        marks = [f"{mark}{number:0{width}}" for (mark, width), number in zip(_MARKS, self.place, strict=False)]
        return ".".join([self.run, *marks, self.task])


_MARKS = (("s", 3), ("a", 1), ("p", 5), ("k", 2))


class Wait(NamedTuple):
    """Not yet: the same step again in so many seconds. Not a failure."""

    seconds: float
