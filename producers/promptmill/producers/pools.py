"""Pools: single prompts from many processes, which wait in Redis for a worker that stores them, and make runs together.

A stream of Redis carries them, not a message each: a worker takes thousands at once, and writes one object of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

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
from promptmill.producers.requests.encode import Prompt, RefusedRow, encode_lines, stringify_key

if TYPE_CHECKING:
    from promptmill.config.settings import Settings
    from promptmill.producers.contract.run_index import RunIndex

STREAM_KEY = KEY_PREFIX + "collected:v1"
"""A message of another version goes into another stream: workers that do not know it leave that alone."""
_WAKEUP_KEY = KEY_PREFIX + "pooling"
_WAKEUP_MILLISECONDS = 10_000
"""Milliseconds after which a worker is called once more that did not come."""
_REPEAT_SECONDS = 3600
"""Seconds in which the same prompts, with the same keys and options, are taken for one call that was repeated."""
_BATCH_SIZE = 16
MAX_CALL_BYTES = 16 << 20
"""Of the prompts of one call; more are a run of their own."""

_encode_prompt = msgspec.json.Encoder().encode
_encode_sorted = msgspec.msgpack.Encoder(order="sorted").encode


class WaitingCall(NamedTuple):
    """What one call sent, and its ``place`` in the stream."""

    stream_id: bytes
    data: bytes


class PoolQueue:
    """What was collected and waits in Redis; every method may raise Transient when Redis does not answer."""

    def __init__(self, connection: Connection) -> None:
        self._use_client = connection.use_client

    def add_call(self, data: bytes, content_hash: str) -> bool:
        """Add what one call sends, unless the same ``content`` (a hash) came just before; whether to call a worker."""
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
        """Have the next call call a worker again; to be done before anything is read."""
        with self._use_client() as r:
            r.delete(_WAKEUP_KEY)

    def count_calls(self) -> int:
        """Return how many calls wait."""
        with self._use_client() as r:
            return int(r.xlen(STREAM_KEY))

    def memory_size(self) -> int:
        """Return about how much memory it takes."""
        with self._use_client() as r:
            return int(r.memory_usage(STREAM_KEY, samples=5) or 0)

    def iter_calls(self) -> Iterator[WaitingCall]:
        """Yield what waits, oldest first."""
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
        """Take away what is stored."""
        with self._use_client() as r:
            r.xdel(STREAM_KEY, *stream_ids)


def open_pool_queue(settings: "Settings") -> PoolQueue:
    """Return what was collected, which waits on the broker."""
    return PoolQueue(Connection(settings.broker_url.get_secret_value(), binary=True))


class Ticket(NamedTuple):
    """What ``collect`` returns: the ``pool``, and the ``keys`` by which the results will be told apart."""

    pool: str
    keys: tuple[str, ...]

    @property
    def key(self) -> str:
        """The key of the one prompt, or of the first."""
        return self.keys[0]


def pack_call(
    settings: "Settings",
    template: Manifest,
    pool: str,
    prompts: Sequence[Mapping[str, Any]],
    schema: bytes,
) -> PooledCall:
    """Make the message of one call; every prompt has its key.

    Raises InvalidRequest for a prompt that cannot be sent, or a key that is there twice.
    """
    for line in encode_lines("pool", prompts, settings.max_request_bytes, schema):
        if line.refusal:
            raise InvalidRequest(line.refusal, row=line.row, key=line.key)
    if len({prompt["key"] for prompt in prompts}) < len(prompts):
        raise InvalidRequest("two prompts of one call have the same key; give each its own")
    lines = b"".join(_encode_prompt(prompt) + b"\n" for prompt in prompts)
    if len(lines) > MAX_CALL_BYTES:
        raise InvalidRequest(
            f"the prompts take {len(lines):,} bytes, of {MAX_CALL_BYTES:,}: submit them as a run"
        )
    return PooledCall(
        new_id(), pool, _encode_sorted(template), len(prompts), len(lines), compress_lines(lines)
    )


def hash_content(pooled: PooledCall) -> str:
    """Return a hash of what one call asks for, the same when it is repeated."""
    return xxhash.xxh3_128_hexdigest(encode_message(msgspec.structs.replace(pooled, id="")))


def assign_keys(prompts: Prompt | Sequence[Prompt], key: str | None) -> list[dict[str, Any]]:
    """Return the prompts of one call with a key each; those without are given one that nobody else has.

    Raises ConfigurationError where there is none, or one ``key`` for several.
    """
    prompt_list = [prompts] if isinstance(prompts, str | Mapping | RefusedRow) else list(prompts)
    if not prompt_list or (key is not None and len(prompt_list) > 1):
        raise ConfigurationError(
            "enqueue takes one prompt, with a key if wanted, or a few that may each have a key"
        )
    base_key = new_id()
    return [
        with_key(prompt, key, f"{base_key}-{position}" if position else base_key)
        for position, prompt in enumerate(prompt_list)
    ]


def with_key(prompt: Prompt, key: str | None, default_key: str) -> dict[str, Any]:
    """Return a prompt as a mapping with its key: its own, or ``key``, or the one it is given ``default_key``."""
    if isinstance(prompt, RefusedRow):
        raise InvalidRequest(prompt.refusal, key=prompt.key)
    if not isinstance(prompt, str | Mapping):
        raise InvalidRequest(f"a prompt is a string or a mapping, not {type(prompt).__name__}")
    prompt_fields = {"prompt": prompt} if isinstance(prompt, str) else dict(prompt)
    if key is not None and prompt_fields.get("key", key) != key:
        raise InvalidRequest("the prompt has another key already", key=key)
    return prompt_fields | {
        "key": stringify_key(key if key is not None else prompt_fields.get("key", default_key))
    }


def check_pool_name(pool: str) -> None:
    """Raise ConfigurationError when this is no name for a pool."""
    try:
        names.check_pool(pool)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def find_run_id(index: "RunIndex", pool: str, key: str) -> str:
    """Return the id of the run that a pool's request is in.

    Raises RunNotFound while it is in none, or when that was long ago, and ConfigurationError for what is no pool's name.
    """
    check_pool_name(pool)
    run = index.find_pooled_run(pool, key)
    if run is None:
        raise RunNotFound(f"no run of pool {pool!r} has a request with key {key!r} yet")
    return run
