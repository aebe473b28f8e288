"""Runs the real steps over fakes, driven by facts alone: no Celery, no Redis, its own clock.

pipeline = FakePipeline()
run = pipeline.send(["good morning", "good night"])
report = pipeline.drive(run)
"""

import random
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from promptmill.config import names
from promptmill.config.errors import OverBudget, Transient
from promptmill.producers.contract.messages import (
    Chunk,
    ChunkSize,
    Ingest,
    Manifest,
    Seal,
    Signature,
    SinkSpec,
    encode_message,
)
from promptmill.producers.contract.results import Result
from promptmill.producers.contract.status import Report
from promptmill.producers.pricing import prices
from promptmill.producers.requests import schemas
from promptmill.producers.requests.deduplication import RequestDeduplicator
from promptmill.producers.requests.embedding_requests import choose_form
from promptmill.producers.requests.encode import Prompt, encode_lines
from promptmill.workers import steps
from promptmill.workers.cli_support import results
from promptmill.workers.costs.plan_cost import FindPrices
from promptmill.workers.facts import next_steps, records, snapshot
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.facts.step import Step, Wait
from promptmill.workers.fakes import FakeCallbackBroker, FakeJobs, MemoryBucket, Script
from promptmill.workers.fakes.output import Responder, echo_prompt
from promptmill.workers.sinks import Sink
from promptmill.workers.sinks.callback import CallbackSink
from promptmill.workers.sinks.files import BucketSink, FileSink
from support.chunking import cut

MOST_ROUNDS = 300
"""Rounds after which a run that is still open is stalled."""

RUN = "01jtest"
MODEL = "publishers/google/models/gemini-fake"
SETTLE = 120.0
"""Seconds until the list of jobs has every created one."""


@dataclass
class Clock:
    """A clock that only tests advance."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakePipeline:
    """A pipeline in memory. Its limits are so small that few requests make many parts."""

    script: Script = field(default_factory=Script)
    max_requests: int = 1000
    part_bytes: int = 1 << 20
    chunk_bytes: int = 1 << 14
    max_attempts: int = 1
    deadline: float = 0.0
    retry_max_tokens: int = 0
    response_schema: object = None
    retry_schema_invalid: bool = False
    link: list[list[Signature]] = field(default_factory=list)
    link_error: list[list[Signature]] = field(default_factory=list)
    max_cost_usd: float = 0.0
    repeat_identical: bool = False
    reuse_answers: bool = False
    keep: Sequence[str] = ()
    model: str = ""
    answer: Responder = echo_prompt
    run: str = RUN
    embedding_config: dict[str, object] = field(default_factory=dict)
    find_prices: FindPrices = prices.find_prices
    duration: float = 0.0
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.bucket = MemoryBucket(clock=self.clock)
        self.caller = FakeCallbackBroker()
        self.check_callback: Callable[[list[Signature]], None] = lambda _: None
        self.jobs = FakeJobs(
            self.bucket,
            self.answer,
            script=self.script,
            duration=self.duration,
            clock=self.clock,
        )

    def send(
        self,
        prompts: Iterable[Prompt],
        *,
        sinks: Sequence[SinkSpec] = (),
        order: random.Random | None = None,
    ) -> str:
        """Ingest a run's chunks, in any order."""
        for message in self.messages(prompts, sinks=sinks, order=order):
            steps.ingest.ingest(self.bucket, message)
        return self.run

    def messages(
        self,
        prompts: Iterable[Prompt],
        *,
        sinks: Sequence[SinkSpec] = (),
        order: random.Random | None = None,
    ) -> list[Ingest]:
        """Return the messages of a run, one of them with the seal, in any order."""
        schema = schemas.resolve_schema(self.response_schema, retry=self.retry_schema_invalid)
        manifest = Manifest(
            self.run,
            self.model or MODEL,
            created=records.current_time(),
            sinks=list(sinks),
            max_attempts=self.max_attempts,
            deadline=self.deadline,
            retry_max_tokens=self.retry_max_tokens,
            response_schema=schema.json_schema,
            retry_schema_invalid=self.retry_schema_invalid,
            link=self.link,
            link_error=self.link_error,
            max_cost_usd=self.max_cost_usd,
            reuse_answers=self.reuse_answers,
            keep=list(self.keep),
            embedding_config=self.embedding_config,
        )
        form = choose_form(manifest)
        lines = encode_lines(self.run, prompts, 1 << 20, schema.encoded, form=form)
        once = lines if self.repeat_identical else map(RequestDeduplicator().mark_repeat, lines)
        chunks: list[Chunk] = list(cut(once, self.chunk_bytes))
        seal = Seal(
            [ChunkSize(chunk.requests, chunk.size) for chunk in chunks],
            [chunk.tokens for chunk in chunks],
            sum(chunk.deduplicated for chunk in chunks),
        )
        sent = [
            Ingest(manifest, encode_message(chunk), seal if chunk is chunks[-1] else None)
            for chunk in chunks
        ]
        if order:
            order.shuffle(sent)
        return sent

    def drive(self, run: str, order: random.Random | None = None) -> Report:
        """Do all due steps until the run is closed.

        With ``order``, steps run in random order, some twice or late.
        """
        done: list[Step] = []
        due: list[Step] = []
        for _ in range(MOST_ROUNDS):
            if self.bucket.find(self.folder(run).open_marker) is None:
                return self.report(run)
            due = self.due(run)
            for step in disorder(due, done, order) if order else due:
                self.do(step)
                done.append(step)
            self.clock.now += 1.0
        raise AssertionError(f"the run is stalled at {due}")

    def due(self, run: str) -> list[Step]:
        """Return the steps that are due."""
        return next_steps.next_steps(snapshot.load_snapshot(self.bucket, run))

    def do(self, step: Step) -> Any:
        """Do one step as its task does; a Wait or a Transient error leaves it due."""
        try:
            return getattr(self, f"_{step.task}")(step.run, *step.indices)
        except Transient as error:
            return error

    def folder(self, run: str = RUN) -> RunFolder:
        """Return the folder of a run."""
        return RunFolder(self.bucket, run)

    def report(self, run: str) -> Report:
        """Return the report."""
        return self.folder(run).report.get()

    def results(self, run: str) -> list[Result]:
        """Return the results in the bucket, sorted by row."""
        found = [
            msgspec.json.decode(line, type=Result)
            for line in results.result_lines(self.bucket, run)
        ]
        return sorted(found, key=lambda result: result.row)

    def open_sink(self, spec: SinkSpec, run: str) -> Sink:
        """Open a sink; all sinks in buckets use the one bucket of this pipeline."""
        if spec.kind == "celery":
            return CallbackSink(lambda: self.caller, spec, run, 64, lambda _: None)
        return (
            FileSink(Path(spec.url), run)
            if spec.kind == "file"
            else BucketSink(self.bucket, "sink-" + run)
        )

    def _plan(self, run: str) -> None:
        folder = self.folder(run)
        try:
            steps.plan.plan(folder, self.max_requests, 1 << 24, find_prices=self.find_prices)
        except OverBudget as refusal:
            steps.ingest.abort_run(folder, str(refusal), "failed", over_budget=True)

    def _shard(self, run: str, shard: int, attempt: int) -> None:
        steps.shard.shard(self.folder(run).attempt(shard, attempt))

    def _submit(self, run: str, shard: int, attempt: int) -> records.Created | Wait:
        made = steps.submit.submit(
            self.folder(run).attempt(shard, attempt),
            self.jobs,
            owner=secrets.token_hex(4),
            visibility_seconds=SETTLE,
        )
        if isinstance(made, Wait):
            self.clock.now += made.seconds
        return made

    def _poll(self, run: str, shard: int, attempt: int) -> None:
        folder = self.folder(run).attempt(shard, attempt)
        name = folder.job.get().name
        for job in steps.poll.check_jobs(
            self.jobs, names.deployment_id(self.bucket.url), [name] if name else []
        ).ended:
            folder.ended.create(steps.cancel.build_ended(folder.run, job))

    def _collect(self, run: str, shard: int, attempt: int) -> None:
        steps.collect.collect(self.folder(run).attempt(shard, attempt), self.part_bytes)

    def _parse(self, run: str, shard: int, attempt: int, part: int) -> None:
        if steps.parse.parse(self.folder(run).attempt(shard, attempt), part) is None:
            self._collect(run, shard, attempt)

    def _settle(self, run: str, shard: int, attempt: int) -> None:
        steps.settle.settle(self.folder(run).attempt(shard, attempt))

    def _deliver(self, run: str, shard: int, attempt: int, part: int, sink: int) -> None:
        steps.deliver.deliver(self.folder(run).attempt(shard, attempt), self.open_sink, part, sink)

    def _finish(self, run: str) -> None:
        attempts = snapshot.load_snapshot(self.bucket, run).attempts
        steps.finish.finish(self.folder(run), self.open_sink, sorted(attempts))

    def _callback(self, run: str) -> None:
        steps.callback.callback(self.folder(run), self.caller, self.check_callback)


def disorder(due: list[Step], done: list[Step], order: random.Random) -> list[Step]:
    """Return some due steps twice and some earlier steps, in random order."""
    some = order.sample(due, order.randint(min(len(due), 1), len(due)))
    late = [step for step in order.sample(done, min(len(done), 2)) if step.task != "finish"]
    mixed = [*some, *some, *late]
    order.shuffle(mixed)
    return mixed
