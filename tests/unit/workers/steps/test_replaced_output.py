"""Output that is replaced while it is parsed: rows never mix generations."""

import pytest

from promptmill.config.errors import NotFound
from promptmill.workers.facts.records import Parts
from promptmill.workers.facts.step import Step
from support.fake_pipeline import FakePipeline

PROMPTS = [f"say {number}" for number in range(12)]


def collected() -> tuple[FakePipeline, str, list[Step], str]:
    """Return a run with output in several parts, the parts, and the name of the file."""
    pipeline = FakePipeline(part_bytes=400)
    run = pipeline.send(PROMPTS)
    while not all(step.task == "parse" for step in pipeline.due(run)):
        for step in pipeline.due(run):
            pipeline.do(step)
    parts = pipeline.due(run)
    assert len(parts) > 3
    (name,) = {piece.name for piece in written(pipeline, run).parts}
    return pipeline, run, parts, name


def written(pipeline: FakePipeline, run: str) -> Parts:
    return pipeline.folder(run).attempt(0, 1).parts.get()


def in_reverse(data: bytes) -> bytes:
    """Replace the lines, so that old ranges would read some twice and miss others."""
    return b"".join(reversed(data.splitlines(keepends=True)))


@pytest.mark.parametrize("before", range(5))
def test_replaced_output_leaves_every_row_once(before: int) -> None:
    pipeline, run, parts, name = collected()
    for step in parts[:before]:
        pipeline.do(step)
    pipeline.bucket.write(name, in_reverse(pipeline.bucket.read(name)))

    for step in parts[before:]:
        pipeline.do(step)
    report = pipeline.drive(run)

    assert (report.succeeded, report.duplicates, report.jobs) == (len(PROMPTS), 0, 1)
    assert [result.key for result in pipeline.results(run)] == [
        str(row) for row in range(1, len(PROMPTS) + 1)
    ]


def test_a_late_part_of_the_old_file_changes_nothing() -> None:
    pipeline, run, parts, name = collected()
    pipeline.bucket.write(name, in_reverse(pipeline.bucket.read(name)))
    for step in parts:
        pipeline.do(step)
    anew = written(pipeline, run)

    pipeline.drive(run)

    for step in [*parts, Step("collect", run, (0, 1))]:
        pipeline.do(step)
    assert written(pipeline, run) == anew
    assert anew.first == len(parts)


def test_output_that_disappears_may_come_back() -> None:
    pipeline, run, parts, name = collected()
    data = pipeline.bucket.read(name)
    pipeline.bucket.delete(name)

    with pytest.raises(NotFound):
        pipeline.do(parts[0])
    pipeline.do(Step("collect", run, (0, 1)))
    assert written(pipeline, run).first == 0

    pipeline.bucket.write(name, data)
    assert pipeline.drive(run).succeeded == len(PROMPTS)
