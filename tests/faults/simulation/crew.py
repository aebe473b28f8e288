"""Threads of which exactly one runs at a time: who is next is decided by the simulation alone, so a seed repeats itself."""

import threading
from collections.abc import Callable
from typing import Any


class Crash(BaseException):
    """The process that does this work is gone; nothing of ours may catch it."""


class Actor:
    """One piece of work in a thread of the crew, which runs only while ``Crew.go_on`` waits for it."""

    def __init__(
        self, name: str, work: Callable[[], Any], skew: float = 0.0, *, is_other: bool = False
    ) -> None:
        self.name = name
        self.skew = skew
        self.is_other = is_other
        self.dead = False
        self.done = False
        self.frozen = False
        self.start = ""
        self.work = work
        self.turn = threading.Lock()
        self.thread = 0

    def __repr__(self) -> str:
        return f"Actor({self.name!r})"


class Crew:
    """The threads; they are kept for the next actor."""

    def __init__(self) -> None:
        self._back = threading.Lock()
        self._back.acquire()
        self._idle: list[_Hand] = []

    def go_on(self, actor: Actor) -> None:
        """Let an actor run until it pauses or is done."""
        if not actor.thread:
            hand = self._idle.pop() if self._idle else _Hand(self)
            hand.take(actor)
        actor.turn.release()
        self._back.acquire()

    def pause(self, actor: Actor) -> None:
        """Give the turn back, in the actor's thread, until it is told to go on."""
        self._back.release()
        actor.turn.acquire()

    def rest(self, hand: "_Hand") -> None:
        """Take a hand back that has finished its work."""
        self._idle.append(hand)
        self._back.release()


class _Hand:
    """A thread that does one actor's work after the other."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._wanted = threading.Lock()
        self._wanted.acquire()
        self._actor: Actor | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def take(self, actor: Actor) -> None:
        actor.turn.acquire()
        actor.thread = self._thread.ident or 0
        self._actor = actor
        self._wanted.release()

    def _work(self) -> None:
        while True:
            self._wanted.acquire()
            assert self._actor is not None
            self._actor.turn.acquire()
            try:
                self._actor.work()
            finally:
                self._actor.done = True
                self._crew.rest(self)
