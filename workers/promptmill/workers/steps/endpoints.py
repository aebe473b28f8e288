"""Finds the tuned model behind an endpoint, because batch jobs take models only.

The answer is recorded in the plan of a run. A later deployment does not change the run.
"""

import re
from collections.abc import Callable

from promptmill.config.errors import ConfigurationError, NotFound
from promptmill.producers.models.model_names import ModelKind, parse_model
from promptmill.workers.ports.google import Endpoint, Endpoints

BASE_MODEL_LABEL = "google-vertex-llm-tuning-base-model-id"
"""Label of tuned models and their endpoints (google-genai 2.34.0 reads it)."""
_WITHOUT_BATCH = re.compile(r"gemini-([3-9]|[1-9]\d)")
"""Base models whose tuned models have no batch jobs
(docs.cloud.google.com/vertex-ai/generative-ai/docs/multimodal/batch-prediction-gemini)."""


def find_job_model(model: str, open_endpoints: Callable[[], Endpoints]) -> str:
    """Return the model of a run's jobs: ``model``, or the model deployed to that endpoint.

    Raises ConfigurationError for an endpoint without exactly one model that has batch jobs.
    """
    if parse_model(model).kind is not ModelKind.endpoint:
        return model
    try:
        endpoint = open_endpoints().get(model)
    except NotFound:
        raise ConfigurationError(
            f"endpoint {model} does not exist; check its number, project and location"
        ) from None
    if problem := _find_problem(endpoint):
        raise ConfigurationError(f"endpoint {model} {problem}")
    job_model, *_ = endpoint.models
    return job_model


def _find_problem(endpoint: Endpoint) -> str:
    base_model = endpoint.labels.get(BASE_MODEL_LABEL, "").replace("_", ".")
    if not endpoint.models:
        return "has no deployed model; pass the resource of the tuned model"
    if len(endpoint.models) > 1:
        listed_models = ", ".join(endpoint.models)
        return f"has {len(endpoint.models)} deployed models; pass one of them: {listed_models}"
    if _WITHOUT_BATCH.match(base_model):
        return f"serves a tuned {base_model}; tuned models since Gemini 3 have no batch jobs"
    return _find_model_problem(next(iter(endpoint.models)))


def _find_model_problem(model: str) -> str:
    try:
        kind = parse_model(model).kind
    except ConfigurationError as error:
        return f"cannot be used: {error}"
    is_usable = kind is not ModelKind.endpoint
    return "" if is_usable else f"has no model that batch jobs take, but {model}"
