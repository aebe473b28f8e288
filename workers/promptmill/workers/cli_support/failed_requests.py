"""Reads the failed requests of a run from its chunks, so that they can be sent again."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from promptmill.config import names
from promptmill.config.errors import PromptmillError
from promptmill.config.settings import Settings
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.requests.encode import Prompt, split_wire_key
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Plan, ShardPlan
from promptmill.workers.facts.request_lines import lines
from promptmill.workers.output.effective_rows import shard_results
from promptmill.workers.ports.google import Bucket
from promptmill.workers.services import build


class Again(NamedTuple):
    """A run as opened, and its failed requests, as a producer takes them."""

    manifest: Manifest
    prompts: Iterator[Prompt]


def failed_requests(settings: Settings, run: str, only: Collection[str], config: Mapping[str, Any]) -> Again:
    """Return the failed requests of a run: the entry point of producers."""
    return find(build(settings).bucket, run, only, config)


def find(bucket: Bucket, run: str, only: Collection[str], config: Mapping[str, Any]) -> Again:
    """Return the failed requests of a run, or ``only`` those with these reasons, with ``config`` laid over their own.

    Rows that lint refused are left out: there is no request to send. Raises PromptmillError while the run is not done.
    """
    if bucket.find(names.report(run)) is None:
        raise PromptmillError(f"run {run} is not done; which requests have failed is known when it is")
    return Again(records.get(bucket, names.manifest(run), Manifest), _prompts(bucket, run, set(only), config))


def _prompts(bucket: Bucket, run: str, only: set[str], config: Mapping[str, Any]) -> Iterator[Prompt]:
    for index, rows in enumerate(records.get(bucket, names.plan(run), Plan).shards):
        failed = _failed(bucket, run, index, rows, only)
        if not failed:
            continue
        for line in lines(bucket, run, rows):
            if failed >> (line.row - rows.first_row) & 1 and not line.refused:
                yield prompt_of(line.data, config)


def _failed(bucket: Bucket, run: str, index: int, rows: ShardPlan, only: set[str]) -> int:
    """Return the bitmap of the rows of a shard that ended as failures, for one of these reasons if there are any."""
    failed = 0
    for result in shard_results(bucket, run, index, rows.first_row):
        if not result.succeeded and (not only or (result.error and result.error.reason in only)):
            failed |= 1 << (result.row - rows.first_row)
    return failed


class _Wire(msgspec.Struct):
    key: str
    request: dict[str, Any]
    metadata: str = ""


_decode = msgspec.json.Decoder(_Wire).decode


def prompt_of(line: bytes, config: Mapping[str, Any]) -> Prompt:
    """Return a wire line as the row that it was made of, with ``config`` laid over its generationConfig."""
    wire = _decode(line)
    parts = split_wire_key(wire.key)
    request = dict(wire.request)
    if config:
        where = "generation_config" if "generation_config" in request else "generationConfig"
        request[where] = {**(request.get(where) or {}), **config}
    row: dict[str, Any] = {"key": parts.key if parts else wire.key, "request": request}
    return row | {"metadata": msgspec.json.decode(wire.metadata)} if wire.metadata else row
