"""Turns the batches of a pool that a cut lists into a run."""

from collections.abc import Iterator

import msgspec
import xxhash

from promptmill.config import names
from promptmill.config.errors import MessageRefused
from promptmill.producers.contract.messages import (
    Manifest,
    PooledCall,
    compress_lines,
    decode_manifest,
)
from promptmill.producers.requests import schemas
from promptmill.producers.requests.embedding_requests import choose_form
from promptmill.producers.requests.encode import encode_lines, is_valid_key
from promptmill.producers.requests.request_line import RequestLine
from promptmill.workers.facts.records import Cut
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.ports.google import Bucket
from promptmill.workers.steps.pool import Batch, decode_batch, read_batch

_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.msgpack.Encoder(order="sorted").encode


class CutReader:
    """Reads the batches of a cut once.

    ``manifest`` is the run's manifest, and ``read_requests`` yields its requests. After
    that, ``keys`` has their keys, and ``refused_count`` counts unusable prompts.
    """

    def __init__(self, bucket: Bucket, cut: Cut) -> None:
        self._bucket = bucket
        self._cut = cut
        self._first_call = read_batch(
            bucket, names.batch(cut.pool, cut.options, cut.batches[0])
        ).unique_calls[0]
        self._content_by_key: dict[int, int] = {}
        self._deferred: list[dict[str, object]] = []
        self.keys: list[str] = []
        self.refused_count = 0
        template = decode_manifest(self._first_call.run)
        self.manifest: Manifest = msgspec.structs.replace(
            template, run=cut.run, created=cut.at, idempotent=True
        )

    def read_requests(self) -> Iterator[RequestLine]:
        """Yield the encoded requests, without repeated ones."""
        manifest, cut = self.manifest, self._cut
        schema = schemas.resolve_schema(
            manifest.response_schema, retry=manifest.retry_schema_invalid
        )
        limit, form = cut.max_request_bytes, choose_form(manifest)
        return encode_lines(cut.run, self._read_prompts(), limit, schema.encoded, form=form)

    def _read_prompts(self) -> Iterator[dict[str, object]]:
        for batch in self._read_batches():
            for pooled in batch.unique_calls:
                for prompt in self._decode_prompts(pooled):
                    if self._is_new(prompt):
                        self.keys.append(str(prompt["key"]))
                        yield prompt

    def _decode_prompts(self, pooled: PooledCall) -> list[dict[str, object]]:
        """Return the usable prompts of a call.

        Others are counted and skipped, so that they do not block the prompts of other calls.
        """
        try:
            prompts = pooled.decode_prompts()
        except MessageRefused:
            self.refused_count += pooled.requests
            return []
        usable = [prompt for prompt in prompts if is_valid_key(prompt.get("key"))]
        self.refused_count += len(prompts) - len(usable)
        return usable

    def _is_new(self, prompt: dict[str, object]) -> bool:
        """Return whether the key is new.

        A different request with a used key is deferred to the next run.
        """
        content = xxhash.xxh3_64_intdigest(_encode_sorted(prompt))
        key = xxhash.xxh3_64_intdigest(str(prompt["key"]).encode())
        if key not in self._content_by_key:
            self._content_by_key[key] = content
            return True
        if self._content_by_key[key] != content:
            self._deferred.append(prompt)
        return False

    def _read_batches(self) -> Iterator[Batch]:
        """Read the batches in order."""
        cut = self._cut
        batch_names = (names.batch(cut.pool, cut.options, batch) for batch in cut.batches)
        return map(decode_batch, self._bucket.read_each(batch_names))

    def mark_done(self) -> None:
        """Store the deferred requests as a batch of the pool, then mark the cut as done."""
        if self._deferred:
            self._store_deferred()
        self._bucket.create(RunFolder(self._bucket, self._cut.run).cut_done, b"")

    # The batch is named after this run, so that it is written once.
    def _store_deferred(self) -> None:
        calls = [self._make_call(*deferred) for deferred in enumerate(self._deferred)]
        batch = Batch([], [msgspec.msgpack.encode(call) for call in calls])
        name = names.batch(self._cut.pool, self._cut.options, self._cut.run)
        self._bucket.create(name, msgspec.msgpack.encode(batch))

    def _make_call(self, position: int, prompt: dict[str, object]) -> PooledCall:
        line = _encode(prompt) + b"\n"
        return msgspec.structs.replace(
            self._first_call,
            id=f"{self._cut.run}{position}",
            requests=1,
            size=len(line),
            data=compress_lines(line),
        )


def load_cut(bucket: Bucket, run: str) -> Cut:
    """Return the cut of a run; raises NotFound."""
    return RunFolder(bucket, run).cut.get()


def is_done(bucket: Bucket, cut: Cut) -> bool:
    """Return whether the run is complete and its deferred requests are stored."""
    name = RunFolder(bucket, cut.run).cut_done
    if (bucket.url, name) not in _done_cuts and bucket.find(name) is not None:
        _done_cuts.add((bucket.url, name))
    return (bucket.url, name) in _done_cuts


_done_cuts: set[tuple[str, str]] = set()
"""Cache of done cuts, as (bucket URL, object name), until their batches are deleted."""


def delete_batches(bucket: Bucket, cut: Cut) -> None:
    """Delete the batches of a complete run."""
    for batch in cut.batches:
        bucket.delete(names.batch(cut.pool, cut.options, batch))
    _done_cuts.discard((bucket.url, RunFolder(bucket, cut.run).cut_done))
