"""The producer's public surface, and what it costs to import."""

import inspect
import json
import subprocess
import sys
from typing import Any

import pytest

import promptmill.producers as public
from promptmill.config.errors import PromptmillError
from support.calibration import NOMINAL_SECONDS, timed_import

FOREIGN = (
    "celery",
    "kombu",
    "redis",
    "pydantic",
    "pydantic_settings",
    "google",
    "grpc",
    "requests",
    "typer",
    "rich",
)
PROBE = f"""
import json, sys
before = set(sys.modules)  # some packages have themselves imported when the interpreter starts
{timed_import("promptmill.producers")}
print(json.dumps([imported / calibration, sorted({{name.partition(".")[0] for name in set(sys.modules) - before}})]))
"""


def probe() -> tuple[float, list[str]]:
    ran = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    loops, modules = json.loads(ran.stdout)
    return loops, modules


def test_all_that_is_public_is_listed_and_nothing_else() -> None:
    found = {
        name
        for name, value in vars(public).items()
        if not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value))
    }

    assert found | {"sinks"} == set(public.__all__)
    assert list(public.__all__) == sorted(public.__all__)


def test_every_error_that_submitting_raises_is_public() -> None:
    named = {
        word.strip(".,:")
        for word in (inspect.getdoc(public.Promptmill.submit) or "").split("Raises")[1].split()
    }
    errors = {kind.__name__ for kind in subclasses(PromptmillError)} & named

    assert errors
    assert errors - {"Transient"} <= set(public.__all__)


@pytest.mark.parametrize("deadline", ["soon", "0", "-1h", 0, ""])
def test_a_deadline_that_is_no_span_is_refused_before_anything_is_sent(
    deadline: str | float,
) -> None:
    mill = public.Promptmill(
        broker_url="redis://127.0.0.1:1/0", bucket="gs://acme/mill", model="gemini-3.8-flash"
    )

    with pytest.raises(
        public.ConfigurationError, match="deadline must be a duration such as 90m, 36h or 2d, not"
    ):
        mill.submit(["a"], deadline=deadline)


@pytest.mark.parametrize("tokens", [-1, 1.5, "4096"])
def test_a_budget_that_is_no_number_of_tokens_is_refused(tokens: Any) -> None:
    mill = public.Promptmill(
        broker_url="redis://127.0.0.1:1/0", bucket="gs://acme/mill", model="gemini-3.8-flash"
    )

    with pytest.raises(public.ConfigurationError, match=r"retry_max_tokens:? must be a"):
        mill.submit(["a"], retry_max_tokens=tokens)


def subclasses(kind: type[Exception]) -> list[type[Exception]]:
    return [one for below in kind.__subclasses__() for one in (below, *subclasses(below))]


def test_importing_the_producer_brings_no_heavy_library() -> None:
    _, modules = probe()

    assert set(modules) & set(FOREIGN) == set()


@pytest.mark.alone
def test_importing_the_producer_takes_less_than_half_a_second() -> None:
    """Half a second of the processor on which a calibration loop takes its nominal time."""
    assert min(probe()[0] for _ in range(3)) * NOMINAL_SECONDS < 0.5
