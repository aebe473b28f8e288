"""The run index in Redis: a cache of the bucket for cheap status reads.

The bucket is the source of truth. Redis can be wiped at any time; ``reconcile``
restores the index. So every write is idempotent, and a missing entry decides nothing.
"""

import time
from collections.abc import Iterator, Sequence

import msgspec
import xxhash

from promptmill.config.errors import RunNotFound
from promptmill.producers.contract.connection import KEY_PREFIX, Connection
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.contract.status import END_STATES, RunStatus, ShardStatus, derive_state
from promptmill.producers.pricing.cost import Cost
from promptmill.producers.pricing.totals import RunCost

_RETENTION_SECONDS = 30 * 86_400
_POOLED_RETENTION_SECONDS = 2 * 86_400
_RUNS_KEY = KEY_PREFIX + "runs"
_BATCH_SIZE = 500
_UNREADABLE = (
    "its entry in the run index cannot be decoded; another version may have written it. "
    "Update Promptmill"
)


class RunIndex:
    """Reads and writes the index.

    Every method raises Transient if Redis does not answer. A run whose entry cannot be
    decoded has the state ``unreadable``.
    """

    def __init__(self, connection: Connection) -> None:
        self._use_client = connection.use_client

    def check_connection(self) -> None:
        """Raise Transient if Redis cannot be reached."""
        with self._use_client() as r:
            r.ping()

    def open_run(self, manifest: Manifest) -> None:
        """Record that a run exists."""
        key = _run_key(manifest.run)
        with self._use_client() as r, r.pipeline(transaction=False) as pipe:
            pipe.zadd(_RUNS_KEY, {manifest.run: manifest.created})
            pipe.hset(
                key,
                mapping={"manifest": msgspec.json.encode(manifest), "created": manifest.created},
            )
            pipe.execute()

    def record_sent_requests(self, run: str, requests: int) -> None:
        """Record that the producer sent all requests of the run."""
        with self._use_client() as r:
            r.hset(_run_key(run), "sent", requests)

    def record_chunk(self, run: str, chunk_index: int, sha256: bytes) -> int:
        """Record a stored chunk; return the number of stored chunks."""
        key = _run_key(run) + ":chunks"
        with self._use_client() as r, r.pipeline(transaction=False) as pipe:
            pipe.hset(key, str(chunk_index), sha256.hex())
            pipe.hlen(key)
            return int(pipe.execute()[1])

    def get_stored_chunks(self, run: str) -> dict[int, str]:
        """Return the stored chunks: index to SHA-256 in hex."""
        with self._use_client() as r:
            digests = r.hgetall(_run_key(run) + ":chunks")
        return {int(chunk_index): sha256 for chunk_index, sha256 in digests.items()}

    def record_seal(self, run: str, requests: int, chunks: int) -> None:
        """Record that the seal is stored."""
        with self._use_client() as r:
            r.hset(_run_key(run), mapping={"requests": requests, "chunks": chunks})

    def count_sealed_chunks(self, run: str) -> int:
        """Return the number of chunks in the seal; 0 without a seal."""
        with self._use_client() as r:
            return int(r.hget(_run_key(run), "chunks") or 0)

    def record_cancelling(self, run: str) -> None:
        """Record that a run is being cancelled."""
        with self._use_client() as r:
            r.hset(_run_key(run), "cancelling", 1)

    def record_error(self, run: str, error: str) -> None:
        """Record the last error of a run, if the run is in the index."""
        self._update_entry(_run_key(run), "error", error)

    def set_shard(self, run: str, shard: ShardStatus) -> None:
        """Record the status of a shard. Fields with a default value stay unchanged."""
        fields = msgspec.to_builtins(shard)
        attempt_ref = f"{fields.pop('shard')}/{fields.pop('attempt', 1)}"
        with self._use_client() as r:
            r.hset(
                _run_key(run) + ":shards",
                mapping={f"{attempt_ref}.{name}": value for name, value in fields.items()},
            )

    def set_shard_warning(self, run: str, shard: int, attempt: int, message: str) -> None:
        """Record a warning about an attempt. An empty ``message`` clears it."""
        with self._use_client() as r:
            r.hset(_run_key(run) + ":shards", f"{shard}/{attempt}.warning", message)

    def set_run_warning(self, run: str, message: str) -> None:
        """Record a warning about an open run, if the run is in the index."""
        self._update_entry(_run_key(run), "warning", message)

    def record_run_warnings(self, run: str, messages: list[str]) -> None:
        """Record the warnings about the model and the requests of a run."""
        with self._use_client() as r:
            r.hset(_run_key(run), "warnings", msgspec.json.encode(messages))

    def record_late_answers(self, run: str, shard: int, attempt: int, answers: int) -> None:
        """Record an attempt's number of late answers, if the run is in the index."""
        self._update_entry(_run_key(run) + ":shards", f"{shard}/{attempt}.late", answers)

    def _update_entry(self, key: str, field: str, value: str | int) -> None:
        with self._use_client() as r:
            if r.exists(key):
                r.hset(key, field, value)

    def record_estimate(self, run: str, cost: Cost) -> None:
        """Record the estimated cost of a run in progress."""
        with self._use_client() as r:
            r.hset(_run_key(run), "expected", msgspec.json.encode(cost))

    def end_run(
        self,
        run: str,
        state: str,
        *,
        error: str = "",
        ended: float = 0.0,
        cost: Cost | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        """Record that a run is done, with its cost and the warnings of its report."""
        key = _run_key(run)
        fields = {"state": state, "error": error, "ended": ended or time.time()}
        if cost is not None:
            fields["cost"] = msgspec.json.encode(cost)
        if warnings:
            fields["warnings"] = msgspec.json.encode(warnings)
        with self._use_client() as r, r.pipeline(transaction=False) as pipe:
            pipe.hset(key, mapping=fields)
            for suffix in ("", ":shards", ":chunks"):
                pipe.expire(key + suffix, _RETENTION_SECONDS)
            pipe.execute()

    def delete_run(self, run: str) -> None:
        """Remove a run from the index."""
        key = _run_key(run)
        with self._use_client() as r, r.pipeline(transaction=False) as pipe:
            pipe.zrem(_RUNS_KEY, run)
            pipe.delete(key, key + ":shards", key + ":chunks")
            pipe.execute()

    def find_manifest(self, run: str) -> Manifest | None:
        """Return the manifest of a run; None if it is missing or unreadable."""
        with self._use_client() as r:
            data = r.hget(_run_key(run), "manifest")
        return _decode_manifest(data or "")

    def get_status(self, run: str) -> RunStatus:
        """Return the status of a run; raises RunNotFound."""
        with self._use_client() as r, r.pipeline(transaction=False) as pipe:
            pipe.hgetall(_run_key(run))
            pipe.hgetall(_run_key(run) + ":shards")
            fields, shards = pipe.execute()
        if "manifest" not in fields:
            raise RunNotFound(
                f"no run has the id {run!r}; entries are removed 30 days after the end of a run"
            )
        try:
            return _build_status(run, fields, _decode_shards(shards))
        except (msgspec.MsgspecError, ValueError):
            return RunStatus(run, "unreadable", error=_UNREADABLE)

    def list_runs(self, limit: int) -> list[str]:
        """Return the newest runs, newest first."""
        with self._use_client() as r:
            return list(r.zrevrange(_RUNS_KEY, 0, limit - 1))

    def list_bills(self, since: float) -> Iterator[RunCost]:
        """Yield the costs of the readable runs created since a time, in epoch seconds."""
        with self._use_client() as r:
            runs = list(r.zrangebyscore(_RUNS_KEY, since, "+inf"))
        for start in range(0, len(runs), _BATCH_SIZE):
            batch = runs[start : start + _BATCH_SIZE]
            with self._use_client() as r, r.pipeline(transaction=False) as pipe:
                for run in batch:
                    pipe.hmget(_run_key(run), "manifest", "state", "cost", "expected")
                rows = pipe.execute()
            for run, values in zip(batch, rows, strict=True):
                if manifest := _decode_manifest(values[0] or ""):
                    yield _build_bill(run, manifest, *values[1:])

    def record_pooled_keys(self, pool: str, run: str, keys: Sequence[str]) -> None:
        """Record the run of these keys of a pool, for two days."""
        for start in range(0, len(keys), _BATCH_SIZE):
            with self._use_client() as r, r.pipeline(transaction=False) as pipe:
                for key in keys[start : start + _BATCH_SIZE]:
                    pipe.set(_pooled_key(pool, key), run, ex=_POOLED_RETENTION_SECONDS)
                pipe.execute()

    def find_pooled_run(self, pool: str, key: str) -> str | None:
        """Return the run of a key of a pool, or None."""
        with self._use_client() as r:
            run = r.get(_pooled_key(pool, key))
        return None if run is None else str(run)


def _pooled_key(pool: str, key: str) -> str:
    return f"{KEY_PREFIX}pooled:{pool}:{xxhash.xxh3_128_hexdigest(key.encode())}"


def _run_key(run: str) -> str:
    return f"{KEY_PREFIX}run:{run}"


def _decode_manifest(data: str) -> Manifest | None:
    try:
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, ValueError):
        return None


def _decode_shards(fields: dict[str, str]) -> list[ShardStatus]:
    shards: dict[str, dict[str, str]] = {}
    for field, value in fields.items():
        attempt_ref, _, name = field.partition(".")
        shard, _, attempt = attempt_ref.partition("/")
        shards.setdefault(attempt_ref, {"shard": shard, "attempt": attempt, "state": "planned"})[
            name
        ] = value
    return [status for shard in shards.values() if (status := _decode_shard(shard))]


# None stands for a shard that another version wrote. A sweep writes it again.
def _decode_shard(fields: dict[str, str]) -> ShardStatus | None:
    try:
        return msgspec.convert(fields, ShardStatus, strict=False)
    except msgspec.ValidationError:
        return None


def _build_bill(
    run: str, manifest: Manifest, state: str | None, cost: str | None, expected: str | None
) -> RunCost:
    decoded_cost = _decode_cost({"cost": cost or "", "expected": expected or ""})
    return RunCost(
        run,
        manifest.created,
        manifest.model,
        manifest.labels,
        state in END_STATES,
        decoded_cost,
    )


def _decode_cost(fields: dict[str, str]) -> Cost | None:
    """Return the cost, else the estimate; None if another version wrote it."""
    encoded_cost = fields.get("cost") or fields.get("expected")
    try:
        return msgspec.json.decode(encoded_cost, type=Cost) if encoded_cost else None
    except msgspec.DecodeError:
        return None


def _decode_warnings(fields: dict[str, str]) -> list[str]:
    try:
        return msgspec.json.decode(fields.get("warnings", "[]"), type=list[str])
    except msgspec.DecodeError:
        return []


def _build_status(run: str, fields: dict[str, str], shards: list[ShardStatus]) -> RunStatus:
    manifest = msgspec.json.decode(fields["manifest"], type=Manifest)
    state = fields.get("state", "")
    if state not in END_STATES:
        state = derive_state(shards, "requests" in fields, "cancelling" in fields)
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
        cost=_decode_cost(fields),
        report_warnings=_decode_warnings(fields),
        shards=sorted(shards, key=lambda shard: (shard.shard, shard.attempt)),
    )
