"""The capture file of a live check: redacted evidence and the verdicts on it."""

import re
from datetime import UTC, datetime

import msgspec

from promptmill.config.errors import PromptmillError
from promptmill.config.json_types import JsonObject
from promptmill.producers.checks import Finding
from promptmill.workers.live import redaction
from promptmill.workers.live.evidence import Evidence

FORMAT = 1
"""Version of the file's format."""


class Capture(msgspec.Struct, omit_defaults=True):
    """A capture file. ``captured`` is an ISO date; ``seconds`` and ``calls`` are totals."""

    promptmill_live_capture: int
    captured: str
    seconds: float
    calls: dict[str, int]
    evidence: Evidence
    findings: list[Finding]


def make_capture(
    evidence: Evidence, findings: list[Finding], seconds: float, calls: dict[str, int]
) -> Capture:
    """Return the capture of a check that ends now. It is not redacted yet."""
    today = datetime.now(UTC).date().isoformat()
    return Capture(FORMAT, today, round(seconds, 1), calls, evidence, findings)


def encode_capture(capture: Capture, secrets: dict[str, str] | None = None) -> bytes:
    """Return the redacted file. ``secrets`` maps known names to their placeholders.

    Raises PromptmillError if a secret were still in it.
    """
    built: JsonObject = msgspec.to_builtins(capture)
    redacted = redaction.Redactor(secrets).redact_value(built)
    if redaction.list_leaks(redacted, secrets or {}):
        raise PromptmillError("the capture could not be redacted, so it was not written")
    return msgspec.json.format(msgspec.json.encode(redacted), indent=1) + b"\n"


def decode_capture(data: bytes) -> Capture:
    """Read a capture file. Raises PromptmillError if it is none."""
    try:
        capture = msgspec.json.decode(data, type=Capture)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PromptmillError(
            f"this is not a capture of `promptmill doctor --live`: {error}"
        ) from None
    if capture.promptmill_live_capture != FORMAT:
        raise PromptmillError(
            f"the capture has format {capture.promptmill_live_capture}; this version reads {FORMAT}"
        )
    return capture


def name_capture(capture: Capture) -> str:
    """Return a file name for a capture: service, date, location and model."""
    evidence = capture.evidence
    model = evidence.model.rpartition("/")[2]
    name = f"{evidence.service}-{capture.captured}-{evidence.location}-{model}".lower()
    return re.sub(r"[^a-z0-9.-]+", "-", name) + ".json"
