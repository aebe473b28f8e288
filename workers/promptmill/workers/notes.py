"""What the workers note for each other in Redis: who is at which step, who is last, which jobs are open, who polls.

None of it is the truth: all may be lost at any moment, and then work is done twice or found again by ``reconcile``.
"""

from typing import NamedTuple

from promptmill.producers.connection import PREFIX, Connection

_KEEP = 30 * 86_400


class OpenJob(NamedTuple):
    """A job that had not ended when it was last looked at, and what it is for."""

    name: str
    run: str
    shard: int
    attempt: int
    state: str = ""


class Notes:
    """The notes; every method may raise Transient when Redis does not answer."""

    def __init__(self, connection: Connection) -> None:
        self._answering = connection.answering

    def tally(self, run: str, what: str, member: str) -> int:
        """Add ``member`` to a set of what is done and return how many are; joins use it to tell who is last."""
        key = f"{PREFIX}run:{run}:{what}"
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


def _jobs(parent: str) -> str:
    return f"{PREFIX}jobs:{parent}"


def _poll(parent: str) -> str:
    return f"{PREFIX}poll:{parent}"


def _open_job(name: str, place: str) -> OpenJob:
    run, shard, attempt, state = place.split("/")
    return OpenJob(name, run, int(shard), int(attempt), state)
