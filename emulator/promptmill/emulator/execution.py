"""The work of one job: import, answer, publish. It runs in a thread beside the calls, ahead of the job's end."""

import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import IO, Protocol

import msgspec

from . import importer
from .answering import Answering
from .clock import Clock
from .disturbances import Script
from .endings import Ending, ending_of
from .errors import FAILED_PRECONDITION, INTERNAL, NOT_FOUND, PERMISSION_DENIED, JobFailed
from .importer import Imported, Limits
from .jobs import FAILED, Job, Outcome
from .output import Spools
from .responders import Responder
from .storage import Storage, StorageFailed, split_uri
from .tables import GoogleTables, Tables


class Abandoned(Exception):
    """The job was cancelled while its work was under way; another piece of work takes over."""


class Control(Protocol):
    """How the work of a job talks to the service."""

    def abandoned(self) -> bool:
        """Whether the job was cancelled since the work began."""
        ...

    def finish(self, outcome: Outcome) -> None:
        """Take the outcome; the job ends when its time has come."""
        ...


@dataclass(frozen=True)
class Execution:
    """What the work of jobs needs of the world."""

    storage: Storage
    responder: Responder
    clock: Clock
    limits: Limits = field(default_factory=Limits)
    tables: Tables = field(default_factory=GoogleTables)

    def run(self, job: Job, control: Control) -> None:
        """Do all the work of a job; an error is part of its outcome. Raises Abandoned."""
        try:
            with closing(Spools()) as spools:
                self._work(job, control, spools)
        except JobFailed as error:
            self._fail(control, error.code, error.message, early=True)
        except PermissionError as error:
            # After all rows were answered, as Google does: the service agent lacks storage.objects.create.
            self._fail(control, PERMISSION_DENIED, f"Service account has no storage.objects.create access to {error}.")
        except FileNotFoundError as error:
            self._fail(control, NOT_FOUND, f"Not found: {error}.")
        except (StorageFailed, OSError) as error:
            self._fail(control, INTERNAL, f"System error. Please try this operation again. ({error!r:.200})")

    def _fail(self, control: Control, code: int, message: str, *, early: bool = False) -> None:
        control.finish(Outcome(self.clock.now(), FAILED, early=early, code=code, message=message))

    def _work(self, job: Job, control: Control, spools: Spools) -> None:
        self._require_buckets(job)
        ending = ending_of(job)
        with tempfile.TemporaryFile() as lines:
            imported = self._import(job, lines)
            script = Script(job.rules, len(imported))
            outcome = self._answer(job, control, imported, script, spools, ending)
        late = script.rule("late")
        if late is not None:
            control.finish(outcome)
            self.clock.wait_until(max(job.schedule.ends, self.clock.now()) + (late.seconds or 0))
        if outcome.published:
            self._publish(job, control, spools)
        if late is None:
            control.finish(msgspec.structs.replace(outcome, ready=self.clock.now()))

    def _import(self, job: Job, lines: IO[bytes]) -> Imported:
        if job.spec.table:
            return importer.load_rows(self.tables.lines(job.spec.table), lines, self.limits)
        return importer.load(self.storage, job.spec.uris, lines, self.limits)

    def _require_buckets(self, job: Job) -> None:
        for uri in filter(None, [job.spec.table, job.spec.output_table]):
            if not self.tables.has_dataset(uri):
                raise JobFailed(NOT_FOUND, f"Not found: Dataset of {uri}.")
        for uri in filter(None, [*job.spec.uris, job.spec.prefix]):
            bucket, _ = split_uri(uri)
            if not self.storage.has_bucket(bucket):
                raise JobFailed(FAILED_PRECONDITION, f"Failed to get GCS bucket location for bucket {bucket}.")

    def _answer(
        self, job: Job, control: Control, imported: Imported, script: Script, spools: Spools, ending: Ending
    ) -> Outcome:
        order = imported.shuffled(job.id)
        wanted = order[: round(len(order) * ending.share)]
        answering = Answering(self.responder, self.clock, job.spec.model.rsplit("/", 1)[-1], script)
        successful = _write_all(answering, imported, wanted, spools, control)
        if script.has("truncated"):
            spools.cut_last_lines()
        return Outcome(
            self.clock.now(),
            ending.state,
            requests=len(imported),
            successful=successful,
            failed=len(wanted) - successful,
            billed=successful,
            published=ending.state != FAILED and len(wanted) > 0,
            code=ending.code,
            message=ending.message,
        )

    def _publish(self, job: Job, control: Control, spools: Spools) -> None:
        for name, file in spools.items():
            if control.abandoned():
                raise Abandoned
            if job.spec.output_table:
                self.tables.write(job.spec.table, job.spec.output_table, file)
                continue
            self.storage.write(f"{job.directory}/{name}", file)


def _write_all(
    answering: Answering, imported: Imported, wanted: Sequence[int], spools: Spools, control: Control
) -> int:
    """Spool the lines of all wanted rows; returns how many succeeded."""
    successful, script = 0, answering.script
    spools.file(script.first_file)
    for place, answered in enumerate(answering.answers(imported, wanted)):
        if control.abandoned():
            raise Abandoned
        successful += answered.successful
        if script.has("empty"):
            continue
        for name, line in script.lines(answered.index, place, answered.row, answered.line):
            spools.write(name, line)
    return successful
