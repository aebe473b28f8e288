"""A run is warned of answers by another model than the one that it asked for."""

from typing import Any

import pytest

from promptmill.producers.contract.status import Report
from promptmill.workers.fakes.output import make_response
from promptmill.workers.output.run_warnings import model_family
from support.fake_pipeline import RUN, FakePipeline

PUBLISHER = "publishers/google/models/"


def report_of(asked: str, *versions: str) -> Report:
    answers = iter(versions)

    def answer(_: Any) -> Any:
        return make_response("Hola.") | {"modelVersion": next(answers)}

    pipeline = FakePipeline(model=PUBLISHER + asked, answer=answer)
    pipeline.drive(pipeline.send([f"prompt {number}" for number, _ in enumerate(versions)]))
    return pipeline.report(RUN)


def test_answers_of_another_model_are_counted_by_family() -> None:
    report = report_of(
        "gemini-3.8-flash", "gemini-3.8-flash", "gemini-3.6-flash", "gemini-3.6-flash@default"
    )

    assert report.warnings == [
        "2 answers are from gemini-3.6-flash, but the run asked for gemini-3.8-flash. "
        "Check whether Google still offers that model"
    ]


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("gemini-3.8-flash", "gemini-3.8-flash"),
        ("gemini-3.8-flash", "gemini-3.8-flash-001"),
        ("gemini-3-flash-preview", "gemini-3-flash"),
        ("gemini-2.5-flash-preview-04-17", "gemini-2.5-flash"),
        ("gemini-3.8-flash", "gemini-3.8-flash@default"),
        ("gemini-3.8-flash", ""),
        ("gemini-flash-latest", "gemini-3.8-flash"),
        ("gemini-3.8-flash", "tuned-model-7"),
    ],
)
def test_versions_of_one_family_are_equal(asked: str, answered: str) -> None:
    assert report_of(asked, answered).warnings == []


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("publishers/google/models/gemini-3.8-flash-001", "gemini-3.8-flash"),
        ("gemini-2.5-flash-lite", "gemini-2.5-flash-lite"),
        ("gemini-2.5-flash-lite-preview-09-2025", "gemini-2.5-flash-lite"),
        ("gemini-embedding-001", "gemini-embedding-001"),
        ("projects/1/locations/global/models/7", ""),
        ("", ""),
    ],
)
def test_a_name_has_a_family(name: str, family: str) -> None:
    assert model_family(name) == family
