"""Keeps one chain of ``poll`` tasks alive while jobs are open."""

import secrets
import sys
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress

import structlog

from promptmill.config.errors import Transient
from promptmill.config.settings import Settings
from promptmill.workers.coordination.open_jobs import OpenJob, OpenJobs, slot_of
from promptmill.workers.dispatch import Dispatcher
from promptmill.workers.facts.records import Created
from promptmill.workers.facts.step import Step, Wait
from promptmill.workers.ports.google import Job
from promptmill.workers.runtime import heartbeat
from promptmill.workers.steps import poll

_log = structlog.get_logger(__name__)
_FIRST_POLL_SECONDS = 10.0
"""Seconds that the first poll of a chain may wait in the queue. If this is too short, new chains
on a busy machine overtake each other, and none polls."""
_OVERDUE_SECONDS = 1.5
"""A poll this many seconds overdue is presumed dead and a new chain may start. If it was
merely late, it sees the new chain and stops; the cost is one message."""
_TURN_SECONDS = 3.0
"""A running poll that does not renew its turn for this long is presumed dead."""


class PollChain:
    """The chain of polls of one deployment."""

    def __init__(self, open_jobs: OpenJobs, settings: Settings, dispatcher: Dispatcher) -> None:
        self._open_jobs = open_jobs
        self._settings = settings
        self._dispatcher = dispatcher

    def track_job(self, run: str, shard: int, attempt: int, created: Created) -> list[Step]:
        """Add a job to the polled ones. Returns ``collect`` if Vertex refused to create it."""
        slot = slot_of(run, shard, attempt)
        if not created.name:
            self._open_jobs.free_slot(slot)
            return [Step("collect", run, (shard, attempt))]
        # The slot first: a poll that finds the job ended then frees it again.
        self._open_jobs.take_slot(slot, sys.maxsize)
        self._open_jobs.add_job(OpenJob(created.name, run, shard, attempt))
        self.start_chain()
        return []

    def resume_polling(self, step: Step, created: Created) -> list[Step]:
        """Poll the job of a ``poll`` step if no chain does. Returns the resumed steps."""
        open_names = {job.name for job in self._open_jobs.list_jobs()}
        if created.name not in open_names:
            shard, attempt = step.indices
            return self.track_job(step.run, shard, attempt, created) or [step]
        return [step] if self.start_chain() else []

    def start_chain(self) -> bool:
        """Start a chain, unless one is alive."""
        chain = secrets.token_hex(4)
        if not self._open_jobs.take_poll_turn(chain, 0, _FIRST_POLL_SECONDS):
            return False
        self._dispatcher.enqueue_poll(chain)
        return True

    def revive_chain(self) -> None:
        """Start a chain if jobs are open and none is alive."""
        if self._open_jobs.is_stalled() and self.start_chain():
            _log.warning("poll_chain_restarted", cause="no poller was active")

    def claim_turn(self, chain: str, poll_number: int) -> bool:
        """Whether it is this poll's turn. A late or duplicate one ends here."""
        return self._open_jobs.take_poll_turn(chain, poll_number, _TURN_SECONDS)

    def keep_turn(self, chain: str, poll_number: int) -> AbstractContextManager[None]:
        """Keep this poll's turn during the block."""

        def renew_turn() -> None:
            with suppress(Transient):
                self.claim_turn(chain, poll_number)

        return heartbeat.keep_heartbeat(renew_turn, _TURN_SECONDS / 3)

    def plan_next_poll(self, chain: str, poll_number: int, waiting: Iterable[Job]) -> Wait | None:
        """Return the wait until the next poll, and keep the chain alive until then.

        None if a duplicate of this poll has continued the chain.
        """
        settings = self._settings
        seconds = poll.next_interval(
            waiting, time.time(), settings.poll_interval, settings.poll_max_interval
        )
        is_passed = self._open_jobs.pass_poll_turn(chain, poll_number, seconds + _OVERDUE_SECONDS)
        return Wait(seconds) if is_passed else None

    def stop_if_idle(self) -> bool:
        """End the chain if no job is open."""
        return self._open_jobs.end_polling()
