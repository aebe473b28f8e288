"""The task for Celery apps that do not import Promptmill. Its name and payload are public.

``docs/guides/celery.md`` describes the payload. It has a version, and a version loses no field.
"""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any, BinaryIO

import msgspec
import structlog
from celery import shared_task

from promptmill.config.errors import (
    ConfigurationError,
    EmptyRun,
    IdempotencyConflict,
    MessageRefused,
    NewerVersion,
    PromptmillError,
    Transient,
)
from promptmill.producers import Promptmill
from promptmill.producers.contract import callbacks
from promptmill.producers.contract.ids import make_run_id
from promptmill.producers.contract.messages import Manifest, SinkSpec
from promptmill.producers.run_options import RowOptions
from promptmill.workers import steps
from promptmill.workers.cli_support.open_object import open_allowed
from promptmill.workers.facts import records
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.facts.step import Step
from promptmill.workers.services import Services
from promptmill.workers.supervision.chunk_store import ChunkStore
from promptmill.workers.task import PipelineTask

VERSION = 1
_log = structlog.get_logger(__name__)


class Submission(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The payload of ``promptmill.submit_prompts``, in JSON.

    It has the options of ``Promptmill.submit``, and either prompts, or a template and a
    ``source`` of rows in a bucket. Unknown fields are refused: a misspelled option could
    cost money.
    """

    v: int
    idempotency_key: str
    prompts: list[Any] | None = None
    source: str = ""
    template: str = ""
    key: str | None = None
    metadata: list[str] = []
    media: list[str | dict[str, str]] = []
    system_instruction: str | dict[str, Any] | None = None
    generation_config: dict[str, Any] | None = None
    strict: bool = False
    model: str | None = None
    name: str = ""
    labels: dict[str, str] = {}
    sinks: list[SinkSpec] = []
    max_attempts: int = 3
    retry_max_tokens: int = 0
    deadline: str | float | None = None
    max_cost_usd: float | None = None
    repeat_identical: bool = False
    reuse_answers: bool = msgspec.field(default=False, name="skip_done")
    keep: list[str] = []
    link: Any = None
    link_error: Any = None
    link_results: Any = None


class PublicTask(PipelineTask):
    """A task that other apps send. Its id is the default idempotency key."""

    abstract = True
    carries_payload = True
    throws = (PromptmillError,)

    @property
    def step_id(self) -> str:
        """An id that is safe in keys and object names, derived from the sender's task id."""
        return "submit-" + hashlib.sha256(str(self.request.id).encode()).hexdigest()[:32]

    def __call__(self, *args: Any, **kwargs: Any) -> object:
        """Run with one payload. Adds the idempotency key, so that a dead letter keeps it."""
        payload = dict(args[0]) if len(args) == 1 and isinstance(args[0], dict) else {}
        return super().__call__({"idempotency_key": str(self.request.id), **payload, **kwargs})


@shared_task(bind=True, base=PublicTask, name="promptmill.submit_prompts")
def submit_prompts(self: PipelineTask, payload: dict[str, object]) -> None:
    """Store a whole run, as a producer would, and enqueue ``plan``."""
    submission = decode_submission(payload)
    run = make_run_id(submission.idempotency_key)
    try:
        is_whole = submit_run(self.services, submission)
    except Transient:
        raise
    except PromptmillError as refusal:
        if not _abort_run(self.services, submission, run, refusal):
            raise MessageRefused(str(refusal)) from None
        _log.warning("submission_refused", run=run, error=str(refusal)[:500])
        self.send_steps([Step("finish", run)])
        return
    if is_whole:
        self.send_steps([Step("plan", run)])


def decode_submission(payload: Mapping[str, object]) -> Submission:
    """Decode a payload. Raises NewerVersion and MessageRefused, whose texts quote no prompt."""
    version = payload.get("v")
    if isinstance(version, int) and version > VERSION:
        known = f"the submission has version {version}, this worker knows {VERSION}"
        raise NewerVersion(f"{known}: upgrade the workers first")
    try:
        submission = msgspec.convert(payload, Submission)
    except msgspec.ValidationError as error:
        raise MessageRefused(f"not a submission of version {VERSION}: {str(error)[:200]}") from None
    if problem := _find_source_problem(submission):
        raise MessageRefused(f"not a submission of version {VERSION}: {problem}")
    return submission


# A source is never a file of the worker's machine.
def _find_source_problem(submission: Submission) -> str:
    if (submission.prompts is None) != bool(submission.source and submission.template):
        return "pass either `prompts`, or both `source` and `template`"
    is_foreign = submission.source and not submission.source.startswith("gs://")
    return "`source` must be a gs:// URL" if is_foreign else ""


def submit_run(services: Services, submission: Submission) -> bool:
    """Store the chunks of a run that are not stored yet. Returns whether the run is complete."""
    mill = _WorkerMill(services)
    options = msgspec.structs.asdict(submission)
    del options["v"]
    prompts, source = options.pop("prompts"), options.pop("source")
    row_options = {name: options.pop(name) for name in ("template", *RowOptions.__optional_keys__)}
    mill.submit(prompts if prompts is not None else mill.prompts(source, **row_options), **options)
    return mill.chunk_store.is_whole


class _WorkerMill(Promptmill):
    """A producer inside a worker. It stores chunks directly, as messages could fill its queue."""

    def __init__(self, services: Services) -> None:
        self.settings, self.index = services.settings, services.index
        self.chunk_store = ChunkStore(services)
        self._services = services

    @cached_property
    def _sender(self) -> Any:
        return self.chunk_store

    def _open_object(self, url: str) -> BinaryIO:
        return open_allowed(self.settings, self._services.open_bucket, url)


# Returns False for a run that another submission with this idempotency key has started or
# completed: that run continues.
def _abort_run(
    services: Services, submission: Submission, run: str, refusal: PromptmillError
) -> bool:
    """End a refused run as failed, so that its status and ``link_error`` report it."""
    folder = services.run_folder(run)
    if _has_other_submission(folder, refusal):
        return False
    try:
        manifest = _minimal_manifest(services, submission, run)
    except ConfigurationError:
        return False
    with steps.ingest.mark_open(folder):
        folder.manifest.create(manifest)
        services.index.open_run(manifest)
        steps.ingest.abort_run(folder, str(refusal), "failed")
    return True


def _has_other_submission(folder: RunFolder, refusal: PromptmillError) -> bool:
    has_manifest = folder.manifest.exists()
    is_conflict = isinstance(refusal, IdempotencyConflict)
    return is_conflict or (has_manifest and isinstance(refusal, EmptyRun)) or folder.seal.exists()


def _minimal_manifest(services: Services, submission: Submission, run: str) -> Manifest:
    """Return the parts of a manifest that the report and the callbacks need."""
    return Manifest(
        run=run,
        model=submission.model or services.settings.model,
        created=records.current_time(),
        name=submission.name,
        labels=submission.labels,
        idempotent=True,
        link_error=callbacks.parse_chains("link_error", submission.link_error),
    ).with_version()
