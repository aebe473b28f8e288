"""What the workers note for each other in Redis: who is at which step, who is last, which jobs are open, who polls.

None of it is the truth: all may be lost at any moment, and then work is done twice or found again by ``reconcile``.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from promptmill.producers.contract.connection import PREFIX, Connection

_KEEP = 30 * 86_400
_DEATHS = 86_400
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
    told: bool = False


class Starts(NamedTuple):
    """The starts of a step that have not ended in order: those whose worker died, and those that may be at it still.

    One of the living is surely ``busy`` with it unless it says nothing for so many seconds more.
    """

    deaths: int = 0
    living: int = 0
    busy: float = 0.0


class Notes:
    """The notes; every method may raise Transient when Redis does not answer."""

    def __init__(self, connection: Connection) -> None:
        self._answering = connection.answering
        self._ended: set[tuple[str, str]] = set()

    def tally(self, run: str, what: str, member: str) -> int:
        """Add ``member`` to a set of what is done and return how many are; joins use it to tell who is last."""
        key = f"{PREFIX}run:{run}:{what}"
        with self._answering() as r, r.pipeline(transaction=False) as pipe:
            pipe.sadd(key, member)
            pipe.scard(key)
            pipe.expire(key, _KEEP)
            return int(pipe.execute()[1])

    def claim(self, step: str, seconds: float) -> bool:
        """Note that a step is in a queue, for the next ``seconds``; False when there was a note already.

        Only spares duplicate work: a step may still run twice, and must bear it.
        """
        with self._answering() as r:
            return bool(r.set(_step(step), "queued", nx=True, px=int(seconds * 1000)))

    def queue(self, step: str, seconds: float, sent: float) -> None:
        """Note that a step is in a queue, for the next ``seconds``, whatever was noted before, and ``sent`` just now."""
        with self._answering() as r, r.pipeline(transaction=False) as pipe:
            pipe.set(_step(step), "queued", px=int(seconds * 1000))
            pipe.set(_sent(step), "sent", px=int(sent * 1000))
            pipe.execute()

    def queue_once(self, step: str, seconds: float, once_in: float) -> bool:
        """As ``queue``, but only once in so many seconds; False when it was sent before, whatever came of the step."""
        script = """
            if not redis.call('set', KEYS[2], 'sent', 'nx', 'px', ARGV[2]) then return 0 end
            redis.call('set', KEYS[1], 'queued', 'px', ARGV[1])
            return 1
        """
        times = int(seconds * 1000), int(once_in * 1000)
        with self._answering() as r:
            return bool(r.eval(script, 2, _step(step), _sent(step), *times))

    def forget(self, step: str) -> None:
        """Forget that a step is in a queue: it could not be sent."""
        with self._answering() as r:
            r.delete(_step(step), _sent(step))

    def left_in_queue(self, step: str) -> float | None:
        """Return for how many seconds more a step's note says that it is in a queue; None when it does not say so."""
        with self._answering() as r, r.pipeline(transaction=False) as pipe:
            pipe.get(_step(step))
            pipe.pttl(_step(step))
            state, left = pipe.execute()
        return left / 1000 if state == "queued" else None

    def begin(self, step: str, start: str, seconds: float, most: int) -> Starts:
        """Note a ``start`` of a step, at work for the next ``seconds``, unless ``most`` others have not ended in order.

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
        with self._answering() as r:
            if self._ended:
                with r.pipeline(transaction=False) as pipe:
                    self._tell_ends(pipe)
            found = r.eval(script, 2, _begun(step), _step(step), start, int(seconds * 1000), most, _DEATHS)
        deaths, living, busy = found
        return Starts(deaths, living, busy / 1000)

    def renew(self, step: str, start: str, seconds: float) -> None:
        """Note that this start of a step is at work, for the next ``seconds``, whatever was noted before."""
        script = """
            local now = redis.call('time')
            redis.call('zadd', KEYS[1], now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[2], ARGV[1])
            redis.call('expire', KEYS[1], ARGV[3])
            redis.call('set', KEYS[2], 'running', 'px', ARGV[2])
        """
        with self._answering() as r:
            r.eval(script, 2, _begun(step), _step(step), start, int(seconds * 1000), _DEATHS)

    def end(self, step: str, start: str, *, through: bool, keep: float) -> None:
        """Note that a start ended in order, and that its step is under way for ``keep`` seconds more.

        The deaths of a step that is ``through`` are forgotten: it takes no worker with it. An end of which Redis did
        not hear, and which would look like a death, is told with the next beginning or end.
        """
        self._ended.add((step, start))
        with self._answering() as r, r.pipeline(transaction=False) as pipe:
            if through:
                pipe.delete(_begun(step))
            if keep:
                pipe.set(_step(step), "running", px=int(keep * 1000))
            else:
                pipe.delete(_step(step))
            self._tell_ends(pipe)

    def _tell_ends(self, pipe: Any) -> None:
        """Send what is in a pipeline, and with it all ends of which Redis has not heard."""
        ended = list(self._ended)
        for step, start in ended:
            pipe.zrem(_begun(step), start)
        pipe.execute()
        self._ended.difference_update(ended)

    def note_batch(self, batch: str, requests: int, size: int) -> None:
        """Note the size of a batch of a pool."""
        with self._answering() as r:
            r.set(f"{PREFIX}batch:{batch}", f"{requests} {size}", ex=_DEATHS)

    def batch_sizes(self, batches: Sequence[str]) -> list[tuple[int, int] | None]:
        """Return the requests and bytes of batches, as far as they are noted."""
        if not batches:
            return []
        with self._answering() as r:
            found = r.mget([f"{PREFIX}batch:{batch}" for batch in batches])
        return [(int(one.split()[0]), int(one.split()[1])) if one else None for one in found]

    def add_job(self, parent: str, job: OpenJob) -> None:
        """Note a job to be polled, and its state when last looked at."""
        with self._answering() as r:
            r.hset(_jobs(parent), job.name, _place(job))

    def remove_job(self, parent: str, name: str) -> None:
        """Note that a job has ended and was collected."""
        with self._answering() as r:
            r.hdel(_jobs(parent), name)

    def open_jobs(self, parent: str) -> list[OpenJob]:
        """Return the jobs to be polled."""
        with self._answering() as r:
            found = r.hgetall(_jobs(parent))
        return [_open_job(name, place) for name, place in found.items()]

    def count_alarm(self, what: str) -> None:
        """Count that people were told of something: a state of a job, or ``open`` for a run."""
        with self._answering() as r:
            r.hincrby(f"{PREFIX}alarms", what, 1)

    def alarms(self) -> dict[str, int]:
        """Return how often people were told of what, since Redis was empty."""
        with self._answering() as r:
            return {what: int(times) for what, times in r.hgetall(f"{PREFIX}alarms").items()}

    def now(self) -> float:
        """Return the time by Redis's clock, for spans that no worker's own clock is to tell."""
        with self._answering() as r:
            seconds, micros = r.time()
        return float(seconds + micros / 1e6)

    def take_slot(self, parent: str, place: str, most: int) -> bool:
        """Take one of ``most`` slots for an open job, or keep the one that ``place`` has; False when all are taken."""
        script = """
            if redis.call('sismember', KEYS[1], ARGV[1]) == 0 and redis.call('scard', KEYS[1]) >= tonumber(ARGV[2]) then
                return 0
            end
            redis.call('sadd', KEYS[1], ARGV[1])
            return 1
        """
        with self._answering() as r:
            return bool(r.eval(script, 1, f"{PREFIX}slots:{parent}", place, most))

    def free_slot(self, parent: str, place: str) -> None:
        """Give the slot of ``place`` back."""
        with self._answering() as r:
            r.srem(f"{PREFIX}slots:{parent}", place)

    def slots(self, parent: str) -> set[str]:
        """Return the places that have a slot."""
        with self._answering() as r:
            return set(r.smembers(f"{PREFIX}slots:{parent}"))

    def take_turn(self, parent: str, per_minute: int) -> float:
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
        with self._answering() as r:
            return float(r.eval(script, 1, f"{PREFIX}turns:{parent}", per_minute))

    def fail(self, step: str) -> int:
        """Count a failure of a step; returns how many there are."""
        key = f"{PREFIX}failed:{step}"
        with self._answering() as r, r.pipeline(transaction=False) as pipe:
            pipe.incr(key)
            pipe.expire(key, _KEEP)
            return int(pipe.execute()[0])

    def forgive(self, step: str) -> None:
        """Forget all starts and failures of a step."""
        with self._answering() as r:
            r.delete(_begun(step), f"{PREFIX}failed:{step}")

    def take_poll(self, parent: str, chain: str, look: int, seconds: float) -> bool:
        """Make this look of ``chain`` the one that polls, when none is alive or it is this one, for ``seconds``."""
        script = """
            local turn = redis.call('get', KEYS[1])
            if turn and turn ~= ARGV[1] then return 0 end
            redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
            return 1
        """
        with self._answering() as r:
            return bool(r.eval(script, 1, _poll(parent), f"{chain}:{look}", int(seconds * 1000)))

    def pass_poll(self, parent: str, chain: str, look: int, seconds: float) -> bool:
        """Pass the turn from this look of ``chain`` to its next, due within ``seconds``.

        False when a twin of this look did so before: of two, one goes on.
        """
        script = """
            if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
            redis.call('set', KEYS[1], ARGV[2], 'px', ARGV[3])
            return 1
        """
        turns = f"{chain}:{look}", f"{chain}:{look + 1}"
        with self._answering() as r:
            return bool(r.eval(script, 1, _poll(parent), *turns, int(seconds * 1000)))

    def stands_still(self, parent: str) -> bool:
        """Whether jobs are open and no look at them is due or under way."""
        with self._answering() as r, r.pipeline(transaction=False) as pipe:
            pipe.exists(_poll(parent))
            pipe.hlen(_jobs(parent))
            turn, jobs = pipe.execute()
        return bool(jobs and not turn)

    def end_poll(self, parent: str) -> bool:
        """End polling when no job is open; False when there is one."""
        script = """
            if redis.call('hlen', KEYS[2]) > 0 then return 0 end
            redis.call('del', KEYS[1])
            return 1
        """
        with self._answering() as r:
            return bool(r.eval(script, 2, _poll(parent), _jobs(parent)))


def _step(step: str) -> str:
    return f"{PREFIX}step:{step}"


def _sent(step: str) -> str:
    return f"{PREFIX}sent:{step}"


def _begun(step: str) -> str:
    return f"{PREFIX}begun:{step}"


def _jobs(parent: str) -> str:
    return f"{PREFIX}jobs:{parent}"


def _poll(parent: str) -> str:
    return f"{PREFIX}poll:{parent}"


def _place(job: OpenJob) -> str:
    seen = f"@{job.since}" + "@told" * job.told if job.since else ""
    return f"{job.run}/{job.shard}/{job.attempt}/{job.state}{seen}"


def _open_job(name: str, place: str) -> OpenJob:
    run, shard, attempt, seen = place.split("/")
    state, _, rest = seen.partition("@")
    since, _, told = rest.partition("@")
    return OpenJob(name, run, int(shard), int(attempt), state, float(since or 0), bool(told))
