"""What the live check observed: raw resources, raw lines, and what lists returned."""

import uuid
from collections.abc import Iterator
from typing import Any

import msgspec

from promptmill.config.json_types import JsonObject

MAIN = "main"
SECOND = "second"
JOB_NAMES = (MAIN, SECOND)
"""The main job answers all rows. The second one has a single row and is cancelled."""


class BucketEvidence(msgspec.Struct, omit_defaults=True):
    """What the bucket did with one small object that was written twice."""

    has_refused_second_write: bool | None = None
    has_listed_object: bool | None = None


class JobEvidence(msgspec.Struct, omit_defaults=True):
    """One job. ``resources`` are as Vertex AI sent them, one per change of the state.

    ``seconds`` has the time of each since the creation. ``found_by`` has the names of the
    jobs that each list filter returned. ``is_refused``: Vertex AI did not create it.
    """

    display_name: str
    labels: dict[str, str]
    rows: list[str] = []
    output_uri: str = ""
    name: str = ""
    resources: list[JsonObject] = []
    seconds: list[float] = []
    visible_seconds: float | None = None
    cancel_seconds: float | None = None
    found_by: dict[str, list[str]] = {}
    is_deleted: bool | None = None
    is_refused: bool = False

    @property
    def states(self) -> list[str]:
        """The states in the order in which they were seen."""
        return [str(resource.get("state", "")) for resource in self.resources]

    @property
    def last_state(self) -> str:
        """The last state; "" for a job that was not created."""
        return self.states[-1] if self.resources else ""

    @property
    def last_resource(self) -> JsonObject:
        """The last resource; empty for a job that was not created."""
        return self.resources[-1] if self.resources else {}


class OutputFile(msgspec.Struct, omit_defaults=True):
    """One object below the main job's output folder. ``lines`` are its lines unchanged."""

    name: str
    lines: list[str] = []


class Evidence(msgspec.Struct, omit_defaults=True):
    """Everything that one live check observed. Times are seconds."""

    model: str
    location: str
    main: JobEvidence
    second: JobEvidence
    service: str = ""
    versions: dict[str, str] = {}
    visibility_seconds: float = 0.0
    cancel_limit_seconds: float = 0.0
    bucket: BucketEvidence = msgspec.field(default_factory=BucketEvidence)
    files: list[OutputFile] | None = None

    @property
    def folder(self) -> str:
        """Folder of the check's objects in the bucket, with a final slash."""
        return f"doctor/{self.main.labels['run']}/"

    def get_job(self, name: str) -> JobEvidence:
        """Return the job with one of ``JOB_NAMES``."""
        return self.main if name == MAIN else self.second


def plan_evidence(model: str, location: str, lines: list[str]) -> Evidence:
    """Return the evidence of a check that has not begun: its two jobs and their rows."""
    run = uuid.uuid4().hex[:12]
    resource = model if "/" in model else f"publishers/google/models/{model}"
    return Evidence(resource, location, _plan_job(run, 1, lines), _plan_job(run, 2, lines[:1]))


def _plan_job(run: str, attempt: int, lines: list[str]) -> JobEvidence:
    """Return a job whose labels have the form of the product's, but name no deployment."""
    labels = {"promptmill": f"live-{run}", "run": run, "shard": "0", "attempt": str(attempt)}
    return JobEvidence(f"promptmill-live-{run}-a{attempt}", labels, lines)


def decode_output(evidence: Evidence) -> Iterator[JsonObject]:
    """Yield the output lines that are JSON objects."""
    for file in evidence.files or []:
        for line in file.lines:
            if decoded := decode_object(line):
                yield decoded


def decode_object(text: str | bytes) -> JsonObject:
    """Return a JSON object; empty for any other text."""
    try:
        decoded: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}
