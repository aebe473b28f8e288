"""Executes a job: imports its input, answers the rows, publishes the output.

This happens in a thread, before the emulated end of the job.
"""

import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import IO, Protocol

import msgspec

from . import importer
from .clock import Clock
from .errors import (
    FAILED_PRECONDITION,
    INTERNAL,
    INVALID_ARGUMENT,
    NOT_FOUND,
    PERMISSION_DENIED,
    JobFailed,
)
from .importer import ImportedRows, ImportLimits
from .jobs import FAILED, Job, Outcome, decide_ending, find_dataset_fault
from .model_table import find_model
from .output import OutputSpool
from .output_faults import OutputFaults
from .responders import Responder
from .row_answering import RowAnswerer, Tally
from .storage import Storage, StorageFailed, split_uri
from .tables import GoogleTables, Tables

_WRITE_REFUSED = (
    "Service account service-123456789012@gcp-sa-aiplatform.iam.gserviceaccount.com doesn't have "
    'sufficient permission "storage.objects.create" to write {}.'
)


class JobAbandoned(Exception):
    """The job was cancelled during execution. Another execution takes over."""


class JobControl(Protocol):
    """The interface from an execution to the service."""

    def is_abandoned(self) -> bool:
        """Return whether the job was cancelled since the execution began."""
        ...

    def record_outcome(self, outcome: Outcome) -> None:
        """Record the outcome. The job ends at its scheduled time."""
        ...


@dataclass(frozen=True)
class JobExecutor:
    """Executes jobs with one storage, responder and clock."""

    storage: Storage
    responder: Responder
    clock: Clock
    limits: ImportLimits = field(default_factory=ImportLimits)
    tables: Tables = field(default_factory=GoogleTables)

    def run_job(self, job: Job, control: JobControl) -> None:
        """Execute a job and record its outcome or error. Raises JobAbandoned."""
        try:
            with closing(OutputSpool()) as spool:
                self._process_job(job, control, spool)
        except JobFailed as error:
            self._fail_job(control, error.code, error.message, early=True)
        except PermissionError as error:
            self._fail_job(control, PERMISSION_DENIED, f"No permission to read {error}.")
        except FileNotFoundError as error:
            self._fail_job(control, NOT_FOUND, f"Not found: {error}.")
        except (StorageFailed, OSError) as error:
            message = f"System error. Please try this operation again. ({error!r:.200})"
            self._fail_job(control, INTERNAL, message)

    def _fail_job(
        self, control: JobControl, code: int, message: str, *, early: bool = False
    ) -> None:
        outcome = Outcome(self.clock.now(), FAILED, early=early, code=code, message=message)
        control.record_outcome(outcome)

    def _process_job(self, job: Job, control: JobControl, spool: OutputSpool) -> None:
        self._require_buckets(job)
        if message := find_dataset_fault(job):
            raise JobFailed(INVALID_ARGUMENT, message)
        with tempfile.TemporaryFile() as line_file:
            imported = self._import_rows(job, line_file)
            output_faults = OutputFaults(job.rules, len(imported))
            outcome = self._answer_rows(job, control, imported, output_faults, spool)
        late_rule = output_faults.find_rule("late")
        if late_rule is not None:
            control.record_outcome(outcome)
            self._wait_past_end(job, late_rule.seconds or 0)
        if outcome.published or outcome.exported < 1:
            outcome = self._publish_output(job, control, spool, outcome)
        if late_rule is None:
            control.record_outcome(msgspec.structs.replace(outcome, ready=self.clock.now()))

    def _wait_past_end(self, job: Job, seconds: float) -> None:
        self.clock.wait_until(max(job.schedule.ends, self.clock.now()) + seconds)

    def _import_rows(self, job: Job, line_file: IO[bytes]) -> ImportedRows:
        limits = self._limits_of(job)
        if job.spec.input_table:
            rows = self.tables.read_rows(job.spec.input_table)
            return importer.import_table_rows(rows, line_file, limits)
        return importer.import_objects(self.storage, job.spec.input_uris, line_file, limits)

    def _limits_of(self, job: Job) -> ImportLimits:
        model = find_model(job.spec.model)
        embeds = model is not None and model.embeds
        return replace(self.limits, requests=self.limits.embeddings) if embeds else self.limits

    def _require_buckets(self, job: Job) -> None:
        for uri in filter(None, [job.spec.input_table, job.spec.output_table]):
            if not self.tables.has_dataset(uri):
                raise JobFailed(NOT_FOUND, f"Not found: Dataset of {uri}.")
        for uri in filter(None, [*job.spec.input_uris, job.spec.output_prefix]):
            bucket, _ = split_uri(uri)
            if not self.storage.has_bucket(bucket):
                raise JobFailed(
                    FAILED_PRECONDITION,
                    f"Failed to get GCS bucket location for {bucket}. Please check that the "
                    "bucket exists and permissions are set correctly.",
                )

    def _answer_rows(
        self,
        job: Job,
        control: JobControl,
        imported: ImportedRows,
        output_faults: OutputFaults,
        spool: OutputSpool,
    ) -> Outcome:
        ending = decide_ending(job)
        order = imported.shuffle_indexes(job.id)
        row_indexes = order[: round(len(order) * ending.share)]
        model = job.spec.model.rsplit("/", 1)[-1]
        answerer = RowAnswerer(self.responder, self.clock, model, output_faults)
        exported_rows = round(len(row_indexes) * ending.exported)
        tally = _spool_answers(answerer, imported, row_indexes, spool, control, exported_rows)
        if output_faults.has_fault("truncated"):
            spool.cut_last_lines()
        return Outcome(
            self.clock.now(),
            ending.state,
            requests=len(imported),
            successful=tally.successful,
            failed=len(row_indexes) - tally.successful,
            billed=tally.successful,
            published=ending.has_output and len(row_indexes) > 0,
            exported=ending.exported,
            input_tokens=tally.input_tokens,
            output_tokens=tally.output_tokens,
            code=ending.code,
            message=ending.message,
        )

    def _publish_output(
        self, job: Job, control: JobControl, spool: OutputSpool, outcome: Outcome
    ) -> Outcome:
        """Write the output. Google too reports a missing permission only after all rows."""
        try:
            if outcome.exported > 0:
                self._write_files(job, control, spool)
        except PermissionError as error:
            message = _WRITE_REFUSED.format(error)
            status = {"state": FAILED, "code": PERMISSION_DENIED, "message": message}
            return msgspec.structs.replace(outcome, **status)
        return outcome

    def _write_files(self, job: Job, control: JobControl, spool: OutputSpool) -> None:
        for name, file in spool.items():
            if control.is_abandoned():
                raise JobAbandoned
            if job.spec.output_table:
                self.tables.append_rows(job.spec.input_table, job.spec.output_table, file)
                continue
            self.storage.write_object(f"{job.output_directory}/{name}", file)


def _spool_answers(
    answerer: RowAnswerer,
    imported: ImportedRows,
    row_indexes: Sequence[int],
    spool: OutputSpool,
    control: JobControl,
    exported_rows: int,
) -> Tally:
    """Write the lines of the first rows to the spool; return what all rows used."""
    tally, output_faults = Tally(), answerer.output_faults
    spool.open_file(output_faults.first_file_name)
    for output_position, answered_row in enumerate(answerer.answer_rows(imported, row_indexes)):
        if control.is_abandoned():
            raise JobAbandoned
        tally.add_row(answered_row)
        if output_faults.has_fault("empty") or output_position >= exported_rows:
            continue
        for name, line in output_faults.output_lines(
            answered_row.row_index, output_position, answered_row.row, answered_row.line
        ):
            spool.write_line(name, line)
    return tally
