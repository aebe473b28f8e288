"""Output that is replaced while it is parsed: each row has one final state, and that of one generation."""

import pytest

from promptmill.config.errors import NotFound
from promptmill.workers.facts.records import Parts
from promptmill.workers.facts.step import Step
from support.driver import Mill

PROMPTS = [f"say {number}" for number in range(12)]


def collected() -> tuple[Mill, str, list[Step], str]:
    """A run whose output is divided into several parts, these, and the name of its one file."""
    mill = Mill(part_bytes=400)
    run = mill.send(PROMPTS)
    while not all(step.task == "parse" for step in mill.due(run)):
        for step in mill.due(run):
            mill.do(step)
    parts = mill.due(run)
    assert len(parts) > 3
    (name,) = {piece.name for piece in written(mill, run).parts}
    return mill, run, parts, name


def written(mill: Mill, run: str) -> Parts:
    return mill.folder(run).attempt(0, 1).parts.get()


def in_reverse(data: bytes) -> bytes:
    """Other lines in every part, of which some would be read twice and some not at all."""
    return b"".join(reversed(data.splitlines(keepends=True)))


@pytest.mark.parametrize("before", range(5))
def test_output_that_is_replaced_at_any_moment_leaves_every_row_once(before: int) -> None:
    mill, run, parts, name = collected()
    for step in parts[:before]:
        mill.do(step)
    mill.bucket.write(name, in_reverse(mill.bucket.read(name)))

    for step in parts[before:]:
        mill.do(step)
    report = mill.drive(run)

    assert (report.succeeded, report.duplicates, report.jobs) == (len(PROMPTS), 0, 1)
    assert [result.key for result in mill.results(run)] == [
        str(row) for row in range(1, len(PROMPTS) + 1)
    ]


def test_who_comes_late_with_a_part_of_the_old_file_changes_nothing() -> None:
    mill, run, parts, name = collected()
    mill.bucket.write(name, in_reverse(mill.bucket.read(name)))
    for step in parts:
        mill.do(step)
    anew = written(mill, run)

    mill.drive(run)

    for step in [*parts, Step("collect", run, (0, 1))]:
        mill.do(step)
    assert written(mill, run) == anew
    assert anew.first == len(parts)


def test_output_that_went_away_is_not_taken_for_missing_answers_and_may_come_back() -> None:
    mill, run, parts, name = collected()
    data = mill.bucket.read(name)
    mill.bucket.delete(name)

    with pytest.raises(NotFound):
        mill.do(parts[0])
    mill.do(Step("collect", run, (0, 1)))
    assert written(mill, run).first == 0

    mill.bucket.write(name, data)
    assert mill.drive(run).succeeded == len(PROMPTS)
