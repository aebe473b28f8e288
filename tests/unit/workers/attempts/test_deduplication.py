"""Identical requests are asked once in a shard, and each of their keys has the answer."""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from promptmill.cli.run_views import render_status
from promptmill.producers.contract.messages import DEDUPLICATED_CHUNK_VERSION, VERSION, decode_chunk
from promptmill.producers.requests.deduplication import RequestDeduplicator
from promptmill.producers.requests.encode import encode_lines, extract_request
from promptmill.producers.requests.request_line import RequestLine
from promptmill.workers.attempts import deduplication
from promptmill.workers.coordination import progress
from promptmill.workers.facts import snapshot
from promptmill.workers.facts.row_lists import DeduplicatedRows
from promptmill.workers.facts.row_set import RowSet
from promptmill.workers.fakes import Script
from support.fake_pipeline import RUN, FakePipeline
from support.fake_worker import FakeWorker

ROWS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), min_size=1, max_size=60)


def prompts(rows: list[tuple[int, int]]) -> list[Any]:
    """Prompts of which many ask the same: as text, as a row with metadata, and some that cannot be sent."""
    shapes: list[Callable[[int, str], Any]] = [
        lambda row, text: text,
        lambda row, text: {"key": f"k{row}", "metadata": {"row": row}, "prompt": text},
        lambda row, text: {"request": {"contents": [{"role": "user", "parts": [{"text": text}]}]}},
    ]
    return [
        shapes[shape](row, f"say {text}" if text else "")
        for row, (text, shape) in enumerate(rows, 1)
    ]


def some(rng: random.Random) -> frozenset[int]:
    return frozenset(rng.sample(range(20), rng.choice((0, 4))))


def asked(pipeline: FakePipeline, shard: int, attempt: int) -> list[bytes]:
    return pipeline.bucket.read(pipeline.folder().attempt(shard, attempt).input_file).splitlines()


@settings(max_examples=60)
@given(ROWS, st.integers(1, 20), st.integers(0, 2**32), st.integers(1, 3), st.booleans())
def test_every_key_has_one_result_and_no_job_is_asked_the_same_twice(
    rows: list[tuple[int, int]], max_requests: int, seed: int, max_attempts: int, keys: bool
) -> None:
    rng = random.Random(seed)
    script = Script(
        seed=seed,
        missing=some(rng),
        duplicated=some(rng),
        unkeyed=frozenset() if keys else some(rng),
    )
    pipeline = FakePipeline(
        script=script,
        max_requests=max_requests,
        max_attempts=max_attempts,
        chunk_bytes=400,
        part_bytes=900,
    )
    sent = prompts(rows)

    report = pipeline.drive(pipeline.send(sent, order=rng), order=rng)

    found = pipeline.results(RUN)
    plan = pipeline.folder().plan.get()
    assert [result.row for result in found] == list(range(1, len(sent) + 1))
    assert [result.key for result in found] == [
        prompt.get("key", str(row)) if isinstance(prompt, dict) else str(row)
        for row, prompt in enumerate(sent, 1)
    ]
    assert all(
        (result.metadata == {"row": result.row}) == result.key.startswith("k") for result in found
    )
    told: dict[tuple[int, int], set[Any]] = {}
    for index, shard in enumerate(plan.shards):
        for row in range(shard.first_row, shard.first_row + shard.requests):
            result = found[row - 1]
            told.setdefault((index, rows[row - 1][0]), set()).add(
                (result.state, result.text, result.attempt)
            )
    assert all(len(answers) == 1 for answers in told.values())
    for request in pipeline.jobs.requests:
        lines = pipeline.bucket.read(
            request.input_uri.removeprefix(pipeline.bucket.url + "/")
        ).splitlines()
        assert len({extract_request(line) for line in lines}) == len(lines)
    assert report.unaccounted == 0
    assert report.requests == report.succeeded + report.failed == len(sent)
    possible = [row for row in rows if row[0]]
    assert report.deduplicated == len(possible) - len({key for key in told if key[1]})
    assert report.tokens.get("totalTokenCount", 0) >= sum(
        result.usage.get("totalTokenCount", 0) for result in found
    )


def test_the_tokens_of_an_answer_are_counted_once() -> None:
    once, each = FakePipeline(), FakePipeline(repeat_identical=True)

    reports = [pipeline.drive(pipeline.send(["say hello"] * 5)) for pipeline in (once, each)]

    assert [report.succeeded for report in reports] == [5, 5]
    assert reports[1].tokens == {kind: 5 * count for kind, count in reports[0].tokens.items()}
    assert [report.deduplicated for report in reports] == [4, 0]
    assert [bool(result.usage) for result in once.results(RUN)] == [
        True,
        False,
        False,
        False,
        False,
    ]


def test_copies_are_put_off_with_the_row_that_was_asked_and_asked_by_one_again() -> None:
    pipeline = FakePipeline(script=Script(missing=frozenset(range(9))), max_attempts=2)
    run = pipeline.send(["say a", "say b", "say a", "say a"])
    while not pipeline.folder().attempt(0, 1).settled.exists():
        for step in pipeline.due(run):
            pipeline.do(step)
    pipeline.jobs.script = Script()

    report = pipeline.drive(run)

    assert [len(asked(pipeline, 0, attempt)) for attempt in (1, 2)] == [2, 2]
    assert pipeline.folder().attempt(0, 1).settled.get().retried == 4
    assert (report.succeeded, report.deduplicated) == (4, 2)
    assert {result.attempt for result in pipeline.results(RUN)} == {2}


def test_a_cut_off_answer_is_asked_again_with_more_tokens_once_for_all_who_have_it() -> None:
    def answer(request: dict[str, Any]) -> Any:
        if request.get("generationConfig", {}).get("maxOutputTokens") == 900:
            return "whole"
        return {
            "candidates": [{"content": {"parts": [{"text": "cu"}]}, "finishReason": "MAX_TOKENS"}]
        }

    pipeline = FakePipeline(max_attempts=2, retry_max_tokens=900)
    pipeline.jobs._answer = answer
    report = pipeline.drive(pipeline.send(["say a"] * 3))

    assert [len(asked(pipeline, 0, attempt)) for attempt in (1, 2)] == [1, 1]
    assert [result.text for result in pipeline.results(RUN)] == ["whole"] * 3
    assert report.deduplicated == 2


def test_the_same_request_in_another_shard_is_asked_there_too() -> None:
    pipeline = FakePipeline(max_requests=2, chunk_bytes=10)

    report = pipeline.drive(pipeline.send(["say a"] * 4))

    assert [len(asked(pipeline, shard, 1)) for shard in (0, 1)] == [1, 1]
    assert report.deduplicated == 2


def test_requests_differ_by_anything_but_key_and_metadata() -> None:
    sent = [
        {
            "request": {
                "contents": [{"role": "user", "parts": [{"text": "a"}]}],
                "generationConfig": {"temperature": heat},
            }
        }
        for heat in (0, 1, 0)
    ]
    pipeline = FakePipeline()

    pipeline.drive(pipeline.send(sent))

    assert pipeline.folder().attempt(0, 1).deduplicated.get() == DeduplicatedRows([2], [0])
    assert pipeline.folder().attempt(0, 1).input.get().deduplicated == 1


def test_a_request_ends_where_no_key_or_metadata_can_reach() -> None:
    strange = ',"request":{"contents":[]}'
    lines = list(
        encode_lines(
            "r",
            [{"key": strange, "metadata": {strange: strange}, "prompt": "a"}, "a", strange],
            1 << 20,
        )
    )

    assert (
        extract_request(lines[0].data)
        == extract_request(lines[1].data)
        != extract_request(lines[2].data)
    )


def test_only_a_chunk_with_copies_is_left_to_workers_that_know_of_them() -> None:
    pipeline = FakePipeline(chunk_bytes=10)

    pipeline.send(["a", "b", "a"])

    chunks = [
        decode_chunk(pipeline.bucket.read(pipeline.folder().chunk(index))) for index in range(3)
    ]
    assert [(chunk.v, chunk.deduplicated) for chunk in chunks] == [
        (VERSION, 0),
        (VERSION, 0),
        (DEDUPLICATED_CHUNK_VERSION, 1),
    ]


@given(st.lists(st.integers(0, 2000), max_size=500), st.booleans())
def test_a_request_that_occurred_before_is_marked(texts: list[int], many: bool) -> None:
    texts = texts * 20 if many else texts
    lines = [
        RequestLine(row, str(row), b'{"key":"r-%d","request":%d}\n' % (row, text))
        for row, text in enumerate(texts, 1)
    ]

    marked = list(map(RequestDeduplicator().mark_repeat, lines))

    seen: Counter[int] = Counter()
    for line, text in zip(marked, texts, strict=True):
        assert line.is_repeat == bool(seen[text])
        seen[text] += 1


def test_many_requests_are_held_in_a_table_that_grows() -> None:
    lines = [
        RequestLine(row, "", b'{"key":"","request":%d}' % (row % 30_000)) for row in range(60_000)
    ]

    assert [line.is_repeat for line in map(RequestDeduplicator().mark_repeat, lines)] == [
        False
    ] * 30_000 + [True] * 30_000


@given(
    st.dictionaries(st.integers(0, 300), st.integers(0, 300), max_size=40),
    st.sets(st.integers(0, 310)),
)
def test_copies_follow_their_first_row(pairs: dict[int, int], rows: set[int]) -> None:
    found = DeduplicatedRows(list(pairs), list(pairs.values()))

    along = found.expand_rows(RowSet.of(rows))
    left = found.without_rows(RowSet.of(rows))

    assert set(along) == rows | {p for p, first in pairs.items() if first in rows}
    assert dict(zip(left.rows, left.firsts, strict=True)) == {
        p: f for p, f in pairs.items() if p not in rows
    }
    assert found.row_set == RowSet.of(pairs)


def test_a_request_of_whose_hash_half_is_that_of_another_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        deduplication, "request_digest", lambda line: b"the same" + extract_request(line)[-8:]
    )
    pipeline = FakePipeline()

    pipeline.drive(pipeline.send(["say a", "say b", "say a", "say b"]))

    assert len(asked(pipeline, 0, 1)) == 3
    assert [result.text[-1] for result in pipeline.results(RUN)] == ["a", "b", "a", "b"]


def test_people_are_told_how_many_rows_have_the_answer_of_another(
    capsys: pytest.CaptureFixture[str],
) -> None:
    worker = FakeWorker(FakePipeline())
    run = worker.pipeline.send(["say a", "say b", "say a"])
    worker.pipeline.drive(run)

    progress.restore_run(
        worker.services.index,
        worker.pipeline.bucket,
        snapshot.load_snapshot(worker.pipeline.bucket, run),
    )

    assert (worker.status.requests, worker.status.succeeded, worker.status.deduplicated) == (
        3,
        3,
        1,
    )
    Console().print(render_status(worker.status))
    assert "deduplicated 1 share the answer of an identical request" in capsys.readouterr().out


def test_many_answers_are_kept_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deduplication, "_MAX_MEMORY_BYTES", 10)
    pipeline = FakePipeline()

    pipeline.drive(pipeline.send(["say a", "say b", "say a", "say b", "say a"]))

    assert [result.text[-1] for result in pipeline.results(RUN)] == ["a", "b", "a", "b", "a"]
    assert msgspec.json.decode(
        pipeline.bucket.read(pipeline.folder().attempt(0, 1).deduplicated.name)
    ) == {
        "places": [2, 3, 4],
        "firsts": [0, 1, 0],
    }


def test_an_answer_for_a_row_that_was_left_out_is_none() -> None:
    pipeline = FakePipeline()
    run = pipeline.send(["say a", "say a"])
    while not pipeline.folder().attempt(0, 1).ended.exists():
        for step in pipeline.due(run):
            pipeline.do(step)
    output = next(
        stored.name
        for stored in pipeline.bucket.list(pipeline.folder().attempt(0, 1).output_folder)
    )
    line = pipeline.bucket.read(output)
    pipeline.bucket.write(
        output, line.replace(b"-1-1", b"-2-2").replace(b"You said", b"Nobody said") + line
    )

    report = pipeline.drive(run)

    assert report.unknown == 1
    assert [result.text for result in pipeline.results(RUN)] == ["You said: say a"] * 2
