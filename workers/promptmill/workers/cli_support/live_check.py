"""The live check of ``promptmill doctor --live``: entry point ``live_check``."""

import time
from collections import Counter
from collections.abc import Callable
from itertools import chain, count
from pathlib import Path

from promptmill.config.errors import ConfigurationError, PromptmillError
from promptmill.config.settings import Settings
from promptmill.producers.checks import Finding
from promptmill.producers.pricing import prices
from promptmill.workers.live import beliefs, capture, redaction, rows
from promptmill.workers.live.cleanup import Cleanup
from promptmill.workers.live.evidence import Evidence, plan_evidence
from promptmill.workers.live.live_jobs import LiveTimes
from promptmill.workers.live.session import LiveSession

DEFAULT_MODEL = "gemini-3.5-flash-lite"
_SEARCH_DOLLARS = 0.014
"""Price of one grounded request (cloud.google.com/vertex-ai/generative-ai/pricing, 2026-11)."""
_TIMEOUT = 3600.0
_DELETION_SECONDS = 60.0
_LONGEST_POLL = 15.0


class LiveCheck:
    """One check of the live service, before and after it ran.

    ``seconds`` and ``calls`` count the whole check. ``left`` lists what could not be
    removed. ``failure`` is the error that ended the check early. All are empty before
    ``run_check``.
    """

    def __init__(self, settings: Settings, evidence: Evidence, timeout: float) -> None:
        self._settings, self._evidence = settings, evidence
        self._times = _choose_times(settings, timeout)
        self.calls: Counter[str] = Counter()
        self.seconds = 0.0
        self.left: list[str] = []
        self.failure = ""
        self._open_services()

    @property
    def target(self) -> str:
        """Where the jobs run, and on which model."""
        service = self._settings.vertex_endpoint or "Vertex AI"
        model = self._evidence.model.rpartition("/")[2]
        return f"{model} in {self._settings.parent} at {service}"

    @property
    def max_dollars(self) -> float | None:
        """Most that the check can cost in USD; None if the price of the model is unknown."""
        return estimate_dollars(self._evidence)

    def run_check(self, on_progress: Callable[[str], None]) -> list[Finding]:
        """Run both jobs, remove everything, and return the verdicts.

        ``on_progress`` gets a line of text after each poll. Raises PromptmillError if no
        job was created; a later error is the ``failure``.
        """
        started = time.monotonic()
        try:
            self._run_session(on_progress)
        except KeyboardInterrupt:
            self._clean_up(on_progress)  # the first cleanup may be what was interrupted
            raise
        except PromptmillError as error:
            self._keep_failure(error)
        self.seconds = time.monotonic() - started
        return beliefs.judge_beliefs(self._evidence)

    def _keep_failure(self, error: PromptmillError) -> None:
        """Note an error, so that what was observed before it is reported."""
        if not self._evidence.main.name:
            raise error
        self.failure = str(error)

    def _run_session(self, on_progress: Callable[[str], None]) -> None:
        session = LiveSession(self._bucket, self._jobs, self._evidence, self._times, on_progress)
        try:
            session.run_jobs()
        finally:
            self._clean_up(on_progress)

    def write_capture(self, findings: list[Finding], path: Path | None) -> Path:
        """Write the redacted capture file, and return its path. Raises PromptmillError."""
        made = capture.make_capture(self._evidence, findings, self.seconds, dict(self.calls))
        secrets = redaction.collect_secrets(self._settings.project, self._settings.bucket)
        target = path or _find_free_path(f"promptmill-live-{capture.name_capture(made)}")
        data = capture.encode_capture(made, secrets)
        try:
            target.write_bytes(data)
        except OSError as error:
            raise PromptmillError(f"{target} cannot be written: {error.strerror}") from None
        return target

    def close(self) -> None:
        """Close the connections to Google."""
        self._bucket.close()
        self._jobs.close()

    def _open_services(self) -> None:
        from promptmill.workers.adapters import live_google

        def count_call(service: str) -> Callable[[], None]:
            return lambda: self.calls.update([service])

        self._bucket = live_google.open_live_bucket(self._settings, count_call("Cloud Storage"))
        self._jobs = live_google.open_live_jobs(self._settings, count_call("Vertex AI"))

    def _clean_up(self, on_progress: Callable[[str], None]) -> None:
        on_progress("removing jobs and objects")
        cleanup = Cleanup(self._bucket, self._jobs, self._evidence, self._times)
        self.left = cleanup.remove_all()


def open_live_check(
    settings: Settings, model: str, *, search: bool = False, timeout: float = 0.0
) -> LiveCheck:
    """Prepare a check, without a call to Google. Raises ConfigurationError."""
    for name in ("project", "bucket"):
        settings.get_required(name)
    if "embedding" in model:
        raise ConfigurationError(f"{model} answers no prompts; choose a model that generates text")
    from promptmill.workers.adapters.live_google import list_versions

    lines = rows.build_lines(search=search)
    evidence = plan_evidence(model or DEFAULT_MODEL, settings.location, lines)
    evidence.versions = list_versions()
    evidence.service = "emulator" if settings.vertex_endpoint else "Google"
    return LiveCheck(settings, evidence, timeout or _TIMEOUT)


def estimate_dollars(evidence: Evidence) -> float | None:
    """Return an upper limit of the cost in USD: every row uses all of its output tokens.

    A token is taken for two bytes of the line, which contains much more than the prompt.
    """
    model_prices = prices.find_prices(evidence.model, location=evidence.location)
    if model_prices is None:
        return None
    sent = [*evidence.main.rows, *evidence.second.rows]
    tokens = {"input": sum(map(len, sent)) // 2, "output": rows.MAX_OUTPUT_TOKENS * len(sent)}
    dollars = prices.to_dollars(model_prices.batch[0].calculate_cost(tokens))
    return dollars + _SEARCH_DOLLARS * any('"googleSearch"' in line for line in sent)


def _choose_times(settings: Settings, timeout: float) -> LiveTimes:
    poll, visibility = settings.poll_interval, settings.creation_visibility_seconds
    deletion = min(_DELETION_SECONDS, visibility)
    return LiveTimes(poll, max(_LONGEST_POLL, poll), visibility, timeout, deletion=deletion)


def _find_free_path(name: str) -> Path:
    """Return a path in the working directory that does not exist."""
    stem = name.removesuffix(".json")
    names = (f"{stem}-{number}.json" for number in count(2))
    return next(path for path in map(Path, chain([name], names)) if not path.exists())
