"""The index of runs in Redis: a memory of what the bucket knows, for cheap reads and for telling who is last.

Nothing here is the truth. Everything can be wiped at any moment, and ``reconcile`` writes it again from the bucket; so
every write is one that may happen twice, and nothing is decided by what is missing here.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import msgspec

from promptmill.config.errors import RunNotFound, Transient
from promptmill.config.urls import masked
from promptmill.producers.messages import Manifest
from promptmill.producers.status import END_STATES, RunStatus, ShardStatus, state_of

PREFIX = "promptmill:"
_KEEP = 30 * 86_400
_RUNS = PREFIX + "runs"


class OpenJob(NamedTuple):
    """A job that had not ended when it was last looked at, and what it is for."""

    name: str
    run: str
    shard: int
    attempt: int
    state: str = ""


class Index:
    """Reads and writes of the index; every method may raise Transient when Redis does not answer."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __repr__(self) -> str:
        return f"Index({masked(self._url)!r})"

    @cached_property
    def _redis(self) -> Any:
        import redis

        return redis.Redis.from_url(self._url, decode_responses=True, health_check_interval=10)

    @contextmanager
    def _answering(self) -> Iterator[Any]:
        import redis

        try:
            yield self._redis
        except redis.RedisError as error:
            raise Transient(f"Redis at {masked(self._url)} does not answer: {error}") from error

    def ping(self) -> None:
        """Raise Transient when Redis cannot be reached."""
        with self._answering() as r:
            r.ping()

    def open_run(self, manifest: Manifest) -> None:
        """Note that a run exists."""
        key = _run(manifest.run)
        with self._answering() as r, r.pipeline(transaction=False) as pipe:
            pipe.zadd(_RUNS, {manifest.run: manifest.created})
            pipe.hset(key, mapping={"manifest": msgspec.json.encode(manifest), "created": manifest.created})
            pipe.execute()

    def note_sent(self, run: str, requests: int) -> None:
        """Note that the producer sent all of the run's requests."""
        with self._answering() as r:
            r.hset(_run(run), "sent", requests)

    def note_chunk(self, run: str, index: int, sha256: bytes) -> int:
        """Note that a chunk is stored; returns how many are."""
        key = _run(run) + ":chunks"
        with self._answering() as r, r.pipeline(transaction=False) as pipe:
            pipe.hset(key, str(index), sha256.hex())
            pipe.hlen(key)
            return int(pipe.execute()[1])

    def stored_chunks(self, run: str) -> dict[int, str]:
        """Return the chunks known to be stored: index to sha256 in hex."""
        with self._answering() as r:
            return {int(index): sha for index, sha in r.hgetall(_run(run) + ":chunks").items()}

    def seal(self, run: str, requests: int, chunks: int) -> None:
        """Note that the seal is stored."""
        with self._answering() as r:
            r.hset(_run(run), mapping={"requests": requests, "chunks": chunks})

    def sealed_chunks(self, run: str) -> int:
        """Return how many chunks the seal speaks of; 0 when no seal is known."""
        with self._answering() as r:
            return int(r.hget(_run(run), "chunks") or 0)

    def set_shard(self, run: str, shard: ShardStatus) -> None:
        """Note how far a shard is; fields that have their default are left as they are."""
        fields = msgspec.to_builtins(shard)
        place = fields.pop("shard")
        with self._answering() as r:
            r.hset(_run(run) + ":shards", mapping={f"{place}.{name}": value for name, value in fields.items()})

    def end_run(self, run: str, state: str, *, error: str = "", ended: float = 0.0) -> None:
        """Note that a run is done."""
        key = _run(run)
        with self._answering() as r, r.pipeline(transaction=False) as pipe:
            pipe.hset(key, mapping={"state": state, "error": error, "ended": ended or time.time()})
            for suffix in ("", ":shards", ":chunks"):
                pipe.expire(key + suffix, _KEEP)
            pipe.execute()

    def find_manifest(self, run: str) -> Manifest | None:
        """Return the run as opened, if it is known."""
        with self._answering() as r:
            data = r.hget(_run(run), "manifest")
        return None if data is None else msgspec.json.decode(data, type=Manifest)

    def status(self, run: str) -> RunStatus:
        """Return what is known about a run; raises RunNotFound."""
        with self._answering() as r, r.pipeline(transaction=False) as pipe:
            pipe.hgetall(_run(run))
            pipe.hgetall(_run(run) + ":shards")
            fields, shards = pipe.execute()
        if "manifest" not in fields:
            raise RunNotFound(f"no run {run!r} is known here")
        return _status(run, fields, _shards(shards))

    def runs(self, limit: int) -> list[str]:
        """Return the newest runs, newest first."""
        with self._answering() as r:
            return list(r.zrevrange(_RUNS, 0, limit - 1))

    def queued_bytes(self, queue: str) -> int:
        """Return about how much memory the messages waiting in a queue take."""
        with self._answering() as r:
            return int(r.memory_usage(queue, samples=5) or 0)

    def tally(self, run: str, what: str, member: str) -> int:
        """Add ``member`` to a set of what is done and return how many are; joins use it to tell who is last."""
        key = f"{_run(run)}:{what}"
        with self._answering() as r, r.pipeline(transaction=False) as pipe:
            pipe.sadd(key, member)
            pipe.scard(key)
            pipe.expire(key, _KEEP)
            return int(pipe.execute()[1])

    def claim(self, step: str, seconds: float) -> bool:
        """Note that a step is under way for the next ``seconds``; False when it was already.

        Only spares duplicate work: a step may still run twice, and must bear it.
        """
        with self._answering() as r:
            return bool(r.set(f"{PREFIX}step:{step}", "1", nx=True, px=int(seconds * 1000)))

    def hold(self, step: str, seconds: float) -> None:
        """Note that a step is under way for the next ``seconds``, whatever was noted before."""
        with self._answering() as r:
            r.set(f"{PREFIX}step:{step}", "1", px=int(seconds * 1000))

    def release(self, step: str) -> None:
        """Note that a step is no longer under way."""
        with self._answering() as r:
            r.delete(f"{PREFIX}step:{step}")

    def add_job(self, parent: str, job: OpenJob) -> None:
        """Note a job to be polled, and its state when last looked at."""
        with self._answering() as r:
            r.hset(_jobs(parent), job.name, f"{job.run}/{job.shard}/{job.attempt}/{job.state}")

    def remove_job(self, parent: str, name: str) -> None:
        """Note that a job has ended and was collected."""
        with self._answering() as r:
            r.hdel(_jobs(parent), name)

    def open_jobs(self, parent: str) -> list[OpenJob]:
        """Return the jobs to be polled."""
        with self._answering() as r:
            found = r.hgetall(_jobs(parent))
        return [_open_job(name, place) for name, place in found.items()]

    def take_poll(self, parent: str, chain: str, seconds: float) -> bool:
        """Make ``chain`` the one that polls, when none is alive or it is this one; it stays so for ``seconds``."""
        script = """
            local holder = redis.call('get', KEYS[1])
            if holder and holder ~= ARGV[1] then return 0 end
            redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
            return 1
        """
        with self._answering() as r:
            return bool(r.eval(script, 1, _poll(parent), chain, int(seconds * 1000)))

    def end_poll(self, parent: str) -> bool:
        """End polling when no job is open; False when there is one."""
        script = """
            if redis.call('hlen', KEYS[2]) > 0 then return 0 end
            redis.call('del', KEYS[1])
            return 1
        """
        with self._answering() as r:
            return bool(r.eval(script, 2, _poll(parent), _jobs(parent)))


def _run(run: str) -> str:
    return f"{PREFIX}run:{run}"


def _jobs(parent: str) -> str:
    return f"{PREFIX}jobs:{parent}"


def _poll(parent: str) -> str:
    return f"{PREFIX}poll:{parent}"


def _open_job(name: str, place: str) -> OpenJob:
    run, shard, attempt, state = place.split("/")
    return OpenJob(name, run, int(shard), int(attempt), state)


def _shards(fields: dict[str, str]) -> list[ShardStatus]:
    shards: dict[str, dict[str, str]] = {}
    for field, value in fields.items():
        place, _, name = field.partition(".")
        shards.setdefault(place, {"shard": place, "state": "planned"})[name] = value
    return [msgspec.convert(shard, ShardStatus, strict=False) for shard in shards.values()]


def _status(run: str, fields: dict[str, str], shards: list[ShardStatus]) -> RunStatus:
    manifest = msgspec.json.decode(fields["manifest"], type=Manifest)
    state = fields.get("state", "")
    return RunStatus(
        run=run,
        state=state if state in END_STATES else state_of(shards, "requests" in fields),
        name=manifest.name,
        model=manifest.model,
        created=manifest.created,
        ended=float(fields.get("ended", 0)),
        requests=int(fields.get("requests", fields.get("sent", 0))),
        succeeded=sum(shard.succeeded for shard in shards),
        failed=sum(shard.failed for shard in shards),
        error=fields.get("error", ""),
        shards=sorted(shards, key=lambda shard: shard.shard),
    )
