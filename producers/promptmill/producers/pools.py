"""Pools: single prompts from many processes, combined into runs.

Prompts wait in a Redis stream. A worker reads thousands at once and stores them as one
object.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import xxhash

from promptmill.config import names
from promptmill.config.errors import ConfigurationError, InvalidRequest, RunNotFound
from promptmill.producers.contract.connection import KEY_PREFIX, Connection
from promptmill.producers.contract.ids import new_id
from promptmill.producers.contract.messages import (
    Manifest,
    PooledCall,
    compress_lines,
    encode_message,
)
from promptmill.producers.model_choice import open_checks
from promptmill.producers.requests.embedding_requests import choose_form
from promptmill.producers.requests.encode import Prompt, RefusedRow, RequestEncoder, stringify_key

if TYPE_CHECKING:
    from promptmill.config.settings import Settings
    from promptmill.producers.contract.run_index import RunIndex

STREAM_KEY = KEY_PREFIX + "collected:v1"
"""Key of the stream. Another message version needs another stream."""
_WAKEUP_KEY = KEY_PREFIX + "pooling"
_WAKEUP_MILLISECONDS = 10_000
"""Milliseconds after which a worker is woken again."""
_REPEAT_SECONDS = 3600
"""Seconds in which the same prompts, keys and options count as one repeated call."""
_BATCH_SIZE = 16
MAX_CALL_BYTES = 16 << 20
"""Maximum size of the prompts of one call. Submit more as a run."""

_CALL_USAGE = (
    "enqueue takes one prompt, optionally with a key, or several prompts with their own keys"
)
_encode_prompt = msgspec.json.Encoder().encode
_encode_sorted = msgspec.msgpack.Encoder(order="sorted").encode


class WaitingCall(NamedTuple):
    """The encoded call and its id in the stream."""

    stream_id: bytes
    data: bytes


class PoolQueue:
    """The calls that wait in Redis. Every method raises Transient if Redis is
    unavailable.
    """

    def __init__(self, connection: Connection) -> None:
        self._use_client = connection.use_client

    def add_call(self, data: bytes, content_hash: str) -> bool:
        """Add a call, unless ``content_hash`` was added recently.

        Return whether a worker must be woken.
        """
        script = """
            if redis.call('set', KEYS[2], 1, 'nx', 'ex', ARGV[2]) then
                redis.call('xadd', KEYS[1], '*', 'm', ARGV[1])
            end
            return redis.call('set', KEYS[3], 1, 'nx', 'px', ARGV[3]) and 1 or 0
        """
        keys = STREAM_KEY, f"{KEY_PREFIX}called:{content_hash}", _WAKEUP_KEY
        with self._use_client() as r:
            return bool(r.eval(script, 3, *keys, data, _REPEAT_SECONDS, _WAKEUP_MILLISECONDS))

    def reset_wakeup(self) -> None:
        """Let the next call wake a worker again. Use it before reading calls."""
        with self._use_client() as r:
            r.delete(_WAKEUP_KEY)

    def count_calls(self) -> int:
        """Return the number of waiting calls."""
        with self._use_client() as r:
            return int(r.xlen(STREAM_KEY))

    def memory_size(self) -> int:
        """Return the approximate size of the stream in bytes."""
        with self._use_client() as r:
            return int(r.memory_usage(STREAM_KEY, samples=5) or 0)

    def iter_calls(self) -> Iterator[WaitingCall]:
        """Yield the waiting calls, oldest first."""
        start = b"-"
        while True:
            with self._use_client() as r:
                entries = r.xrange(STREAM_KEY, min=start, count=_BATCH_SIZE)
            yield from (
                WaitingCall(stream_id, fields.get(b"m", b"")) for stream_id, fields in entries
            )
            if len(entries) < _BATCH_SIZE:
                return
            start = b"(" + entries[-1][0]

    def remove_calls(self, stream_ids: Sequence[bytes]) -> None:
        """Remove calls that are stored."""
        with self._use_client() as r:
            r.xdel(STREAM_KEY, *stream_ids)


def open_pool_queue(settings: "Settings") -> PoolQueue:
    """Return the queue of calls on the broker."""
    return PoolQueue(Connection(settings.broker_url.get_secret_value(), binary=True))


class Ticket(NamedTuple):
    """The receipt of one ``Promptmill.enqueue`` call; see ``Promptmill.find_pooled``."""

    pool: str
    """Name of the pool."""
    keys: tuple[str, ...]
    """Keys of the prompts, in order. Missing keys have been generated."""

    @property
    def key(self) -> str:
        """The key of the first prompt."""
        return self.keys[0]


def pack_call(
    settings: "Settings",
    template: Manifest,
    pool: str,
    prompts: Sequence[Mapping[str, object]],
    schema: bytes,
) -> PooledCall:
    """Return the message of one call. Every prompt must have a key.

    Raises InvalidRequest for an invalid prompt or a duplicate key.
    """
    checks = open_checks(settings, template.model, template.keep)
    limit, form = settings.max_request_bytes, choose_form(template, checks)
    encoder = RequestEncoder("pool", limit, schema, checks, form)
    for line in map(encoder.encode_row, prompts):  # held lines are decided in the whole run
        if line.refusal:
            raise InvalidRequest(line.refusal, row=line.row, key=line.key)
    if len({prompt["key"] for prompt in prompts}) < len(prompts):
        raise InvalidRequest("two prompts of one call have the same key; give each its own key")
    lines = b"".join(_encode_prompt(prompt) + b"\n" for prompt in prompts)
    if len(lines) > MAX_CALL_BYTES:
        raise InvalidRequest(
            f"the prompts take {len(lines):,} bytes, the maximum is {MAX_CALL_BYTES:,}; "
            "submit them as a run"
        )
    return PooledCall(
        new_id(), pool, _encode_sorted(template), len(prompts), len(lines), compress_lines(lines)
    )


def hash_content(pooled: PooledCall) -> str:
    """Return a hash of a call. A repeated call has the same hash."""
    return xxhash.xxh3_128_hexdigest(encode_message(msgspec.structs.replace(pooled, id="")))


def assign_keys(prompts: Prompt | Sequence[Prompt], key: str | None) -> list[dict[str, object]]:
    """Return the prompts of one call, with generated keys where they have none.

    Raises ConfigurationError without prompts, and for one ``key`` of several prompts.
    """
    prompt_list = [prompts] if isinstance(prompts, str | Mapping | RefusedRow) else list(prompts)
    if not prompt_list or (key is not None and len(prompt_list) > 1):
        raise ConfigurationError(_CALL_USAGE)
    base_key = new_id()
    return [
        with_key(prompt, key, f"{base_key}-{position}" if position else base_key)
        for position, prompt in enumerate(prompt_list)
    ]


def with_key(prompt: Prompt, key: str | None, default_key: str) -> dict[str, object]:
    """Return a prompt with ``key``, its own key or ``default_key``; raises InvalidRequest."""
    if isinstance(prompt, RefusedRow):
        raise InvalidRequest(prompt.refusal, key=prompt.key)
    if not isinstance(prompt, str | Mapping):
        raise InvalidRequest(f"a prompt must be a string or a mapping, not {type(prompt).__name__}")
    prompt_fields = {"prompt": prompt} if isinstance(prompt, str) else dict(prompt)
    if key is not None and prompt_fields.get("key", key) != key:
        raise InvalidRequest("the prompt already has another key", key=key)
    return prompt_fields | {
        "key": stringify_key(
            key
            if key is not None
            else prompt_fields.get("key", prompt_fields.get("id", default_key))
        )
    }


def check_pool_name(pool: str) -> None:
    """Raise ConfigurationError for an invalid pool name."""
    try:
        names.check_pool(pool)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def find_run_id(index: "RunIndex", pool: str, key: str) -> str:
    """Return the id of the run with this key of a pool.

    Raises RunNotFound if there is none yet, or after two days. Raises
    ConfigurationError for an invalid pool name.
    """
    check_pool_name(pool)
    run = index.find_pooled_run(pool, key)
    if run is None:
        raise RunNotFound(f"no run of pool {pool!r} has a request with key {key!r} yet")
    return run
