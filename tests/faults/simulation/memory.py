"""A Redis in memory, as much of it as Promptmill's own keys need, on a clock that is given to it."""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple

Clock = Callable[[], float]


class _Held(NamedTuple):
    value: Any
    until: float


class Redis:
    """What ``redis.Redis(decode_responses=True)`` answers; keys end by ``clock``. Names and arguments are redis-py's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: dict[str, _Held] = {}

    def flushall(self) -> None:
        self._held.clear()

    def ping(self) -> bool:
        return True

    def time(self) -> tuple[int, int]:
        seconds, rest = divmod(self._clock(), 1)
        return int(seconds), int(rest * 1e6)

    def exists(self, key: str) -> int:
        return int(self._live(key) is not None)

    def delete(self, *keys: str) -> int:
        return sum(self._held.pop(key, None) is not None for key in keys)

    def expire(self, key: str, seconds: float) -> bool:
        held = self._live(key)
        if held is not None:
            self._held[key] = _Held(held.value, self._clock() + seconds)
        return held is not None

    def get(self, key: str) -> str | None:
        held = self._live(key)
        return None if held is None else held.value

    def set(
        self,
        key: str,
        value: object,
        *,
        nx: bool = False,
        px: float | None = None,
        ex: float | None = None,
    ) -> bool | None:
        if nx and self._live(key):
            return None
        seconds = px / 1000 if px is not None else ex
        self._held[key] = _Held(
            _text(value), float("inf") if seconds is None else self._clock() + seconds
        )
        return True

    def pttl(self, key: str) -> int:
        held = self._live(key)
        if held is None:
            return -2
        return -1 if held.until == float("inf") else int((held.until - self._clock()) * 1000)

    def begin(
        self, begun: str, step: str, start: str, life: int, most: int, remembered: int
    ) -> list[int]:
        now, starts = self._clock() * 1000, self._get(begun, dict)
        starts.pop(start, None)
        for one in [one for one, until in starts.items() if until <= now - remembered * 1000]:
            del starts[one]
        deaths = sum(until <= now for until in starts.values())
        busy = math.ceil(max(0.0, max(starts.values(), default=0.0) - now - life / 2))
        found = [deaths, len(starts) - deaths, busy]
        if not busy and len(starts) < most:
            self.renew(begun, step, start, life, remembered)
        return found

    def renew(self, begun: str, step: str, start: str, life: int, remembered: int) -> None:
        self.zadd(begun, {start: self._clock() * 1000 + life})
        self.expire(begun, remembered)
        self.set(step, "running", px=life)

    def incr(self, key: str) -> int:
        number = int(self.get(key) or 0) + 1
        held = self._live(key)
        self._held[key] = _Held(str(number), held.until if held else float("inf"))
        return number

    def hset(
        self,
        key: str,
        field: str | None = None,
        value: object = None,
        *,
        mapping: Mapping[str, object] = {},
    ) -> int:
        fields = self._get(key, dict)
        fields.update({name: _text(one) for name, one in mapping.items()})
        if field is not None:
            fields[field] = _text(value)
        return 1

    def hincrby(self, key: str, field: str, number: int) -> int:
        fields = self._get(key, dict)
        fields[field] = _text(int(fields.get(field, 0)) + number)
        return int(fields[field])

    def decr(self, key: str) -> int:
        number = int(self.get(key) or 0) - 1
        held = self._live(key)
        self._held[key] = _Held(str(number), held.until if held else float("inf"))
        return number

    def hget(self, key: str, field: str) -> str | None:
        found: str | None = self.hgetall(key).get(field)
        return found

    def hgetall(self, key: str) -> dict[str, str]:
        held = self._live(key)
        return {} if held is None else dict(held.value)

    def hlen(self, key: str) -> int:
        return len(self.hgetall(key))

    def hdel(self, key: str, *fields: str) -> int:
        return sum(self._get(key, dict).pop(field, None) is not None for field in fields)

    def sadd(self, key: str, *members: object) -> int:
        self._get(key, dict).update(dict.fromkeys(map(_text, members)))
        return 1

    def srem(self, key: str, *members: object) -> int:
        return self.hdel(key, *map(_text, members))

    def xlen(self, _: str) -> int:
        return 0

    def scard(self, key: str) -> int:
        return self.hlen(key)

    def smembers(self, key: str) -> Iterable[str]:
        return list(self.hgetall(key))

    def zadd(self, key: str, mapping: Mapping[str, float]) -> int:
        self._get(key, dict).update(mapping)
        return 1

    def zrem(self, key: str, *members: str) -> int:
        return self.hdel(key, *members)

    def zrevrange(self, key: str, start: int, end: int) -> list[str]:
        held = self._live(key)
        scores = {} if held is None else held.value
        ranked = sorted(scores, key=lambda member: (scores[member], member), reverse=True)
        return ranked[start : end + 1]

    def memory_usage(self, key: str, samples: int = 5) -> int:
        return 0

    def pipeline(self, transaction: bool = True) -> "_Pipeline":
        return _Pipeline(self)

    def eval(self, script: str, keys: int, *rest: Any) -> Any:
        """Do what one of the scripts of ``promptmill.workers.coordination`` does, known by a word that only it has."""
        for mark, does in _SCRIPTS.items():
            if mark in script:
                return does(self, *rest)
        raise NotImplementedError(f"the simulation does not know this script:\n{script}")

    def _live(self, key: str) -> _Held | None:
        held = self._held.get(key)
        if held is not None and held.until <= self._clock():
            del self._held[key]
            return None
        return held

    def _get(self, key: str, kind: Callable[[], Any]) -> Any:
        if self._live(key) is None:
            self._held[key] = _Held(kind(), float("inf"))
        return self._held[key].value

    def queue_once(self, step: str, sent: str, milliseconds: int, once_in: int) -> int:
        if not self.set(sent, "sent", nx=True, px=once_in):
            return 0
        self.set(step, "queued", px=milliseconds)
        return 1

    def take_poll(self, key: str, chain: str, milliseconds: int) -> int:
        if self.get(key) not in (None, chain):
            return 0
        self.set(key, chain, px=milliseconds)
        return 1

    def pass_poll(self, key: str, turn: str, following: str, milliseconds: int) -> int:
        if self.get(key) != turn:
            return 0
        self.set(key, following, px=milliseconds)
        return 1

    def end_poll(self, poll: str, jobs: str) -> int:
        if self.hlen(jobs):
            return 0
        self.delete(poll)
        return 1

    def take_slot(self, key: str, place: str, most: int) -> int:
        if place not in self.hgetall(key) and self.scard(key) >= most:
            return 0
        self.sadd(key, place)
        return 1

    def take_turn(self, key: str, per_minute: int) -> str:
        now, gap = self._clock(), 60 / per_minute
        due = max(float(self.get(key) or 0), now - 15)
        if due > now:
            return str(due - now)
        self.set(key, due + gap, ex=120)
        return "0"


_SCRIPTS: dict[str, Callable[..., Any]] = {
    "'zcount'": Redis.begin,
    "'zadd'": Redis.renew,
    "ARGV[3]": Redis.pass_poll,
    "hlen": Redis.end_poll,
    "sismember": Redis.take_slot,
    "'time'": Redis.take_turn,
    "local turn": Redis.take_poll,
    "'queued'": Redis.queue_once,
}


class _Pipeline:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._calls: list[Callable[[], Any]] = []

    def __enter__(self) -> "_Pipeline":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._calls.clear()

    def __getattr__(self, name: str) -> Callable[..., None]:
        command = getattr(self._redis, name)
        return lambda *args, **kwargs: self._calls.append(partial(command, *args, **kwargs))

    def execute(self) -> list[Any]:
        return [call() for call in self._calls]


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
