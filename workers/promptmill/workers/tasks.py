"""The story of a run: ingest → plan → shard → submit → poll → collect → parse → settle → deliver → finish → callback.

Each task calls the step of its own name, notes progress, and sends what comes next. A task carries ids only, except
``ingest``; it may run twice, late, or beside its twin, and the outcome is the same. ``reconcile`` finds what stands still.
"""

import secrets
import time
from contextlib import suppress
from typing import Any

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
from promptmill.workers import steps
from promptmill.workers.coordination import progress
from promptmill.workers.facts import next_steps, records
from promptmill.workers.facts.snapshot import RunFacts
from promptmill.workers.facts.step import Step, Wait
from promptmill.workers.output import schema_validation
from promptmill.workers.ports.google import Job
from promptmill.workers.services import Services
from promptmill.workers.sinks import allowlist
from promptmill.workers.supervision import polling, pools, sweep
from promptmill.workers.task import Stage

_log = structlog.get_logger(__name__)


class Opening(Stage):
    """A stage before anything is paid for: when it is refused for good, the run ends there, and says why."""

    abstract = True
    throws = (Permanent, ConfigurationError, MessageRefused)

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:  # noqa: ARG002
        """Show the refusal to whoever waits for the run; after any other error a sweep goes on with it."""
        if isinstance(exc, self.throws):
            with suppress(Transient):
                self.services.index.end_run(task_id.partition(".")[0], "failed", error=str(exc))


@shared_task(bind=True, base=Opening, is_carrier=True, name="promptmill.ingest")
def ingest(self: Stage, body: bytes) -> None:
    """Keep one chunk; the one that makes the run whole sends ``plan``."""
    message = decode_ingest(body)
    chunk = steps.ingest.ingest(self.services.bucket, message)
    if progress.ingested(self.services.index, message.run.run, chunk, message.seal):
        self.send([Step("plan", message.run.run)])


@shared_task(bind=True, base=Stage, name="promptmill.pool")
def pool(self: Stage) -> None:
    """Store what was collected, and cut runs from pools that are full or have waited; by call, and for each sweep."""
    pools.store(self.services)
    self.flow.enqueue_stalled(pools.sweep(self.services))


@shared_task(bind=True, base=Opening, name="promptmill.cut")
def cut(self: Stage, run: str) -> None:
    """Make a run of what was cut from a pool."""
    _check(run)
    if pools.make(self.services, run):
        self.send([Step("plan", run)])


@shared_task(bind=True, base=Stage, is_carrier=True, name="promptmill.abort")
def abort(self: Stage, run: str, reason: str) -> None:
    """Write down that a run will never be whole."""
    _check(run)
    steps.ingest.abort(self.services.bucket, run, reason, "cancelled")
    self.send([Step("finish", run)])


@shared_task(bind=True, base=Stage, is_carrier=True, name="promptmill.cancel")
def cancel(self: Stage, run: str) -> None:
    """End a run with what it has."""
    _check(run)
    services = self.services
    known = services.known(run)
    if known.reported:
        return
    asked = steps.cancel.cancel(services.bucket, services.jobs, known)
    services.index.note_cancelling(run)
    _log.info("run cancelled", run=run, open_jobs=asked)
    if not known.is_whole:
        self.send([Step("finish", run)])


def _check(run: str) -> None:
    """Refuse a message about what is no run: nothing of it is to be kept, nor tried again."""
    try:
        names.check_run(run)
    except (ValueError, TypeError):
        raise MessageRefused("not a run's id") from None


@shared_task(bind=True, base=Opening, name="promptmill.plan")
def plan(self: Stage, run: str) -> None:
    """Check the response schema, callbacks, sinks and what the run may cost, then divide it into shards."""
    services, settings = self.services, self.services.settings
    manifest = records.get(services.bucket, names.manifest(run), Manifest)
    try:
        schema_validation.judge(manifest)
        for chain in (*manifest.link, *manifest.link_error):
            services.check_callback(chain)
        for spec in manifest.sinks:
            services.open_sink(spec, run, manifest.response_schema).check()
        if manifest.tables:
            allowlist.dataset(settings, manifest.tables)
            steps.tables.check(services.warehouse, manifest)
        made = steps.plan.plan(
            services.bucket,
            run,
            settings.max_requests_per_job,
            settings.max_bytes_per_job,
            settings.max_cost_usd_per_run,
        )
    except (ConfigurationError, OverBudget) as refusal:
        over_budget = isinstance(refusal, OverBudget)
        steps.ingest.abort(services.bucket, run, str(refusal), "failed", over_budget=over_budget)
        self.send([Step("finish", run)])
        return
    progress.planned(services.index, run, made)
    self.send(Step("shard", run, (index, next_steps.FIRST_ATTEMPT)) for index in range(len(made.shards)))


@shared_task(bind=True, base=Stage, name="promptmill.shard")
def shard(self: Stage, run: str, index: int, attempt: int) -> None:
    """Write the input file of one shard."""
    made = steps.shard.shard(self.services.bucket, run, index, attempt)
    progress.sharded(self.services.index, run, index, attempt, made)
    self.send([Step("submit", run, (index, attempt))])


@shared_task(bind=True, base=Stage, name="promptmill.submit")
def submit(self: Stage, run: str, index: int, attempt: int) -> None:
    """Create the shard's job, and see that it is polled."""
    services = self.services
    room = polling.may_create(services, run, index, attempt)
    if isinstance(room, Wait):
        self.wait(room)
    if not room:
        return
    if _uses_tables(self, run):
        steps.tables.bring_in(services.warehouse, services.bucket, run, index, attempt)
    owner, settle = secrets.token_hex(8), services.settings.settle_seconds
    made = steps.submit.submit(services.bucket, services.jobs, run, index, attempt, owner=owner, settle_seconds=settle)
    if isinstance(made, Wait):
        self.wait(made)
    progress.submitted(services.index, run, index, attempt, made)
    self.send(polling.watch(services, self.flow, run, index, attempt, made))


@shared_task(bind=True, base=Stage, name="promptmill.poll")
def poll(self: Stage, chain: str, look: int) -> None:
    """Look at all open jobs, send ``collect`` for those that ended, and look again; one chain at a time does so."""
    services = self.services
    if not polling.is_ours(services, chain, look):
        return
    waiting: list[Job] = []
    try:
        with polling.turn_kept(services, chain, look):
            ended, waiting = polling.look(services)
            self.send(ended)
    except (Transient, Permanent) as error:
        _log.warning("the open jobs could not be looked at", error=str(error))
    if not polling.is_over(services) and (pause := polling.pause(services, chain, look, waiting)):
        self.wait(pause, (chain, look + 1))


@shared_task(bind=True, base=Stage, name="promptmill.collect")
def collect(self: Stage, run: str, index: int, attempt: int) -> None:
    """Divide the output of a job that ended into parts."""
    services = self.services
    if _uses_tables(self, run):
        steps.tables.bring_out(services.warehouse, services.bucket, run, index, attempt)
    found = steps.collect.collect(services.bucket, run, index, attempt, services.settings.part_bytes)
    if isinstance(found, Wait):
        self.wait(found)
    progress.delivering(services.index, run, index, attempt)
    parse = [Step("parse", run, (index, attempt, part)) for part in found.numbers]
    self.send(parse or [Step("settle", run, (index, attempt))])


@shared_task(bind=True, base=Stage, name="promptmill.parse")
def parse(self: Stage, run: str, index: int, attempt: int, part: int) -> None:
    """Make results of one part; the last one sends ``settle``."""
    services = self.services
    if steps.parse.parse(services.bucket, run, index, attempt, part) is None:
        self.send([Step("collect", run, (index, attempt))])
        return
    parts = steps.parse.parts(services.bucket, run, index, attempt)
    if part not in parts.numbers:
        return
    done = services.notes.tally(run, f"parsed:{index}.{attempt}.{parts.first}", str(part))
    if done >= len(parts.numbers):
        self.send([Step("settle", run, (index, attempt))])


@shared_task(bind=True, base=Stage, name="promptmill.settle")
def settle(self: Stage, run: str, index: int, attempt: int) -> None:
    """Give every row of a shard one final state, and have the results delivered."""
    services = self.services
    settled = steps.settle.settle(services.bucket, run, index, attempt)
    progress.settled(services.index, run, index, attempt, settled)
    sinks = len(records.get(services.bucket, names.manifest(run), Manifest).sinks)
    places = [(index, attempt, part, sink) for part in range(len(settled.files)) for sink in range(sinks)]
    self.send(Step("deliver", run, place) for place in places)
    if settled.retried:
        self.send([Step("shard", run, (index, attempt + 1))])
    if not places and not settled.retried:
        _finish_if_through(self, run, index)


@shared_task(bind=True, base=Stage, name="promptmill.deliver")
def deliver(self: Stage, run: str, index: int, attempt: int, part: int, sink: int) -> None:
    """Hand one file of results to one sink; the last one of the run sends ``finish``."""
    services = self.services
    whole = steps.deliver.deliver(services.bucket, services.open_sink, run, index, attempt, part, sink)
    done = services.notes.tally(run, f"delivered:{index}.{attempt}", f"{part}.{sink}")
    if done >= whole.deliveries and whole.is_last:
        _finish_if_through(self, run, index)


@shared_task(bind=True, base=Stage, name="promptmill.harvest")
def harvest(self: Stage, run: str, index: int, attempt: int) -> None:
    """Keep the answers of a job that was given up and ended after all, beside the results of its run."""
    services = self.services
    if _uses_tables(self, run):
        steps.tables.bring_out(services.warehouse, services.bucket, run, index, attempt, "late.json")
    found = steps.harvest.harvest(services.bucket, run, index, attempt, services.settings.part_bytes)
    if isinstance(found, Wait):
        self.wait(found)
    progress.harvested(services.index, run, index, attempt, found)
    _log.info("late answers kept", run=run, shard=index, attempt=attempt, answers=found.answers)


@shared_task(bind=True, base=Stage, name="promptmill.finish")
def finish(self: Stage, run: str) -> None:
    """Write the report of a run that is all settled and delivered."""
    services = self.services
    known = services.known(run)
    if next_steps.next_steps(known) != [Step("finish", run)]:
        return

    report = steps.finish.finish(
        services.bucket,
        services.open_sink,
        run,
        sorted(known.shards),
        lambda report: _tell_end(services, known, report),
    )
    _log.info("run ended", run=run, state=report.state, succeeded=report.succeeded, failed=report.failed)
    if known.manifest and steps.callback.is_wanted(known.manifest):
        self.send([Step("callback", run)])


@shared_task(bind=True, base=Stage, name="promptmill.callback")
def callback(self: Stage, run: str) -> None:
    """Send the caller's own tasks word of the end of a run that is reported."""
    services = self.services
    known = services.known(run)
    if not known.reported:
        return
    if not _is_told(services, run):
        _tell_end(services, known, records.get(services.bucket, names.report(run), Report))
    for task_id in steps.callback.callback(services.bucket, services.caller, run, services.check_callback):
        _log.info("callback sent", run=run, id=task_id)


def _tell_end(services: Services, known: RunFacts, report: Report) -> None:
    progress.write_anew(services.index, services.bucket, known)
    services.index.end_run(known.run, report.state, error=report.error, ended=time.time(), cost=report.cost)


def _is_told(services: Services, run: str) -> bool:
    try:
        return services.index.status(run).done
    except RunNotFound:
        return False


def _uses_tables(self: Stage, run: str) -> bool:
    """Whether the jobs of a run read and write tables of BigQuery, whose client is loaded for no other."""
    return bool(records.get(self.services.bucket, names.manifest(run), Manifest).tables)


def _finish_if_through(self: Stage, run: str, index: int) -> None:
    """Note that a shard is through, and send ``finish`` if all are; it looks at the facts before it believes that."""
    services = self.services
    done = services.notes.tally(run, "through", str(index))
    if done >= len(records.get(services.bucket, names.plan(run), records.Plan).shards):
        self.send([Step("finish", run)])


@shared_task(bind=True, base=Stage, name="promptmill.reconcile")
def reconcile(self: Stage) -> None:
    """Send whatever should be under way and is not, for every open run; beat calls it every few seconds."""
    for finding in sweep.sweep(self.services, self.flow):
        _log.info("reconciled", run=finding.run, finding=finding.words)
    if pools.is_due(self.services):
        self.flow.enqueue_pool()
