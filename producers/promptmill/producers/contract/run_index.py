"""The index of runs in Redis: a memory of what the bucket knows, for cheap reads and for telling who is last.

Nothing here is the truth. Everything can be wiped at any moment, and ``reconcile`` writes it again from the bucket; so
every write is one that may happen twice, and nothing is decided by what is missing here.
"""

import time
from collections.abc import Iterator, Sequence

import msgspec
import xxhash

from promptmill.config.errors import RunNotFound
from promptmill.producers.contract.connection import PREFIX, Connection
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.contract.status import END_STATES, RunStatus, ShardStatus, state_of
from promptmill.producers.pricing.cost import Cost
from promptmill.producers.pricing.totals import Bill

_KEEP = 30 * 86_400
_KEEP_POOLED = 2 * 86_400
_RUNS = PREFIX + "runs"
_AT_ONCE = 500


class Index:
    """Reads and writes of the index; every method may raise Transient when Redis does not answer."""

    def __init__(self, connection: Connection) -> None:
        self._answering = connection.answering

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

    def note_cancelling(self, run: str) -> None:
        """Note that a run is being cancelled."""
        with self._answering() as r:
            r.hset(_run(run), "cancelling", 1)

    def note_error(self, run: str, error: str) -> None:
        """Note what went wrong last in a run that is known here."""
        with self._answering() as r:
            if r.exists(_run(run)):
                r.hset(_run(run), "error", error)

    def set_shard(self, run: str, shard: ShardStatus) -> None:
        """Note how far a shard is; fields that have their default are left as they are."""
        fields = msgspec.to_builtins(shard)
        place = f"{fields.pop('shard')}/{fields.pop('attempt', 1)}"
        with self._answering() as r:
            r.hset(_run(run) + ":shards", mapping={f"{place}.{name}": value for name, value in fields.items()})

    def warn(self, run: str, shard: int, attempt: int, words: str) -> None:
        """Note what people should know of an attempt that goes on; nothing when ``words`` is empty."""
        with self._answering() as r:
            r.hset(_run(run) + ":shards", f"{shard}/{attempt}.warning", words)

    def warn_of_run(self, run: str, words: str) -> None:
        """Note what people should know of a run that is open, if it is known here."""
        with self._answering() as r:
            if r.exists(_run(run)):
                r.hset(_run(run), "warning", words)

    def note_late(self, run: str, shard: int, attempt: int, answers: int) -> None:
        """Note how many answers of an attempt came too late for its run, if the run is known here."""
        key = _run(run) + ":shards"
        with self._answering() as r:
            if r.exists(key):
                r.hset(key, f"{shard}/{attempt}.late", answers)

    def note_expected(self, run: str, cost: Cost) -> None:
        """Note what is known of the cost of a run that goes on."""
        with self._answering() as r:
            r.hset(_run(run), "expected", msgspec.json.encode(cost))

    def end_run(self, run: str, state: str, *, error: str = "", ended: float = 0.0, cost: Cost | None = None) -> None:
        """Note that a run is done, and what it cost."""
        key = _run(run)
        told = {} if cost is None else {"cost": msgspec.json.encode(cost)}
        with self._answering() as r, r.pipeline(transaction=False) as pipe:
            pipe.hset(key, mapping={"state": state, "error": error, "ended": ended or time.time(), **told})
            for suffix in ("", ":shards", ":chunks"):
                pipe.expire(key + suffix, _KEEP)
            pipe.execute()

    def forget(self, run: str) -> None:
        """Forget a run."""
        key = _run(run)
        with self._answering() as r, r.pipeline(transaction=False) as pipe:
            pipe.zrem(_RUNS, run)
            pipe.delete(key, key + ":shards", key + ":chunks")
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

    def bills(self, since: float) -> Iterator[Bill]:
        """Yield what is known of the costs of the runs since a time (seconds since the epoch), a few hundred in one read."""
        with self._answering() as r:
            runs = list(r.zrangebyscore(_RUNS, since, "+inf"))
        for start in range(0, len(runs), _AT_ONCE):
            some = runs[start : start + _AT_ONCE]
            with self._answering() as r, r.pipeline(transaction=False) as pipe:
                for run in some:
                    pipe.hmget(_run(run), "manifest", "state", "cost", "expected")
                found = pipe.execute()
            yield from (_bill(run, *values) for run, values in zip(some, found, strict=True) if values[0])

    def note_pooled(self, pool: str, run: str, keys: Sequence[str]) -> None:
        """Note for a while which run the requests of a pool with these keys are in."""
        for start in range(0, len(keys), _AT_ONCE):
            with self._answering() as r, r.pipeline(transaction=False) as pipe:
                for key in keys[start : start + _AT_ONCE]:
                    pipe.set(_pooled(pool, key), run, ex=_KEEP_POOLED)
                pipe.execute()

    def pooled_run(self, pool: str, key: str) -> str | None:
        """Return the run that the request of a pool with this key is in, if that is known."""
        with self._answering() as r:
            run = r.get(_pooled(pool, key))
        return None if run is None else str(run)


def _pooled(pool: str, key: str) -> str:
    return f"{PREFIX}pooled:{pool}:{xxhash.xxh3_128_hexdigest(key.encode())}"


def _run(run: str) -> str:
    return f"{PREFIX}run:{run}"


def _shards(fields: dict[str, str]) -> list[ShardStatus]:
    shards: dict[str, dict[str, str]] = {}
    for field, value in fields.items():
        place, _, name = field.partition(".")
        shard, _, attempt = place.partition("/")
        shards.setdefault(place, {"shard": shard, "attempt": attempt, "state": "planned"})[name] = value
    return [status for shard in shards.values() if (status := _shard(shard))]


def _shard(fields: dict[str, str]) -> ShardStatus | None:
    """A shard as another version of Promptmill noted it may be unreadable; a sweep writes it anew."""
    try:
        return msgspec.convert(fields, ShardStatus, strict=False)
    except msgspec.ValidationError:
        return None


def _bill(run: str, manifest: str, state: str | None, cost: str | None, expected: str | None) -> Bill:
    opened = msgspec.json.decode(manifest, type=Manifest)
    told = _cost({"cost": cost or "", "expected": expected or ""})
    return Bill(run, opened.created, opened.model, opened.labels, state in END_STATES, told)


def _cost(fields: dict[str, str]) -> Cost | None:
    """What the run cost, or is expected to; what another version of Promptmill noted may be unreadable."""
    told = fields.get("cost") or fields.get("expected")
    try:
        return msgspec.json.decode(told, type=Cost) if told else None
    except msgspec.DecodeError:
        return None


def _status(run: str, fields: dict[str, str], shards: list[ShardStatus]) -> RunStatus:
    manifest = msgspec.json.decode(fields["manifest"], type=Manifest)
    state = fields.get("state", "")
    if state not in END_STATES:
        state = state_of(shards, "requests" in fields, "cancelling" in fields)
    return RunStatus(
        run=run,
        state=state,
        name=manifest.name,
        model=manifest.model,
        labels=manifest.labels,
        created=manifest.created,
        deadline=manifest.deadline,
        ended=float(fields.get("ended", 0)),
        requests=int(fields.get("requests", fields.get("sent", 0))),
        succeeded=sum(shard.succeeded for shard in shards),
        failed=sum(shard.failed for shard in shards),
        error=fields.get("error", ""),
        warning=fields.get("warning", "") if state == "open" else "",
        cost=_cost(fields),
        shards=sorted(shards, key=lambda shard: (shard.shard, shard.attempt)),
    )
