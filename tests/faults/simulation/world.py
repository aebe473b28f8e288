"""One simulated world: the real tasks and producers over a simulated clock, queue, bucket, Vertex and Redis."""

import heapq
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeVar

import kombu.exceptions

from faults.simulation import answers
from faults.simulation.celery_app import Tasks
from faults.simulation.crew import Actor, Crash, Crew
from faults.simulation.faults import Fault, Faults, drawn
from faults.simulation.memory import Redis
from faults.simulation.ports import FaultyBucket, FaultyCallbackBroker, FaultyConnection, FaultyJobs
from faults.simulation.shape import START, shape
from faults.simulation.vertex import Vertex
from promptmill.config.errors import OutcomeUnknown, PromptmillError, Transient
from promptmill.producers.pools import PoolQueue
from promptmill.workers.coordination.step_leases import LeaseState, StepLeases
from promptmill.workers.fakes import FakeCallbackBroker, MemoryBucket
from promptmill.workers.services import Services
from promptmill.workers.sinks.context import Connectors

T = TypeVar("T")
Trace = Callable[[str], None]

_RENEWAL = 5.0
_LIFE = 20.0
_MOST_COPIES = 3
"""Of one message; a task that waits sends itself again, so that copies would beget copies without end."""
_LONGEST = {"promptmill.submit": 5.0}
"""Seconds that one call of a task may be held up. ``submit`` is held up so little that a creation turns up within the
settle window: that is what the window is for, and beyond it nothing can be promised. Before it creates, it may stand
still for longer than the window."""
_LAST_LOOKS = 10
"""How much likelier that is at its last looks at the bucket before it creates."""


class Message(NamedTuple):
    """A task in the queue."""

    task: str
    args: list[Any]
    id: str
    retries: int = 0
    queue: str = ""


class World:
    """The clock, the queue, and everybody who acts."""

    def __init__(self, seed: int, tasks: Tasks, crew: Crew, trace: Trace | None = None) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.shape = shape(self.rng)
        self.faults = Faults(self.rng, drawn(self.rng))
        self.now = START
        self.current: Actor | None = None
        self.wrong: list[str] = []
        self.running: set[int] = set()
        self.actors: dict[int, Actor] = {}
        self.sent: list[Message] = []
        self.flushed_at = 0.0
        self.tasks_run = 0
        self._events: list[tuple[float, int, Callable[[], Any]]] = []
        self._numbers = 0
        self._copies: Counter[str] = Counter()
        self._queued: Counter[str] = Counter()
        self._crew = crew
        self._trace = trace
        self._tasks = tasks
        self.watch: Callable[[], Iterable[str]] = tuple
        self._build()

    def _build(self) -> None:
        shape = self.shape
        self.bucket = MemoryBucket(shape.settings.bucket, self.clock)
        self.redis = Redis(self.clock)
        self.vertex = Vertex(
            self.bucket,
            answers.answer,
            self.faults,
            self.seed,
            duration=shape.duration,
            clock=self.clock,
        )
        self.vertex.hide_new_jobs(shape.listed_after)
        if shape.output_late:
            self.vertex.be_late(self._write_late)
        connection: Any = FaultyConnection(self.redis, self)
        self.connection = connection
        sink_buckets: dict[str, MemoryBucket] = {shape.settings.bucket: self.bucket}

        def open_bucket(url: str) -> Any:
            return FaultyBucket(sink_buckets.setdefault(url, MemoryBucket(url, self.clock)), self)

        self.buckets = sink_buckets
        self.called = FakeCallbackBroker()
        caller = FaultyCallbackBroker(self.called, self)
        ways = Connectors(open_callback_broker=lambda: caller)
        jobs = FaultyJobs(self.vertex, self, shape.in_flight)
        self.services, self._others = (
            _WorldServices(
                settings,
                connection,
                open_bucket,
                lambda: jobs,
                ways,
                lambda: PoolQueue(connection),
            )
            for settings in (shape.settings, shape.others)
        )

    def clock(self) -> float:
        """Tell the servers' time."""
        return self.now

    def worker_clock(self) -> float:
        """Tell the time as the current worker has it."""
        return self.now + (self.current.skew if self.current else 0.0)

    def workers_services(self) -> Services:
        """Return the services of the current worker."""
        return self._others if self.current and self.current.is_other else self.services

    def later(self, seconds: float, event: Callable[[], Any]) -> None:
        """Let something happen after so many seconds."""
        self._numbers += 1
        heapq.heappush(self._events, (self.now + seconds, self._numbers, event))

    def run_until(self, over: Callable[[], bool], deadline: float) -> bool:
        """Let things happen until ``over`` or the deadline; returns whether it is over."""
        while not over():
            if not self._events or self.now > deadline:
                return False
            self._next()
        return True

    def drain(self) -> None:
        """Let everything happen that is under way; a message that comes after the end is among it."""
        while self._events:
            self._next()

    def abandon(self) -> None:
        """End every actor that is left, so that its thread is free."""
        self.kill_all()
        self._events.clear()

    def _next(self) -> None:
        due, _, event = heapq.heappop(self._events)
        self.now = max(self.now, due)
        event()

    # Actors

    def act(self, name: str, work: Callable[[], Any], skew: float = 0.0) -> None:
        """Start a piece of work now."""
        actor = Actor(name, work, skew, is_other=self.rng.random() < 0.5)
        self.actors[id(actor)] = actor
        self.later(_RENEWAL, partial(self._renew, actor))
        self._go_on(actor)

    def _go_on(self, actor: Actor) -> None:
        if actor.done:
            return
        self.current = actor
        self._crew.go_on(actor)
        self.current = None
        if actor.done:
            self.actors.pop(id(actor), None)

    def kill_all(self) -> None:
        """Pull the plug: everybody who is at work is gone, and does not notice."""
        for actor in list(self.actors.values()):
            actor.dead = True
            self._go_on(actor)

    def say(self, words: str) -> None:
        """Tell the trace."""
        if self._trace:
            self._trace(
                f"{self.now - START:9.2f} {self.current.name if self.current else '-':<38} {words}"
            )

    # The seam

    def enter(self, port: str, what: str) -> Fault:
        actor = self.current
        if actor is None:
            return Fault("", 0.0)
        if threading.get_ident() != actor.thread:
            raise Transient("simulated: this thread is not part of the simulation")
        self._look_alive(actor)
        self.now += self.rng.uniform(0.001, 0.02)
        self._freeze(actor, port, what)
        fault = self.faults.call(
            port, actor.name, _LONGEST.get("promptmill." + actor.name.rpartition(".")[2], 60.0)
        )
        self.say(
            f"{port} {what} {fault.kind}" + (f" after {fault.pause:.1f} s" if fault.pause else "")
        )
        if fault.pause:
            self._pause(actor, fault.pause)
        if fault.kind == "crash before":
            self._die(actor)
        if fault.kind == "before":
            raise Transient("simulated: nothing was done")
        return fault

    def _freeze(self, actor: Actor, port: str, what: str) -> None:
        """Let a process that is about to create a job stand still until others may take its intent over; it looks dead."""
        faults = self.faults
        if not actor.name.endswith(".submit") or not port.startswith("bucket"):
            return
        rate = faults.rates.frozen * (
            _LAST_LOOKS if what.endswith(("/intent.json", "/cancelled.json")) else 1
        )
        if faults.happens(rate) and faults.may_crash(actor.name):
            faults.note("submit: stands still")
            self.say("stands still")
            actor.frozen = True
            self._pause(
                actor, self.rng.uniform(0.4, 2.0) * self.shape.settings.creation_visibility_seconds
            )
            actor.frozen = False

    def leave(self, port: str, fault: Fault) -> None:
        if fault.kind == "crash after" and self.current:
            self._die(self.current)
        if fault.kind == "after":
            raise OutcomeUnknown("simulated: done, but not answered")

    def call(self, port: str, what: str, effect: Callable[[], T]) -> T:
        fault = self.enter(port, what)
        result = effect()
        self.leave(port, fault)
        return result

    def _look_alive(self, actor: Actor) -> None:
        if actor.dead:
            raise Crash

    def _die(self, actor: Actor) -> None:
        actor.dead = True
        raise Crash

    def _pause(self, actor: Actor, seconds: float) -> None:
        self.later(seconds, lambda: self._go_on(actor))
        self._crew.pause(actor)
        self._look_alive(actor)

    def _renew(self, actor: Actor) -> None:
        """Let a process that is alive renew its note, as its second thread would."""
        if actor.dead or actor.done:
            return
        if actor.start and not actor.frozen:
            self.services.leases.renew(actor.name, actor.start, _LIFE)
        self.later(_RENEWAL, partial(self._renew, actor))

    def _write_late(self, write: Callable[[], None]) -> None:
        self.faults.note("output: late")
        self.later(self.rng.uniform(0, self.shape.output_late), write)

    # The queue

    def send_task(
        self,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        countdown: float | None = None,
        task_id: str | None = None,
        retries: int = 0,
        queue: str = "",
        **_: Any,
    ) -> None:
        """Take a message, in place of ``Celery.send_task``."""
        message = Message(
            name,
            list(args or ()),
            task_id or f"t{self.rng.getrandbits(32):08x}",
            retries,
            "" if countdown else queue,
        )
        try:
            fault = self.enter("queue", f"send {message.id} in {countdown or 0:.1f} s")
            self.put(message, countdown or 0.0)
            self.leave("queue", fault)
        except Transient as error:
            raise kombu.exceptions.OperationalError(str(error)) from None

    def put(self, message: Message, seconds: float) -> None:
        rates = self.faults.rates
        self.sent.append(message)
        if self.faults.happens(rates.lost):
            self.faults.note("message: lost")
            self.say(f"lost: {message.id}")
            return
        if self.faults.happens(rates.late):
            self.faults.note("message: late")
            self._deliver(
                message, seconds + self.rng.choice((30.0, 300.0, 86_400.0)) * self.rng.random()
            )
        else:
            self._deliver(message, seconds + self.rng.expovariate(1 / 0.05))
        if self._copies[message.id] < _MOST_COPIES and self.faults.happens(rates.twice):
            self._copies[message.id] += 1
            self.faults.note("message: twice")
            self._deliver(message, seconds + self.rng.choice((0.0, 5.0, 900.0)) * self.rng.random())

    def waiting(self, queue: str) -> int:
        """Tell how many messages are in a queue, and not with a worker."""
        try:
            fault = self.enter("queue", f"waiting in {queue}")
            self.leave("queue", fault)
        except Transient as error:
            raise kombu.exceptions.OperationalError(str(error)) from None
        return self._queued[queue]

    def _deliver(self, message: Message, seconds: float) -> None:
        wiped = self._wipes
        self._queued[message.queue] += 1

        def start() -> None:
            if wiped == self._wipes:
                self._queued[message.queue] -= 1
            if wiped == self._wipes or self.rng.random() < 0.1:
                self.act(message.id, lambda: self._work(message), self.rng.choice(self.shape.skews))

        self.later(seconds, start)

    _wipes = 0

    def wipe(self) -> None:
        """Lose all of Redis: what is noted, and what is queued."""
        self.faults.note("redis: wiped")
        self.say("FLUSHALL")
        self.redis.flushall()
        self._wipes += 1
        self._queued.clear()
        self.flushed_at = self.now

    # The work

    def _work(self, message: Message) -> None:
        self.tasks_run += 1
        actor = self.current
        assert actor is not None
        self.say("begins" + (f", try {message.retries + 1}" if message.retries else ""))
        try:
            error = self._tasks.run(message.task, message.args, message.id, message.retries)
        except Crash:
            self.say("is gone")
            self._redeliver(message)
        except BaseException as surprise:  # noqa: BLE001 - told by the checks
            self.wrong.append(f"{message.id}: {surprise!r}")
        else:
            if error is not None:
                self._look_at(message, error)
            self.say("ends" + (f": {error!r}" if error else ""))
        self.wrong += self.watch()

    def told(self, who: str, error: PromptmillError) -> None:
        """Hear of an error that a user was told."""
        self.faults.note(f"user told: {type(error).__name__}")
        if not isinstance(error, Transient):
            self.wrong.append(f"{who} was told: {error!r}")

    def _redeliver(self, message: Message) -> None:
        if self.rng.random() < 0.85:
            self._deliver(message._replace(queue=""), self.rng.choice((0.1, 5.0, 600.0)))

    def _look_at(self, message: Message, error: BaseException) -> None:
        self.faults.note(f"task failed: {type(error).__name__}")
        if not isinstance(error, kombu.exceptions.OperationalError | Transient):
            self.wrong.append(f"{message.id} failed: {error!r}")


class _WorldServices(Services):
    """Services whose leases tell the world who is alive."""

    @cached_property
    def leases(self) -> StepLeases:
        connection: Any = self.connection
        return _Leases(connection, connection.seam)


class _Leases(StepLeases):
    """Leases that know which start of its step the current actor is, from its beginning to its end."""

    def __init__(self, connection: Any, world: World) -> None:
        super().__init__(connection)
        self._world = world

    def acquire(self, step: str, execution: str, seconds: float, limit: int) -> LeaseState:
        self._is_at(execution)
        lease_state = super().acquire(step, execution, seconds, limit)
        if lease_state.busy_seconds or lease_state.crashes + lease_state.live >= limit:
            self._is_at("")
        return lease_state

    def release(self, step: str, execution: str, *, succeeded: bool, retention: float) -> None:
        self._is_at("")
        super().release(step, execution, succeeded=succeeded, retention=retention)

    def _is_at(self, start: str) -> None:
        if self._world.current:
            self._world.current.start = start
