"""Open jobs: the jobs to poll, the slots they hold, and turns to create jobs and to poll."""

from typing import NamedTuple

from promptmill.producers.contract.connection import KEY_PREFIX, Connection


class OpenJob(NamedTuple):
    """A job that had not ended when it was last polled, and its attempt.

    It has been in ``state`` since ``since`` (Redis's time). ``is_reported``: users were
    warned that this takes too long.
    """

    name: str
    run: str
    shard: int
    attempt: int
    state: str = ""
    since: float = 0.0
    is_reported: bool = False

    @property
    def slot(self) -> str:
        """The slot that the job holds."""
        return slot_of(self.run, self.shard, self.attempt)


class OpenJobs:
    """The open jobs of one ``parent`` (``projects/…/locations/…``).

    Every method may raise Transient.
    """

    def __init__(self, connection: Connection, parent: str) -> None:
        self._open_redis = connection.use_client
        self._parent = parent
        self._jobs_key = f"{KEY_PREFIX}jobs:{parent}"
        self._poll_key = f"{KEY_PREFIX}poll:{parent}"

    def add_job(self, job: OpenJob) -> None:
        """Store a job to poll, with its last polled state."""
        with self._open_redis() as redis:
            redis.hset(self._jobs_key, job.name, _encode_job(job))

    def remove_job(self, name: str) -> None:
        """Remove a job that has ended."""
        with self._open_redis() as redis:
            redis.hdel(self._jobs_key, name)

    def list_jobs(self) -> list[OpenJob]:
        """Return the jobs to poll."""
        with self._open_redis() as redis:
            fields = redis.hgetall(self._jobs_key)
        return [_decode_job(name, value) for name, value in fields.items()]

    def take_slot(self, slot: str, limit: int) -> bool:
        """Take one of ``limit`` slots, or keep it if taken already. False if none is free."""
        script = """
            local is_new = redis.call('sismember', KEYS[1], ARGV[1]) == 0
            if is_new and redis.call('scard', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
            redis.call('sadd', KEYS[1], ARGV[1])
            return 1
        """
        with self._open_redis() as redis:
            return bool(redis.eval(script, 1, f"{KEY_PREFIX}slots:{self._parent}", slot, limit))

    def free_slot(self, slot: str) -> None:
        """Free a slot."""
        with self._open_redis() as redis:
            redis.srem(f"{KEY_PREFIX}slots:{self._parent}", slot)

    def list_slots(self) -> set[str]:
        """Return the slots that are taken."""
        with self._open_redis() as redis:
            return set(redis.smembers(f"{KEY_PREFIX}slots:{self._parent}"))

    # Turns are evenly spaced by Redis's clock, with bursts of up to 15 s worth of turns.
    def take_creation_turn(self, per_minute: int) -> float:
        """Take a turn to create a job. Returns 0, or the seconds until the next turn."""
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
            return float(redis.eval(script, 1, f"{KEY_PREFIX}turns:{self._parent}", per_minute))

    def take_poll_turn(self, chain: str, poll_number: int, seconds: float) -> bool:
        """Take or keep the polling turn for ``seconds``. False if another poll has it."""
        script = """
            local turn = redis.call('get', KEYS[1])
            if turn and turn ~= ARGV[1] then return 0 end
            redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
            return 1
        """
        with self._open_redis() as redis:
            return bool(
                redis.eval(script, 1, self._poll_key, f"{chain}:{poll_number}", int(seconds * 1000))
            )

    def pass_poll_turn(self, chain: str, poll_number: int, seconds: float) -> bool:
        """Pass the turn from this poll to the next of its chain, due within ``seconds``.

        False if a duplicate of this poll already did: only one of them continues.
        """
        script = """
            if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
            redis.call('set', KEYS[1], ARGV[2], 'px', ARGV[3])
            return 1
        """
        turns = f"{chain}:{poll_number}", f"{chain}:{poll_number + 1}"
        with self._open_redis() as redis:
            return bool(redis.eval(script, 1, self._poll_key, *turns, int(seconds * 1000)))

    def is_stalled(self) -> bool:
        """Whether jobs are open and no poll is due or running."""
        with self._open_redis() as redis, redis.pipeline(transaction=False) as pipe:
            pipe.exists(self._poll_key)
            pipe.hlen(self._jobs_key)
            turn, jobs = pipe.execute()
        return bool(jobs and not turn)

    def end_polling(self) -> bool:
        """End polling unless a job is open; False if one is."""
        script = """
            if redis.call('hlen', KEYS[2]) > 0 then return 0 end
            redis.call('del', KEYS[1])
            return 1
        """
        with self._open_redis() as redis:
            return bool(redis.eval(script, 2, self._poll_key, self._jobs_key))

    def server_time(self) -> float:
        """Return the time by Redis's clock, which all workers share."""
        with self._open_redis() as redis:
            seconds, micros = redis.time()
        return float(seconds + micros / 1e6)


def slot_of(run: str, shard: int, attempt: int) -> str:
    """Return the slot of an attempt's job: ``run/shard/attempt``."""
    return f"{run}/{shard}/{attempt}"


def _encode_job(job: OpenJob) -> str:
    since_suffix = f"@{job.since}" + "@reported" * job.is_reported if job.since else ""
    return f"{job.run}/{job.shard}/{job.attempt}/{job.state}{since_suffix}"


def _decode_job(name: str, value: str) -> OpenJob:
    run, shard, attempt, state_and_since = value.split("/")
    state, _, since_and_flag = state_and_since.partition("@")
    since, _, flag = since_and_flag.partition("@")
    return OpenJob(name, run, int(shard), int(attempt), state, float(since or 0), bool(flag))
