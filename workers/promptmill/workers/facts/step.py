"""What a step returns: the next steps, or a wait."""

from typing import NamedTuple


class Step(NamedTuple):
    """One unit of work: a task and its arguments.

    ``indices`` are the numbers of shard, attempt, part and sink, as far as the task has them.
    """

    task: str
    run: str
    indices: tuple[int, ...] = ()

    @property
    def id(self) -> str:
        """A readable id, the same for the same work: ``01jd….s003.a1.p00007.parse``."""
        pairs = zip(_LETTERS, self.indices, strict=False)
        labels = [f"{letter}{number:0{width}}" for (letter, width), number in pairs]
        return ".".join([self.run, *labels, self.task])


_LETTERS = (("s", 3), ("a", 1), ("p", 5), ("k", 2))


class Wait(NamedTuple):
    """Run the same step again after some seconds. This is not a failure."""

    seconds: float
