"""Reads the names of models that users pass, and refuses those that Promptmill cannot run."""

import difflib
import re
from enum import StrEnum
from typing import NamedTuple

from promptmill.config.errors import ConfigurationError
from promptmill.producers.models.model_table import MODELS, Stage, find_model

_PLACE = r"projects/[\w.:-]+/locations/(?P<location>[\w-]+)/"
_PUBLISHER = re.compile(rf"({_PLACE})?publishers/(?P<publisher>[\w.-]+)/models/(?P<name>[\w.@-]+)")
_TUNED = re.compile(rf"{_PLACE}models/(?P<name>[\w-]+(@[\w.-]+)?)")
_ENDPOINT = re.compile(rf"{_PLACE}endpoints/(?P<name>[\w-]+)")
_SHORT = re.compile(r"[\w.@-]+")
_PARTNER = re.compile(
    r"(?:[\w.-]+/)?(?:claude|llama|gpt-oss|mi[sx]tral|codestral|deepseek|qwen|jamba|kimi|"
    r"minimax|glm|grok)[\w.@-]*",
    re.IGNORECASE,
)
_DEVELOPER_API = re.compile(
    r"(?:models|tunedModels)/.*|.*generativelanguage\.googleapis\.com.*", re.DOTALL
)
_EXAMPLE = "use a name such as gemini-3.8-flash"
_PARTNER_ADVICE = (
    "partner models have other request formats in batch jobs; Promptmill runs Gemini models"
)
_DEVELOPER_API_ADVICE = (
    "the Gemini Developer API has no labels and no list filter, so a job could not be found after "
    "a crash; use a model of Vertex AI, such as gemini-3.8-flash"
)


class ModelKind(StrEnum):
    """What a model name refers to."""

    publisher = "publisher"
    tuned = "tuned"
    endpoint = "endpoint"


class ModelName(NamedTuple):
    """A model name, as Google's resource.

    ``name`` is the last part of ``resource``. ``location`` is empty for a publisher's
    model without one.
    """

    kind: ModelKind
    resource: str
    name: str
    location: str = ""


def parse_model(model: str) -> ModelName:
    """Return the resource that a model name refers to.

    It takes ``gemini-…``, ``publishers/google/models/…``, the same after a project and
    location, the resource of a tuned model, and that of an endpoint.

    Raises ConfigurationError for models of partners or of the Gemini Developer API, and
    for text that is no name.
    """
    _refuse_foreign(model)
    if _SHORT.fullmatch(model):
        return ModelName(ModelKind.publisher, f"publishers/google/models/{model}", model)
    patterns = {
        ModelKind.publisher: _PUBLISHER,
        ModelKind.tuned: _TUNED,
        ModelKind.endpoint: _ENDPOINT,
    }
    for kind, pattern in patterns.items():
        if match := pattern.fullmatch(model):
            return ModelName(kind, model, match["name"], match["location"] or "")
    raise ConfigurationError(f"model {model!r} is not a model name; {_EXAMPLE}")


def find_similar(name: str) -> str:
    """Return the known name that is closest to an unknown one, or ""."""
    available = [model.name for model in MODELS.values() if model.stage is not Stage.retired]
    for candidate in (f"{name}-preview", name.partition("-preview")[0]):
        if candidate in available:
            return candidate
    return next(iter(difflib.get_close_matches(name, available, n=1, cutoff=0.6)), "")


def _refuse_foreign(model: str) -> None:
    publisher = _PUBLISHER.fullmatch(model)
    is_partner = publisher["publisher"] != "google" if publisher else _PARTNER.fullmatch(model)
    if is_partner:
        raise ConfigurationError(f"model {model!r}: {_PARTNER_ADVICE}")
    if _DEVELOPER_API.fullmatch(model):
        raise ConfigurationError(f"model {model!r}: {_DEVELOPER_API_ADVICE}")


def is_known(model: ModelName) -> bool:
    """Whether the table has the model, or it is a tuned one, whose name says nothing."""
    return model.kind is not ModelKind.publisher or find_model(model.name) is not None
