"""Pools: single prompts from many processes, which wait in Redis for a worker that stores them, and make runs together.

A stream of Redis carries them, not a message each: a worker takes thousands at once, and writes one object of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import xxhash

from promptmill.config import names
from promptmill.config.errors import ConfigurationError, InvalidRequest, RunNotFound
from promptmill.producers.contract.connection import PREFIX, Connection
from promptmill.producers.contract.ids import new_id
from promptmill.producers.contract.messages import Manifest, Pooled, compress, encode
from promptmill.producers.requests.encode import Prompt, Refused, encode_lines, text_of_key
from promptmill.producers.run import Run

if TYPE_CHECKING:
    from promptmill.config.settings import Settings
    from promptmill.producers.contract.run_index import Index

STREAM = PREFIX + "collected:v1"
"""A message of another version goes into another stream: workers that do not know it leave that alone."""
_CALLED = PREFIX + "pooling"
_CALL = 10_000
"""Milliseconds after which a worker is called once more that did not come."""
_REPEATED = 3600
"""Seconds in which the same prompts, with the same keys and options, are taken for one call that was repeated."""
_AT_ONCE = 16
MAX_BYTES = 16 << 20
"""Of the prompts of one call; more are a run of their own."""

_encode = msgspec.json.Encoder().encode
_sorted = msgspec.msgpack.Encoder(order="sorted").encode


class Waiting(NamedTuple):
    """What one call sent, and its ``place`` in the stream."""

    place: bytes
    data: bytes


class Collected:
    """What was collected and waits in Redis; every method may raise Transient when Redis does not answer."""

    def __init__(self, connection: Connection) -> None:
        self._answering = connection.answering

    def add(self, data: bytes, content: str) -> bool:
        """Add what one call sends, unless the same ``content`` (a hash) came just before; whether to call a worker."""
        script = """
            if redis.call('set', KEYS[2], 1, 'nx', 'ex', ARGV[2]) then
                redis.call('xadd', KEYS[1], '*', 'm', ARGV[1])
            end
            return redis.call('set', KEYS[3], 1, 'nx', 'px', ARGV[3]) and 1 or 0
        """
        keys = STREAM, f"{PREFIX}called:{content}", _CALLED
        with self._answering() as r:
            return bool(r.eval(script, 3, *keys, data, _REPEATED, _CALL))

    def begin(self) -> None:
        """Have the next call call a worker again; to be done before anything is read."""
        with self._answering() as r:
            r.delete(_CALLED)

    def count(self) -> int:
        """Return how many calls wait."""
        with self._answering() as r:
            return int(r.xlen(STREAM))

    def size(self) -> int:
        """Return about how much memory it takes."""
        with self._answering() as r:
            return int(r.memory_usage(STREAM, samples=5) or 0)

    def waiting(self) -> Iterator[Waiting]:
        """Yield what waits, oldest first."""
        after = b"-"
        while True:
            with self._answering() as r:
                found = r.xrange(STREAM, min=after, count=_AT_ONCE)
            yield from (Waiting(place, fields.get(b"m", b"")) for place, fields in found)
            if len(found) < _AT_ONCE:
                return
            after = b"(" + found[-1][0]

    def remove(self, places: Sequence[bytes]) -> None:
        """Take away what is stored."""
        with self._answering() as r:
            r.xdel(STREAM, *places)


def open_collected(settings: "Settings") -> Collected:
    """Return what was collected, which waits on the broker."""
    return Collected(Connection(settings.broker_url.get_secret_value(), binary=True))


class Ticket(NamedTuple):
    """What ``collect`` returns: the ``pool``, and the ``keys`` by which the results will be told apart."""

    pool: str
    keys: tuple[str, ...]

    @property
    def key(self) -> str:
        """The key of the one prompt, or of the first."""
        return self.keys[0]


def pack(
    settings: "Settings", template: Manifest, pool: str, prompts: Sequence[Mapping[str, Any]], schema: bytes
) -> Pooled:
    """Make the message of one call; every prompt has its key.

    Raises InvalidRequest for a prompt that cannot be sent, or a key that is there twice.
    """
    for line in encode_lines("pool", prompts, settings.max_request_bytes, schema):
        if line.refusal:
            raise InvalidRequest(line.refusal, row=line.row, key=line.key)
    if len({prompt["key"] for prompt in prompts}) < len(prompts):
        raise InvalidRequest("two prompts of one call have the same key; give each its own")
    lines = b"".join(_encode(prompt) + b"\n" for prompt in prompts)
    if len(lines) > MAX_BYTES:
        raise InvalidRequest(f"the prompts take {len(lines):,} bytes, of {MAX_BYTES:,}: submit them as a run")
    return Pooled(new_id(), pool, _sorted(template), len(prompts), len(lines), compress(lines))


def content(pooled: Pooled) -> str:
    """Return a hash of what one call asks for, the same when it is repeated."""
    return xxhash.xxh3_128_hexdigest(encode(msgspec.structs.replace(pooled, id="")))


def keyed(prompts: Prompt | Sequence[Prompt], key: str | None) -> list[dict[str, Any]]:
    """Return the prompts of one call with a key each; those without are given one that nobody else has.

    Raises ConfigurationError where there is none, or one ``key`` for several.
    """
    several = [prompts] if isinstance(prompts, str | Mapping | Refused) else list(prompts)
    if not several or (key is not None and len(several) > 1):
        raise ConfigurationError("collect takes one prompt, with a key if wanted, or a few that may each have a key")
    made = new_id()
    return [with_key(prompt, key, f"{made}-{place}" if place else made) for place, prompt in enumerate(several)]


def with_key(prompt: Prompt, key: str | None, otherwise: str) -> dict[str, Any]:
    """Return a prompt as a mapping with its key: its own, or ``key``, or the one it is given ``otherwise``."""
    if isinstance(prompt, Refused):
        raise InvalidRequest(prompt.refusal, key=prompt.key)
    if not isinstance(prompt, str | Mapping):
        raise InvalidRequest(f"a prompt is a string or a mapping, not {type(prompt).__name__}")
    named = {"prompt": prompt} if isinstance(prompt, str) else dict(prompt)
    if key is not None and named.get("key", key) != key:
        raise InvalidRequest("the prompt has another key already", key=key)
    return named | {"key": text_of_key(key if key is not None else named.get("key", otherwise))}


def check(pool: str) -> None:
    """Raise ConfigurationError when this is no name for a pool."""
    try:
        names.check_pool(pool)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def find(settings: "Settings", index: "Index", pool: str, key: str) -> Run:
    """Return the run that a pool's request is in.

    Raises RunNotFound while it is in none, or when that was long ago, and ConfigurationError for what is no pool's name.
    """
    check(pool)
    run = index.pooled_run(pool, key)
    if run is None:
        raise RunNotFound(f"no run of pool {pool!r} has a request with key {key!r} yet")
    return Run(run, settings, index)
