"""Prompts that are added one at a time are held, refused and sent as those of ``submit``."""

from typing import Any, cast

import pytest

from promptmill.config.errors import EmptyRun, InvalidRequest
from promptmill.producers.contract.messages import Chunk
from support.recording_mill import RecordingSender, open_mill


def refused_rows(sender: RecordingSender) -> list[int]:
    chunks = [cast("Chunk", cast("Any", message)[1]) for message in sender.sent]
    return [row for chunk in chunks for row in chunk.refused]


def test_a_number_waits_for_a_text_and_the_run_is_whole() -> None:
    mill, _, sender = open_mill()
    refused: list[int] = []

    with mill.stream(on_refused=lambda line: refused.append(line.row)) as stream:
        stream.add("42", key="a")
        stream.add("17")
        stream.add("a text")

    ((_, chunk, seal),) = cast("Any", sender.sent)
    assert (chunk.requests, chunk.refused, refused) == (3, [], [])
    assert seal is not None


def test_the_end_of_the_block_refuses_what_is_still_held() -> None:
    mill, _, sender = open_mill()
    refused: list[int] = []

    with mill.stream(on_refused=lambda line: refused.append(line.row)) as stream:
        stream.add({"request": {"contents": [{"parts": [{"text": "a"}]}], "labels": {"n1": "7"}}})
        stream.add("a text")

    assert refused == refused_rows(sender) == [1]


def test_a_strict_stream_ends_with_the_row_that_was_held() -> None:
    mill, _, sender = open_mill()

    with (
        pytest.raises(InvalidRequest, match=r"^row 1 .*request\.contents\[\]\.parts\[\]\.text"),
        mill.stream(strict=True) as stream,
    ):
        stream.add("42")

    assert sender.sent == []


def test_a_stream_of_numbers_alone_sends_nothing() -> None:
    mill, _, sender = open_mill()

    with (
        pytest.raises(EmptyRun, match=r"row 1: .*add a word to the prompt"),
        mill.stream() as stream,
    ):
        stream.add("42")
        stream.add("17")

    assert sender.sent == []


def test_a_pool_takes_a_number_because_its_run_may_have_a_text() -> None:
    mill, _, sender = open_mill()

    mill.enqueue("42", pool="tickets")

    assert len(sender.sent) == 1
