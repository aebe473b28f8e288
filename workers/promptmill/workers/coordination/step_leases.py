"""Leases in Redis: which steps are queued or running, and how often they failed."""

from typing import TYPE_CHECKING, NamedTuple

from promptmill.producers.contract.connection import KEY_PREFIX, Connection
from promptmill.workers.coordination.claims import claim_key

if TYPE_CHECKING:
    from redis.client import Pipeline

_FAILURE_TTL = 30 * 86_400
_CRASH_TTL = 86_400
"""Seconds for which a crash counts. Long, as the step's message may wait in a queue."""
_ACQUIRE_SCRIPT = """
    local now = redis.call('time')
    now = now[1] * 1000 + math.floor(now[2] / 1000)
    redis.call('zrem', KEYS[1], ARGV[1])
    redis.call('zremrangebyscore', KEYS[1], '-inf', now - ARGV[4] * 1000)
    local deaths = redis.call('zcount', KEYS[1], '-inf', now)
    local living = redis.call('zcard', KEYS[1]) - deaths
    local last = redis.call('zrange', KEYS[1], -1, -1, 'withscores')[2]
    local busy = math.max(0, (last or 0) - now - ARGV[2] / 2)
    if busy == 0 and deaths + living < tonumber(ARGV[3]) then
        redis.call('zadd', KEYS[1], now + ARGV[2], ARGV[1])
        redis.call('expire', KEYS[1], ARGV[4])
        redis.call('set', KEYS[2], 'running', 'px', ARGV[2])
    end
    return {deaths, living, math.ceil(busy)}
"""
"""Refuses a lease while another execution was renewed within half the lease's time, or once
``limit`` executions have vanished without releasing theirs. An execution whose lease ran out
by Redis's clock counts as a crash. Delivery counts are ignored: duplicates are normal."""


class LeaseState(NamedTuple):
    """The unfinished executions of a step: those that crashed, and those that may live.

    ``busy_seconds``: how much longer one of them is presumed running without a renewal.
    """

    crashes: int = 0
    live: int = 0
    busy_seconds: float = 0.0


class StepLeases:
    """Leases on steps. Every method may raise Transient.

    They only avoid duplicate work: all keys may be lost, and a step may still run twice.
    A release that did not reach Redis would count as a crash, so it is sent again with the
    next acquisition or release. A step that succeeds clears its crashes.
    """

    def __init__(self, connection: Connection) -> None:
        self._open_redis = connection.use_client
        self._pending_releases: set[tuple[str, str]] = set()

    def try_queue(self, step: str, seconds: float) -> bool:
        """Mark a step as queued for ``seconds``. False if it is queued or running."""
        with self._open_redis() as redis:
            return bool(redis.set(claim_key(step), "queued", nx=True, px=int(seconds * 1000)))

    def mark_queued(self, step: str, seconds: float, resend_after: float) -> None:
        """Mark a step as queued for ``seconds``, and as sent for ``resend_after`` seconds."""
        with self._open_redis() as redis, redis.pipeline(transaction=False) as pipe:
            pipe.set(claim_key(step), "queued", px=int(seconds * 1000))
            pipe.set(_sent_key(step), "sent", px=int(resend_after * 1000))
            pipe.execute()

    def mark_queued_once(self, step: str, seconds: float, resend_after: float) -> bool:
        """Like ``mark_queued``, but False if it was sent within ``resend_after`` seconds."""
        script = """
            if not redis.call('set', KEYS[2], 'sent', 'nx', 'px', ARGV[2]) then return 0 end
            redis.call('set', KEYS[1], 'queued', 'px', ARGV[1])
            return 1
        """
        times = int(seconds * 1000), int(resend_after * 1000)
        with self._open_redis() as redis:
            return bool(redis.eval(script, 2, claim_key(step), _sent_key(step), *times))

    def unmark_queued(self, step: str) -> None:
        """Remove both marks of a step that could not be sent."""
        with self._open_redis() as redis:
            redis.delete(claim_key(step), _sent_key(step))

    def queued_seconds_left(self, step: str) -> float | None:
        """Return the seconds left of a step's queued mark; None if it has none."""
        with self._open_redis() as redis, redis.pipeline(transaction=False) as pipe:
            pipe.get(claim_key(step))
            pipe.pttl(claim_key(step))
            state, milliseconds_left = pipe.execute()
        return milliseconds_left / 1000 if state == "queued" else None

    def acquire(self, step: str, execution: str, seconds: float, limit: int) -> LeaseState:
        """Acquire a lease on one execution of a step for ``seconds``; return the others."""
        keys = _executions_key(step), claim_key(step)
        arguments = execution, int(seconds * 1000), limit, _CRASH_TTL
        with self._open_redis() as redis:
            if self._pending_releases:
                with redis.pipeline(transaction=False) as pipe:
                    self._flush_releases(pipe)
            crashes, live, busy_milliseconds = redis.eval(
                _ACQUIRE_SCRIPT, len(keys), *keys, *arguments
            )
        return LeaseState(crashes, live, busy_milliseconds / 1000)

    def renew(self, step: str, execution: str, seconds: float) -> None:
        """Renew the lease of an execution for ``seconds``, even if it was lost."""
        script = """
            local now = redis.call('time')
            now = now[1] * 1000 + math.floor(now[2] / 1000)
            redis.call('zadd', KEYS[1], now + ARGV[2], ARGV[1])
            redis.call('expire', KEYS[1], ARGV[3])
            redis.call('set', KEYS[2], 'running', 'px', ARGV[2])
        """
        keys = _executions_key(step), claim_key(step)
        with self._open_redis() as redis:
            redis.eval(script, len(keys), *keys, execution, int(seconds * 1000), _CRASH_TTL)

    def release(self, step: str, execution: str, *, succeeded: bool, retention: float) -> None:
        """Release a lease; the step counts as running for ``retention`` seconds more."""
        self._pending_releases.add((step, execution))
        with self._open_redis() as redis, redis.pipeline(transaction=False) as pipe:
            if succeeded:
                pipe.delete(_executions_key(step))
            if retention:
                pipe.set(claim_key(step), "running", px=int(retention * 1000))
            else:
                pipe.delete(claim_key(step))
            self._flush_releases(pipe)

    def _flush_releases(self, pipe: "Pipeline") -> None:
        """Execute a pipeline, and with it every release that has not reached Redis."""
        releases = list(self._pending_releases)
        for step, execution in releases:
            pipe.zrem(_executions_key(step), execution)
        pipe.execute()
        self._pending_releases.difference_update(releases)

    def count_failure(self, step: str) -> int:
        """Count a failure of a step, and return its total."""
        key = _failures_key(step)
        with self._open_redis() as redis, redis.pipeline(transaction=False) as pipe:
            pipe.incr(key)
            pipe.expire(key, _FAILURE_TTL)
            return int(pipe.execute()[0])

    def reset_failures(self, step: str) -> None:
        """Clear the crashes and failures of a step."""
        with self._open_redis() as redis:
            redis.delete(_executions_key(step), _failures_key(step))


def _sent_key(step: str) -> str:
    return f"{KEY_PREFIX}sent:{step}"


def _executions_key(step: str) -> str:
    return f"{KEY_PREFIX}begun:{step}"


def _failures_key(step: str) -> str:
    return f"{KEY_PREFIX}failed:{step}"
