"""An endpoint becomes the model that is deployed to it, once, before anything is billed."""

import pytest

from promptmill.config.errors import ConfigurationError
from promptmill.producers import Promptmill
from promptmill.workers import steps
from promptmill.workers.fakes import FakeEndpoints
from promptmill.workers.ports.google import Endpoint
from promptmill.workers.steps.endpoints import BASE_MODEL_LABEL, find_job_model
from support.fake_pipeline import FakePipeline

PARENT = "projects/p/locations/us-central1"
NAME = f"{PARENT}/endpoints/123"
MODEL = f"{PARENT}/models/gemini-tuned@1"


def resolve(*models: str, name: str = NAME, **labels: str) -> str:
    endpoints = FakeEndpoints({NAME: Endpoint(models, labels)})
    return find_job_model(name, lambda: endpoints)


def test_jobs_of_an_endpoint_use_the_deployed_model() -> None:
    assert resolve(MODEL) == MODEL


@pytest.mark.parametrize("model", ["publishers/google/models/gemini-3.8-flash", MODEL])
def test_a_model_is_used_as_it_is_without_a_call(model: str) -> None:
    assert find_job_model(model, lambda: pytest.fail("Vertex AI was called")) == model


@pytest.mark.parametrize(
    ("models", "labels", "reason"),
    [
        ((), {}, "has no deployed model"),
        ((MODEL, f"{PARENT}/models/other"), {}, "has 2 deployed models; pass one of them"),
        ((MODEL,), {BASE_MODEL_LABEL: "gemini-3_8-flash"}, "serves a tuned gemini-3.8-flash"),
        ((MODEL,), {BASE_MODEL_LABEL: "gemini-4-argon"}, "since Gemini 3 have no batch jobs"),
        (("publishers/meta/models/llama",), {}, "cannot be used"),
    ],
)
def test_an_endpoint_that_cannot_have_batch_jobs_is_refused_with_the_reason(
    models: tuple[str, ...], labels: dict[str, str], reason: str
) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        resolve(*models, **labels)


def test_a_tuned_model_of_an_older_base_is_used() -> None:
    assert resolve(MODEL, **{BASE_MODEL_LABEL: "gemini-2_5-flash"}) == MODEL


def test_an_unknown_endpoint_is_refused_with_its_name() -> None:
    with pytest.raises(ConfigurationError, match="endpoints/9 does not exist"):
        resolve(MODEL, name=f"{PARENT}/endpoints/9")


def test_a_later_deployment_does_not_change_the_model_of_a_run() -> None:
    pipeline = FakePipeline(model=NAME)
    run = pipeline.send(["a"])
    endpoints = FakeEndpoints({NAME: Endpoint((MODEL,), {})})

    def plan() -> None:
        folder = pipeline.folder(run)
        steps.plan.plan(
            folder,
            10,
            1 << 24,
            find_job_model=lambda model: find_job_model(model, lambda: endpoints),
        )

    plan()
    endpoints.endpoints = {NAME: Endpoint((f"{PARENT}/models/gemini-new",), {})}
    plan()
    pipeline.drive(run)

    assert [request.model for request in pipeline.jobs.requests] == [MODEL]
    endpoints.endpoints = {}
    plan()


def test_answers_of_an_endpoint_are_not_reused() -> None:
    mill = Promptmill(broker_url="redis://127.0.0.1:1", bucket="gs://b", location="us-central1")

    with pytest.raises(ConfigurationError, match="pass the resource of the tuned model"):
        mill.submit(["a"], model=NAME, reuse_answers=True)
