"""The contract between producers and workers."""

from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from promptmill.config import names
from promptmill.config.errors import MessageRefused
from promptmill.producers.contract.messages import (
    CHUNK_VERSION,
    MAX_CHUNK_BYTES,
    VERSION,
    Chunk,
    ChunkSize,
    Ingest,
    Manifest,
    Seal,
    SinkSpec,
    compress_lines,
    decode_chunk,
    decode_ingest,
    encode_message,
)

TEXT = st.text(max_size=20)
RUNS = st.from_regex(names.RUN_ID, fullmatch=True)
MANIFESTS = st.builds(
    Manifest, run=RUNS, model=TEXT, created=st.floats(0, 2e9), name=TEXT, idempotent=st.booleans(),
    labels=st.dictionaries(TEXT, TEXT, max_size=2), sinks=st.lists(st.builds(SinkSpec, kind=TEXT, url=TEXT), max_size=2),
)  # fmt: skip
SEALS = st.none() | st.builds(
    Seal, st.lists(st.builds(ChunkSize, st.integers(0, 9), st.integers(0, 9)), max_size=4)
)


def chunk(lines: bytes = b"{}\n{}\n", **fields: Any) -> Chunk:
    made = Chunk(0, 1, lines.count(b"\n"), len(lines), b"", compress_lines(lines))
    return msgspec.structs.replace(made, **fields)


@given(MANIFESTS, st.binary(max_size=50), SEALS)
def test_a_message_comes_out_as_it_went_in(
    manifest: Manifest, data: bytes, seal: Seal | None
) -> None:
    message = Ingest(manifest, data, seal)

    assert decode_ingest(encode_message(message)) == message


@given(
    st.lists(st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"") + b"\n"), max_size=20)
)
def test_a_chunk_comes_out_as_it_went_in(held: list[bytes]) -> None:
    lines = b"".join(held)

    assert decode_chunk(encode_message(chunk(lines))).decompress_lines() == lines


@given(st.binary(max_size=60))
def test_what_is_no_message_is_refused(data: bytes) -> None:
    for decode in (decode_ingest, decode_chunk):
        try:
            decode(data)
        except MessageRefused as refusal:
            assert str(refusal).startswith(("the message is not a valid ", "a "))


@given(st.data())
def test_a_message_that_was_cut_is_refused(data: st.DataObject) -> None:
    whole = encode_message(
        Ingest(Manifest("r", "m", 1.0), encode_message(chunk()), Seal([ChunkSize(2, 6)]))
    )
    cut = data.draw(st.integers(0, len(whole) - 1))

    with pytest.raises(MessageRefused):
        decode_ingest(whole[:cut])


def test_a_field_that_a_newer_producer_added_is_passed_over() -> None:
    fields = msgspec.to_builtins(chunk(), builtin_types=(bytes,)) | {"colour": "blue"}

    assert decode_chunk(msgspec.msgpack.encode(fields)) == chunk()


def test_a_message_of_a_newer_version_is_refused() -> None:
    with pytest.raises(MessageRefused, match=f"newer than {CHUNK_VERSION}"):
        decode_chunk(encode_message(chunk(v=CHUNK_VERSION + 1)))
    with pytest.raises(MessageRefused, match="ingest message has a version newer"):
        decode_ingest(encode_message(Ingest(Manifest("r", "m", 1.0), b"", None, VERSION + 1)))


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(MessageRefused):
        decode_ingest(b"\x81\xa1x" + b"\x91" * 100_000)


BOMB = zstandard.compress(b"\n" * (64 << 20))
LIES: list[tuple[str, Chunk]] = [
    ("smaller than it says", chunk(size=7)),
    ("larger than it says", chunk(size=5)),
    ("more rows than it says", chunk(requests=1)),
    ("a negative size", chunk(size=-1)),
    ("too large", chunk(size=MAX_CHUNK_BYTES + 1)),
    ("a bomb", chunk(data=BOMB, size=64 << 20, requests=64 << 20)),
    ("a bomb that lies", chunk(data=BOMB)),
    (
        "a bomb that does not tell",
        chunk(data=zstandard.ZstdCompressor(write_content_size=False).compress(b"\n" * (8 << 20))),
    ),
    ("not compressed", chunk(data=b"{}\n{}\n")),
    ("empty data", chunk(data=b"")),
    ("something after its end", chunk(data=compress_lines(b"{}\n{}\n") + b"more")),
    ("cut", chunk(data=compress_lines(b"{}\n{}\n")[:-2])),
]


@pytest.mark.parametrize("lie", [row[1] for row in LIES], ids=[row[0] for row in LIES])
def test_a_chunk_that_is_not_what_it_says_is_refused(lie: Chunk) -> None:
    with pytest.raises(MessageRefused, match=r"^chunk 0 "):
        decode_chunk(encode_message(lie)).decompress_lines()


def test_a_seal_adds_up_its_requests() -> None:
    assert Seal([ChunkSize(2, 10), ChunkSize(3, 10)]).total_requests == 5


def test_a_run_is_the_same_content_whenever_it_was_opened() -> None:
    assert (
        Manifest("r", "m", 1.0).comparable_content() == Manifest("r", "m", 2.0).comparable_content()
    )
    assert (
        Manifest("r", "m", 1.0).comparable_content()
        != Manifest("r", "other", 1.0).comparable_content()
    )
