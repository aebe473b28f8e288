"""The pipeline of a run, one task per step.

    ingest → plan → shard → submit → poll → collect → parse → settle → deliver → finish → callback

The other paths:

    settle → shard           rows are retried in another attempt
    pool → cut → plan        pooled calls become a run
    cancel → poll            cancelled jobs end and are collected as usual
    cancel, abort → finish   the run was never submitted completely
    reconcile → harvest      late answers of an abandoned job are kept

Each task runs the step of its name, records progress in the index and enqueues the next steps.
Messages carry ids only; ``ingest`` also carries a chunk. Every task is idempotent: it may run
twice, late, or concurrently with a duplicate delivery. ``reconcile`` re-queues stalled steps.
"""

import secrets
import time
from contextlib import suppress
from functools import partial

import structlog
from celery import shared_task

from promptmill.config import names
from promptmill.config.errors import (
    ConfigurationError,
    MessageRefused,
    OverBudget,
    Permanent,
    RunNotFound,
    Transient,
)
from promptmill.producers.contract.messages import Manifest, decode_ingest
from promptmill.producers.contract.status import Report
from promptmill.producers.pricing import prices
from promptmill.producers.requests.embedding_requests import max_rows_per_job
from promptmill.workers import steps
from promptmill.workers.attempts.retry_rules import DelayLimits
from promptmill.workers.coordination import progress
from promptmill.workers.facts import next_steps
from promptmill.workers.facts.records import Plan
from promptmill.workers.facts.run_folder import FIRST_ATTEMPT, AttemptFolder, RunFolder
from promptmill.workers.facts.snapshot import RunSnapshot
from promptmill.workers.facts.step import Step, Wait
from promptmill.workers.output import schema_validation
from promptmill.workers.ports.google import Job
from promptmill.workers.services import Services
from promptmill.workers.sinks import allowlist
from promptmill.workers.supervision import job_slots, pools, sweep, wiring
from promptmill.workers.task import PipelineTask

_log = structlog.get_logger(__name__)
_COMPLETE_SHARDS = "through"
"""Name of the join of a run's complete shards. It is part of a Redis key, so it stays."""


class IntakeTask(PipelineTask):
    """A task that runs before anything is billed. A permanent error ends the run as failed."""

    abstract = True
    throws = (Permanent, ConfigurationError, MessageRefused)

    def on_failure(
        self,
        exc: Exception,
        task_id: str,
        args: tuple[object, ...],  # noqa: ARG002
        kwargs: dict[str, object],  # noqa: ARG002
        einfo: object,  # noqa: ARG002
    ) -> None:
        """Show the error in the run's status. After any other error, a sweep continues the run."""
        if isinstance(exc, self.throws):
            with suppress(Transient):
                self.services.index.end_run(task_id.partition(".")[0], "failed", error=str(exc))


@shared_task(bind=True, base=IntakeTask, carries_payload=True, name="promptmill.ingest")
def ingest(self: PipelineTask, body: bytes) -> None:
    """Store one chunk. The chunk that completes the run enqueues ``plan``."""
    message = decode_ingest(body)
    chunk = steps.ingest.ingest(self.services.bucket, message)
    if progress.record_chunk(self.services.index, message.run.run, chunk, message.seal):
        self.send_steps([Step("plan", message.run.run)])


@shared_task(bind=True, base=IntakeTask, name="promptmill.plan")
def plan(self: PipelineTask, run: str) -> None:
    """Check a run's schema, callbacks, sinks, model and cost, then divide it into shards."""
    services = self.services
    folder = services.run_folder(run)
    manifest = folder.manifest.get()
    try:
        _check_manifest(services, run, manifest)
        run_plan = _plan_run(services, folder)
    except (ConfigurationError, OverBudget) as refusal:
        over_budget = isinstance(refusal, OverBudget)
        steps.ingest.abort_run(folder, str(refusal), "failed", over_budget=over_budget)
        self.send_steps([Step("finish", run)])
        return
    progress.record_plan(services.index, run, run_plan)
    self.send_steps(
        Step("shard", run, (shard, FIRST_ATTEMPT)) for shard in range(len(run_plan.shards))
    )


def _plan_run(services: Services, folder: RunFolder) -> Plan:
    settings = services.settings
    check_model = partial(
        steps.plan.check_model, location=settings.location, refuse=settings.refuses_by_model
    )
    return steps.plan.plan(
        folder,
        max_rows_per_job(settings, folder.manifest.get().model),
        settings.max_bytes_per_job,
        settings.max_cost_usd_per_run,
        partial(prices.find_prices, location=settings.location),
        check_model,
        partial(steps.endpoints.find_job_model, open_endpoints=services.open_endpoints),
    )


def _check_manifest(services: Services, run: str, manifest: Manifest) -> None:
    """Raise ConfigurationError for a schema, callback, sink or dataset that cannot be used."""
    schema_validation.make_validator(manifest)
    for chain in (*manifest.link, *manifest.link_error):
        services.check_callback(chain)
    for spec in manifest.sinks:
        services.open_sink(spec, run, manifest).check()
    if manifest.tables:
        allowlist.check_dataset(services.settings, manifest.tables)
        steps.tables.check_dataset(services.warehouse, manifest)


@shared_task(bind=True, base=PipelineTask, name="promptmill.shard")
def shard(self: PipelineTask, run: str, shard: int, attempt: int) -> None:
    """Write the input file of one shard."""
    folder = self.services.attempt_folder(run, shard, attempt)
    progress.record_input(self.services.index, folder, steps.shard.shard(folder))
    self.send_steps([Step("submit", run, (shard, attempt))])


@shared_task(bind=True, base=PipelineTask, name="promptmill.submit")
def submit(self: PipelineTask, run: str, shard: int, attempt: int) -> None:
    """Create the job of one shard, and have it polled."""
    services = self.services
    folder = services.attempt_folder(run, shard, attempt)
    # A later sweep sends a step that came too early, so that no worker holds its message.
    if steps.submit.remaining_delay(folder):
        return
    reservation = job_slots.reserve_creation(
        services.open_jobs, services.settings, run, shard, attempt
    )
    if isinstance(reservation, Wait):
        self.retry_later(reservation)
    if not reservation:
        return
    if _uses_tables(folder):
        steps.tables.load_input(services.warehouse, folder)
    created = steps.submit.submit(
        folder,
        services.jobs,
        owner=secrets.token_hex(8),
        visibility_seconds=services.settings.creation_visibility_seconds,
    )
    if isinstance(created, Wait):
        self.retry_later(created)
    progress.record_job(services.index, folder, created)
    chain = wiring.make_chain(services, self.dispatcher)
    self.send_steps(chain.track_job(run, shard, attempt, created))


# Polls form a chain, and only one chain is active.
@shared_task(bind=True, base=PipelineTask, name="promptmill.poll")
def poll(self: PipelineTask, chain: str, poll_number: int) -> None:
    """Poll all open jobs, enqueue ``collect`` for those that ended, and schedule the next poll."""
    poll_chain = wiring.make_chain(self.services, self.dispatcher)
    if not poll_chain.claim_turn(chain, poll_number):
        return
    waiting: list[Job] = []
    try:
        with poll_chain.keep_turn(chain, poll_number):
            ended, waiting = wiring.make_polling(self.services).poll_open_jobs()
            self.send_steps(ended)
    except (Transient, Permanent) as error:
        _log.warning("poll_failed", error=str(error))
    if not poll_chain.stop_if_idle() and (
        pause := poll_chain.plan_next_poll(chain, poll_number, waiting)
    ):
        self.retry_later(pause, (chain, poll_number + 1))


@shared_task(bind=True, base=PipelineTask, name="promptmill.collect")
def collect(self: PipelineTask, run: str, shard: int, attempt: int) -> None:
    """Divide the output of an ended job into parts."""
    services = self.services
    folder = services.attempt_folder(run, shard, attempt)
    if _uses_tables(folder):
        steps.tables.extract_output(services.warehouse, folder, folder.ended)
    parts = steps.collect.collect(folder, services.settings.part_bytes)
    if isinstance(parts, Wait):
        self.retry_later(parts)
    progress.record_collection(services.index, folder)
    parse_steps = [Step("parse", run, (shard, attempt, part)) for part in parts.part_numbers]
    self.send_steps(parse_steps or [Step("settle", run, (shard, attempt))])


@shared_task(bind=True, base=PipelineTask, name="promptmill.parse")
def parse(self: PipelineTask, run: str, shard: int, attempt: int, part: int) -> None:
    """Turn one part of the output into results. The last part enqueues ``settle``."""
    services = self.services
    folder = services.attempt_folder(run, shard, attempt)
    # Without a result, the output was replaced after it was divided.
    if steps.parse.parse(folder, part) is None:
        self.send_steps([Step("collect", run, (shard, attempt))])
        return
    parts = folder.parts.get()
    if part not in parts.part_numbers:
        return
    parsed_parts = f"parsed:{shard}.{attempt}.{parts.first}"
    if services.joins.add_member(run, parsed_parts, str(part)) >= len(parts.part_numbers):
        self.send_steps([Step("settle", run, (shard, attempt))])


@shared_task(bind=True, base=PipelineTask, name="promptmill.settle")
def settle(self: PipelineTask, run: str, shard: int, attempt: int) -> None:
    """Give every row of a shard its final state, and enqueue deliveries and retries."""
    folder = self.services.attempt_folder(run, shard, attempt)
    settings = self.services.settings
    limits = DelayLimits(settings.retry_delay_seconds, settings.provisioning_seconds)
    settled = steps.settle.settle(folder, limits)
    progress.record_counts(self.services.index, folder, settled)
    sinks = len(folder.run.manifest.get().sinks)
    deliveries = [
        (shard, attempt, part, sink) for part in range(len(settled.files)) for sink in range(sinks)
    ]
    self.send_steps(Step("deliver", run, delivery) for delivery in deliveries)
    if settled.retried:
        self.send_steps([Step("shard", run, (shard, attempt + 1))])
    if not deliveries and not settled.retried:
        _finish_if_complete(self, run, shard)


@shared_task(bind=True, base=PipelineTask, name="promptmill.deliver")
def deliver(self: PipelineTask, run: str, shard: int, attempt: int, part: int, sink: int) -> None:
    """Write one result file to one sink. The last delivery of a run enqueues ``finish``."""
    services = self.services
    folder = services.attempt_folder(run, shard, attempt)
    delivery_state = steps.deliver.deliver(folder, services.open_sink, part, sink)
    delivered_count = services.joins.add_member(
        run, f"delivered:{shard}.{attempt}", f"{part}.{sink}"
    )
    if delivered_count >= delivery_state.deliveries and delivery_state.is_last:
        _finish_if_complete(self, run, shard)


def _finish_if_complete(self: PipelineTask, run: str, shard: int) -> None:
    """Record that a shard is complete; the last one enqueues ``finish``.

    The record may be wrong, so ``finish`` checks the facts itself.
    """
    services = self.services
    complete_count = services.joins.add_member(run, _COMPLETE_SHARDS, str(shard))
    if complete_count >= len(services.run_folder(run).plan.get().shards):
        self.send_steps([Step("finish", run)])


@shared_task(bind=True, base=PipelineTask, name="promptmill.finish")
def finish(self: PipelineTask, run: str) -> None:
    """Write the report of a run once every row is settled and delivered."""
    services = self.services
    snapshot = services.load_snapshot(run)
    if next_steps.next_steps(snapshot) != [Step("finish", run)]:
        return  # the message came too early, or the run has ended
    report_end = partial(_report_end, services, snapshot)
    attempt_refs, folder = sorted(snapshot.attempts), services.run_folder(run)
    report = steps.finish.finish(folder, services.open_sink, attempt_refs, report_end)
    _log.info(
        "run_ended", run=run, state=report.state, succeeded=report.succeeded, failed=report.failed
    )
    if snapshot.manifest and snapshot.manifest.has_callbacks:
        self.send_steps([Step("callback", run)])


@shared_task(bind=True, base=PipelineTask, name="promptmill.callback")
def callback(self: PipelineTask, run: str) -> None:
    """Send the callback tasks of a run that has a report."""
    services = self.services
    snapshot = services.load_snapshot(run)
    if not snapshot.reported:
        return
    folder = services.run_folder(run)
    if not _is_end_reported(services, run):
        _report_end(services, snapshot, folder.report.get())
    for task_id in steps.callback.callback(folder, services.caller, services.check_callback):
        _log.info("callback_sent", run=run, task_id=task_id)


def _report_end(services: Services, snapshot: RunSnapshot, report: Report) -> None:
    progress.restore_run(services.index, services.bucket, snapshot)
    services.index.end_run(
        snapshot.run,
        report.state,
        error=report.error,
        ended=time.time(),
        cost=report.cost,
        warnings=report.warnings,
    )


def _is_end_reported(services: Services, run: str) -> bool:
    try:
        return services.index.get_status(run).done
    except RunNotFound:
        return False


# Producers enqueue it after a call, and sweeps while pools hold calls.
@shared_task(bind=True, base=PipelineTask, name="promptmill.pool")
def pool(self: PipelineTask) -> None:
    """Store collected calls, and cut runs from pools that are full or have waited long enough."""
    pools.store_calls(self.services)
    self.dispatcher.enqueue_stalled(pools.sweep_pools(self.services))


@shared_task(bind=True, base=IntakeTask, name="promptmill.cut")
def cut(self: PipelineTask, run: str) -> None:
    """Make a run of the calls that were cut from a pool."""
    _check_run_id(run)
    if pools.make_run(self.services, run):
        self.send_steps([Step("plan", run)])


@shared_task(bind=True, base=PipelineTask, carries_payload=True, name="promptmill.abort")
def abort(self: PipelineTask, run: str, reason: str) -> None:
    """Record that a run will never be complete, and end it."""
    _check_run_id(run)
    steps.ingest.abort_run(self.services.run_folder(run), reason, "cancelled")
    self.send_steps([Step("finish", run)])


@shared_task(bind=True, base=PipelineTask, carries_payload=True, name="promptmill.cancel")
def cancel(self: PipelineTask, run: str) -> None:
    """Cancel the jobs of a run. It ends with the results that it has."""
    _check_run_id(run)
    services = self.services
    snapshot = services.load_snapshot(run)
    if snapshot.reported:
        return
    cancelled_jobs = steps.cancel.cancel(services.bucket, services.jobs, snapshot)
    services.index.record_cancelling(run)
    _log.info("run_cancelled", run=run, open_jobs=cancelled_jobs)
    if not snapshot.is_whole:
        self.send_steps([Step("finish", run)])


def _check_run_id(run: str) -> None:
    """Raise MessageRefused for an invalid run id, so that the message is dropped."""
    try:
        names.check_run(run)
    except (ValueError, TypeError):
        raise MessageRefused(
            "the message has an invalid run id: send one that submit returned"
        ) from None


@shared_task(bind=True, base=PipelineTask, name="promptmill.harvest")
def harvest(self: PipelineTask, run: str, shard: int, attempt: int) -> None:
    """Store the late answers of an abandoned job, apart from the results of its run."""
    services = self.services
    folder = services.attempt_folder(run, shard, attempt)
    if _uses_tables(folder):
        steps.tables.extract_output(services.warehouse, folder, folder.late_end)
    harvested = steps.harvest.harvest(folder, services.settings.part_bytes)
    if isinstance(harvested, Wait):
        self.retry_later(harvested)
    progress.record_late_answers(services.index, folder, harvested)
    _log.info("late_answers_kept", run=run, shard=shard, attempt=attempt, answers=harvested.answers)


def _uses_tables(folder: AttemptFolder) -> bool:
    """Whether jobs use BigQuery tables. The client of BigQuery is loaded only for these."""
    return bool(folder.run.manifest.get().tables)


@shared_task(bind=True, base=PipelineTask, name="promptmill.reconcile")
def reconcile(self: PipelineTask) -> None:
    """Sweep all open runs, every few seconds: re-queue stalled steps, and restore lost state."""
    for finding in sweep.repair_runs(self.services, self.dispatcher):
        _log.info("sweep_finding", run=finding.run, finding=finding.message)
