"""Reads the failed requests of a run from its chunks, so that a producer can resend them."""

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import msgspec

from promptmill.config.errors import PromptmillError
from promptmill.config.settings import Settings
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.requests.encode import Prompt, split_wire_key
from promptmill.workers.facts.records import ShardPlan
from promptmill.workers.facts.request_lines import read_lines
from promptmill.workers.facts.row_set import RowSet
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.output.effective_rows import shard_results
from promptmill.workers.services import build_services


class FailedRequests(NamedTuple):
    """The manifest of a run, and its failed requests as prompts."""

    manifest: Manifest
    prompts: Iterator[Prompt]


def failed_requests(
    settings: Settings, run: str, only: Collection[str], config: Mapping[str, object]
) -> FailedRequests:
    """Return the failed requests of a run: the entry point ``failed_requests``."""
    return find_failed(build_services(settings).run_folder(run), only, config)


def find_failed(
    run: RunFolder, only: Collection[str], config: Mapping[str, object]
) -> FailedRequests:
    """Return the failed requests of a run; raises PromptmillError if it is not done.

    ``only`` selects failure reasons; empty means all. ``config`` overrides fields of each
    request's generationConfig. Refused rows are omitted: they have no request.
    """
    if not run.report.exists():
        raise PromptmillError(
            f"run {run.id} is not done, so its failed requests are not known yet; "
            f"wait for it with promptmill wait {run.id}"
        )
    return FailedRequests(run.manifest.get(), _failed_prompts(run, set(only), config))


def _failed_prompts(
    run: RunFolder, only: set[str], config: Mapping[str, object]
) -> Iterator[Prompt]:
    for shard, rows in enumerate(run.plan.get().shards):
        failed = _failed_rows(run, shard, rows, only)
        if not failed:
            continue
        for line in read_lines(run, rows):
            if line.row - rows.first_row in failed and not line.refused:
                yield prompt_of(line.data, config)


def _failed_rows(run: RunFolder, shard: int, rows: ShardPlan, only: set[str]) -> RowSet:
    """Return the failed rows of a shard; ``only`` selects reasons, and empty means all."""
    return RowSet.of(
        result.row - rows.first_row
        for result in shard_results(run, shard, rows.first_row)
        if not result.succeeded and (not only or (result.error and result.error.reason in only))
    )


class _WireLine(msgspec.Struct):
    key: str
    request: dict[str, object]
    metadata: str = ""


_decode_line = msgspec.json.Decoder(_WireLine).decode


def prompt_of(line: bytes, config: Mapping[str, object]) -> Prompt:
    """Return the prompt of a request line; ``config`` overrides its generationConfig."""
    wire = _decode_line(line)
    parts = split_wire_key(wire.key)
    request = dict(wire.request)
    if config:
        config_key = "generation_config" if "generation_config" in request else "generationConfig"
        own_config = request.get(config_key)
        request[config_key] = {**(own_config if isinstance(own_config, dict) else {}), **config}
    row: dict[str, object] = {"key": parts.key if parts else wire.key, "request": request}
    return row | {"metadata": msgspec.json.decode(wire.metadata)} if wire.metadata else row
