"""Makes a run of the batches of a pool that were cut for it."""

from collections.abc import Iterator
from typing import Any

import msgspec
import xxhash

from promptmill.config import names
from promptmill.config.errors import MessageRefused
from promptmill.producers.contract.messages import Manifest, Pooled, compress, decode_manifest
from promptmill.producers.requests import schemas
from promptmill.producers.requests.encode import Line, encode_lines, is_key
from promptmill.workers.facts import records
from promptmill.workers.ports.google import Bucket
from promptmill.workers.steps.pool import Batch, Cut, decode, read

_encode = msgspec.json.Encoder().encode
_sorted = msgspec.msgpack.Encoder(order="sorted").encode


class Gathering:
    """One pass over the batches of a cut: its ``manifest``, its ``lines``, and afterwards what was found."""

    def __init__(self, bucket: Bucket, cut: Cut) -> None:
        self._bucket = bucket
        self._cut = cut
        self._first = read(bucket, names.batch(cut.pool, cut.options, cut.batches[0])).content[0]
        self._seen: dict[int, int] = {}
        self._later: list[dict[str, object]] = []
        self.keys: list[str] = []
        self.refused = 0
        template = decode_manifest(self._first.run)
        self.manifest: Manifest = msgspec.structs.replace(template, run=cut.run, created=cut.at, idempotent=True)

    def lines(self) -> Iterator[Line]:
        """Yield the encoded requests, those that were there before aside."""
        schema = schemas.of_run(self.manifest.response_schema, retry=self.manifest.retry_schema_invalid)
        return encode_lines(self._cut.run, self._prompts(), self._cut.max_request_bytes, schema.sent)

    def _prompts(self) -> Iterator[dict[str, object]]:
        for batch in self._batches():
            for pooled in batch.content:
                for prompt in self._prompts_of(pooled):
                    if self._is_new(prompt):
                        self.keys.append(str(prompt["key"]))
                        yield prompt

    def _prompts_of(self, pooled: Pooled) -> list[dict[str, Any]]:
        """Return what a call sent; what ``collect`` cannot have sent must not hold up what others did."""
        try:
            prompts = pooled.prompts()
        except MessageRefused:
            self.refused += pooled.requests
            return []
        usable = [prompt for prompt in prompts if is_key(prompt.get("key"))]
        self.refused += len(prompts) - len(usable)
        return usable

    def _is_new(self, prompt: dict[str, object]) -> bool:
        """Whether no request had this key; one that had it and was another has to wait for the next run."""
        content = xxhash.xxh3_64_intdigest(_sorted(prompt))
        key = xxhash.xxh3_64_intdigest(str(prompt["key"]).encode())
        if key not in self._seen:
            self._seen[key] = content
            return True
        if self._seen[key] != content:
            self._later.append(prompt)
        return False

    def _batches(self) -> Iterator[Batch]:
        """Read the batches in order."""
        cut = self._cut
        return map(decode, self._bucket.read_each(names.batch(cut.pool, cut.options, batch) for batch in cut.batches))

    def end(self) -> None:
        """Store what has to wait for the next run, as a batch that is named by this one; then this one is done."""
        if self._later:
            self._put_off()
        self._bucket.create(names.cut_done(self._cut.run), b"")

    def _put_off(self) -> None:
        kept: list[Pooled] = []
        for place, prompt in enumerate(self._later):
            line = _encode(prompt) + b"\n"
            kept.append(
                msgspec.structs.replace(
                    self._first, id=f"{self._cut.run}{place}", requests=1, size=len(line), data=compress(line)
                )
            )
        batch = Batch([], [msgspec.msgpack.encode(one) for one in kept])
        self._bucket.create(
            names.batch(self._cut.pool, self._cut.options, self._cut.run), msgspec.msgpack.encode(batch)
        )


def load(bucket: Bucket, run: str) -> Cut:
    """Return what a run is made of; raises NotFound."""
    return records.get(bucket, names.cut_of(run), Cut)


def is_done(bucket: Bucket, cut: Cut) -> bool:
    """Whether the run is whole, and what has to wait for the next one is stored."""
    name = names.cut_done(cut.run)
    if (bucket.url, name) not in _done and bucket.find(name) is not None:
        _done.add((bucket.url, name))
    return (bucket.url, name) in _done


_done: set[tuple[str, str]] = set()
"""The facts of this kind that this process has seen, of cuts whose batches are there."""


def clear(bucket: Bucket, cut: Cut) -> None:
    """Delete the batches of a run that is whole."""
    for batch in cut.batches:
        bucket.delete(names.batch(cut.pool, cut.options, batch))
    _done.discard((bucket.url, names.cut_done(cut.run)))
