"""What the workers note for each other in Redis: who is at which step, who is last, which jobs are open, who polls.

None of it is the truth: all may be lost at any moment, and then work is done twice or found again by ``reconcile``.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from promptmill.producers.contract.connection import KEY_PREFIX, Connection

_KEY_TTL = 30 * 86_400
_CRASH_TTL = 86_400
"""Seconds for which the death of a worker is held against the step that it was at: its message may wait for long."""


class OpenJob(NamedTuple):
    """A job that had not ended when it was last looked at, and what it is for.

    It is in ``state`` since ``since`` (Redis's time); ``told``: people were told that this lasts for too long.
    """

    name: str
    run: str
    shard: int
    attempt: int
    state: str = ""
    since: float = 0.0
    is_reported: bool = False


class LeaseState(NamedTuple):
    """The starts of a step that have not ended in order: those whose worker died, and those that may be at it still.

    One of the living is surely ``busy`` with it unless it says nothing for so many seconds more.
    """

    crashes: int = 0
    live: int = 0
    busy_seconds: float = 0.0


class Notes:
    """The notes; every method may raise Transient when Redis does not answer."""

    def __init__(self, connection: Connection) -> None:
        self._open_redis = connection.use_client
        self._pending_releases: set[tuple[str, str]] = set()

    def add_member(self, run: str, join: str, member: str) -> int:
        """Add ``member`` to a set of what is done and return how many are; joins use it to tell who is last."""
        key = f"{KEY_PREFIX}run:{run}:{join}"
        with self._open_redis() as redis, redis.pipeline(transaction=False) as pipe:
            pipe.sadd(key, member)
            pipe.scard(key)
            pipe.expire(key, _KEY_TTL)
            return int(pipe.execute()[1])

    def try_claim(self, step: str, seconds: float) -> bool:
        """Note that a step is in a queue, for the next ``seconds``; False when there was a note already.

        Only spares duplicate work: a step may still run twice, and must bear it.
        """
        with self._open_redis() as redis:
            return bool(redis.set(_step_key(step), "queued", nx=True, px=int(seconds * 1000)))

    def mark_queued(self, step: str, seconds: float, resend_after: float) -> None:
        """Note that a step is in a queue, for the next ``seconds``, whatever was noted before, and ``resend_after`` just now."""
        with self._open_redis() as redis, redis.pipeline(transaction=False) as pipe:
            pipe.set(_step_key(step), "queued", px=int(seconds * 1000))
            pipe.set(_sent_key(step), "sent", px=int(resend_after * 1000))
            pipe.execute()

    def mark_queued_once(self, step: str, seconds: float, resend_after: float) -> bool:
        """As ``mark_queued``, but only once in so many seconds; False when it was sent before, whatever came of the step."""
        script = """
            if not redis.call('set', KEYS[2], 'sent', 'nx', 'px', ARGV[2]) then return 0 end
            redis.call('set', KEYS[1], 'queued', 'px', ARGV[1])
            return 1
        """
        times = int(seconds * 1000), int(resend_after * 1000)
        with self._open_redis() as redis:
            return bool(redis.eval(script, 2, _step_key(step), _sent_key(step), *times))

    def release_claim(self, step: str) -> None:
        """Forget that a step is in a queue: it could not be sent."""
        with self._open_redis() as redis:
            redis.delete(_step_key(step), _sent_key(step))

    def queued_seconds_left(self, step: str) -> float | None:
        """Return for how many seconds more a step's note says that it is in a queue; None when it does not say so."""
        with self._open_redis() as redis, redis.pipeline(transaction=False) as pipe:
            pipe.get(_step_key(step))
            pipe.pttl(_step_key(step))
            state, milliseconds_left = pipe.execute()
        return milliseconds_left / 1000 if state == "queued" else None

    def acquire(self, step: str, execution: str, seconds: float, limit: int) -> LeaseState:
        """Note a ``execution`` of a step, at work for the next ``seconds``, unless ``limit`` others have not ended in order.

        Returns those others. One that was not renewed in time, by Redis's clock, is a death. How often a message was
        handed out tells nothing: copies of it are a normal event. None begins while another is surely at work, as it was
        renewed within half the time: two that died with one worker would be two deaths.
        """
        script = """
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
        with self._open_redis() as redis:
            if self._pending_releases:
                with redis.pipeline(transaction=False) as pipe:
                    self._flush_releases(pipe)
            counts = redis.eval(
                script,
                2,
                _executions_key(step),
                _step_key(step),
                execution,
                int(seconds * 1000),
                limit,
                _CRASH_TTL,
            )
        crashes, live, busy_milliseconds = counts
        return LeaseState(crashes, live, busy_milliseconds / 1000)

    def renew(self, step: str, execution: str, seconds: float) -> None:
        """Note that this start of a step is at work, for the next ``seconds``, whatever was noted before."""
        script = """
            local now = redis.call('time')
            redis.call('zadd', KEYS[1], now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[2], ARGV[1])
            redis.call('expire', KEYS[1], ARGV[3])
            redis.call('set', KEYS[2], 'running', 'px', ARGV[2])
        """
        with self._open_redis() as redis:
            redis.eval(
                script,
                2,
                _executions_key(step),
                _step_key(step),
                execution,
                int(seconds * 1000),
                _CRASH_TTL,
            )

    def release(self, step: str, execution: str, *, succeeded: bool, retention: float) -> None:
        """Note that a start ended in order, and that its step is under way for ``retention`` seconds more.

        The deaths of a step that is ``succeeded`` are forgotten: it takes no worker with it. An end of which Redis did
        not hear, and which would look like a death, is told with the next beginning or end.
        """
        self._pending_releases.add((step, execution))
        with self._open_redis() as redis, redis.pipeline(transaction=False) as pipe:
            if succeeded:
                pipe.delete(_executions_key(step))
            if retention:
                pipe.set(_step_key(step), "running", px=int(retention * 1000))
            else:
                pipe.delete(_step_key(step))
            self._flush_releases(pipe)

    def _flush_releases(self, pipe: Any) -> None:
        """Send what is in a pipeline, and with it all ends of which Redis has not heard."""
        releases = list(self._pending_releases)
        for step, execution in releases:
            pipe.zrem(_executions_key(step), execution)
        pipe.execute()
        self._pending_releases.difference_update(releases)

    def set_batch_size(self, batch: str, requests: int, size: int) -> None:
        """Note the size of a batch of a pool."""
        with self._open_redis() as redis:
            redis.set(f"{KEY_PREFIX}batch:{batch}", f"{requests} {size}", ex=_CRASH_TTL)

    def get_batch_sizes(self, batches: Sequence[str]) -> list[tuple[int, int] | None]:
        """Return the requests and bytes of batches, as far as they are noted."""
        if not batches:
            return []
        with self._open_redis() as redis:
            values = redis.mget([f"{KEY_PREFIX}batch:{batch}" for batch in batches])
        return [
            (int(value.split()[0]), int(value.split()[1])) if value else None for value in values
        ]

    def add_job(self, parent: str, job: OpenJob) -> None:
        """Note a job to be polled, and its state when last looked at."""
        with self._open_redis() as redis:
            redis.hset(_jobs_key(parent), job.name, _encode_job(job))

    def remove_job(self, parent: str, name: str) -> None:
        """Note that a job has ended and was collected."""
        with self._open_redis() as redis:
            redis.hdel(_jobs_key(parent), name)

    def list_jobs(self, parent: str) -> list[OpenJob]:
        """Return the jobs to be polled."""
        with self._open_redis() as redis:
            fields = redis.hgetall(_jobs_key(parent))
        return [_decode_job(name, value) for name, value in fields.items()]

    def count_alarm(self, kind: str) -> None:
        """Count that people were told of something: a state of a job, or ``open`` for a run."""
        with self._open_redis() as redis:
            redis.hincrby(f"{KEY_PREFIX}alarms", kind, 1)

    def alarm_counts(self) -> dict[str, int]:
        """Return how often people were told of what, since Redis was empty."""
        with self._open_redis() as redis:
            return {
                kind: int(count) for kind, count in redis.hgetall(f"{KEY_PREFIX}alarms").items()
            }

    def server_time(self) -> float:
        """Return the time by Redis's clock, for spans that no worker's own clock is to tell."""
        with self._open_redis() as redis:
            seconds, micros = redis.time()
        return float(seconds + micros / 1e6)

    def take_slot(self, parent: str, slot: str, limit: int) -> bool:
        """Take one of ``limit`` slots for an open job, or keep the one that ``place`` has; False when all are taken."""
        script = """
            if redis.call('sismember', KEYS[1], ARGV[1]) == 0 and redis.call('scard', KEYS[1]) >= tonumber(ARGV[2]) then
                return 0
            end
            redis.call('sadd', KEYS[1], ARGV[1])
            return 1
        """
        with self._open_redis() as redis:
            return bool(redis.eval(script, 1, f"{KEY_PREFIX}slots:{parent}", slot, limit))

    def free_slot(self, parent: str, slot: str) -> None:
        """Give the slot of ``place`` back."""
        with self._open_redis() as redis:
            redis.srem(f"{KEY_PREFIX}slots:{parent}", slot)

    def list_slots(self, parent: str) -> set[str]:
        """Return the places that have a slot."""
        with self._open_redis() as redis:
            return set(redis.smembers(f"{KEY_PREFIX}slots:{parent}"))

    def take_creation_turn(self, parent: str, per_minute: int) -> float:
        """Take a turn to create a job; returns the seconds until the next one when there is none now, else 0.

        Turns are evenly spaced, with up to a quarter of a minute's worth at once; Redis's clock counts.
        """
        script = """
            local now = redis.call('time')
            now = now[1] + now[2] / 1000000
            local gap = 60 / tonumber(ARGV[1])
            local due = tonumber(redis.call('get', KEYS[1]) or '0')
            if due < now - 15 then due = now - 15 end
            if due > now then return tostring(due - now) end
            redis.call('set', KEYS[1], tostring(due + gap), 'ex', 120)
            return '0'
        """
        with self._open_redis() as redis:
            return float(redis.eval(script, 1, f"{KEY_PREFIX}turns:{parent}", per_minute))

    def count_failure(self, step: str) -> int:
        """Count a failure of a step; returns how many there are."""
        key = f"{KEY_PREFIX}failed:{step}"
        with self._open_redis() as redis, redis.pipeline(transaction=False) as pipe:
            pipe.incr(key)
            pipe.expire(key, _KEY_TTL)
            return int(pipe.execute()[0])

    def reset_failures(self, step: str) -> None:
        """Forget all starts and failures of a step."""
        with self._open_redis() as redis:
            redis.delete(_executions_key(step), f"{KEY_PREFIX}failed:{step}")

    def take_poll_turn(self, parent: str, chain: str, poll_number: int, seconds: float) -> bool:
        """Make this look of ``chain`` the one that polls, when none is alive or it is this one, for ``seconds``."""
        script = """
            local turn = redis.call('get', KEYS[1])
            if turn and turn ~= ARGV[1] then return 0 end
            redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
            return 1
        """
        with self._open_redis() as redis:
            return bool(
                redis.eval(
                    script, 1, _poll_key(parent), f"{chain}:{poll_number}", int(seconds * 1000)
                )
            )

    def pass_poll_turn(self, parent: str, chain: str, poll_number: int, seconds: float) -> bool:
        """Pass the turn from this look of ``chain`` to its next, due within ``seconds``.

        False when a twin of this look did so before: of two, one goes on.
        """
        script = """
            if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
            redis.call('set', KEYS[1], ARGV[2], 'px', ARGV[3])
            return 1
        """
        turns = f"{chain}:{poll_number}", f"{chain}:{poll_number + 1}"
        with self._open_redis() as redis:
            return bool(redis.eval(script, 1, _poll_key(parent), *turns, int(seconds * 1000)))

    def is_stalled(self, parent: str) -> bool:
        """Whether jobs are open and no look at them is due or under way."""
        with self._open_redis() as redis, redis.pipeline(transaction=False) as pipe:
            pipe.exists(_poll_key(parent))
            pipe.hlen(_jobs_key(parent))
            turn, jobs = pipe.execute()
        return bool(jobs and not turn)

    def end_polling(self, parent: str) -> bool:
        """End polling when no job is open; False when there is one."""
        script = """
            if redis.call('hlen', KEYS[2]) > 0 then return 0 end
            redis.call('del', KEYS[1])
            return 1
        """
        with self._open_redis() as redis:
            return bool(redis.eval(script, 2, _poll_key(parent), _jobs_key(parent)))


def _step_key(step: str) -> str:
    return f"{KEY_PREFIX}step:{step}"


def _sent_key(step: str) -> str:
    return f"{KEY_PREFIX}sent:{step}"


def _executions_key(step: str) -> str:
    return f"{KEY_PREFIX}begun:{step}"


def _jobs_key(parent: str) -> str:
    return f"{KEY_PREFIX}jobs:{parent}"


def _poll_key(parent: str) -> str:
    return f"{KEY_PREFIX}poll:{parent}"


def _encode_job(job: OpenJob) -> str:
    since_suffix = f"@{job.since}" + "@told" * job.is_reported if job.since else ""
    return f"{job.run}/{job.shard}/{job.attempt}/{job.state}{since_suffix}"


def _decode_job(name: str, value: str) -> OpenJob:
    run, shard, attempt, state_and_since = value.split("/")
    state, _, since_and_flag = state_and_since.partition("@")
    since, _, flag = since_and_flag.partition("@")
    return OpenJob(name, run, int(shard), int(attempt), state, float(since or 0), bool(flag))
