"""The requests of embedding models: their checks, and the form in which they are sent.

A request is ``{"content": {"parts": […]}, "embed_content_config": {…}}``
(docs.cloud.google.com/gemini-enterprise-agent-platform/models, page
batch-prediction-genai-embeddings). It may also be written in camelCase.
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from promptmill.config.errors import ConfigurationError
from promptmill.producers.models.field_spelling import to_snake_case
from promptmill.producers.models.model_table import Model, find_embedding_model
from promptmill.producers.pricing import tokens
from promptmill.producers.pricing.thinking import ThoughtCounter
from promptmill.producers.pricing.tokens import RequestTokens
from promptmill.producers.requests import request_validation
from promptmill.producers.requests.converted_texts import EMBEDDED_PATH
from promptmill.producers.requests.model_checks import ModelChecks

if TYPE_CHECKING:
    from promptmill.producers.contract.messages import Manifest

_TEXT_MODEL = "gemini-embedding-001"
CONFIG_FIELD = "embed_content_config"
TASK_TYPES = (
    "RETRIEVAL_QUERY",
    "RETRIEVAL_DOCUMENT",
    "SEMANTIC_SIMILARITY",
    "CLASSIFICATION",
    "CLUSTERING",
    "QUESTION_ANSWERING",
    "FACT_VERIFICATION",
    "CODE_RETRIEVAL_QUERY",
)
_FIELDS = ("content", CONFIG_FIELD)
_MULTIMODAL_FIELDS = frozenset({"document_ocr", "audio_track_extraction"})
"""Fields for Gemini Embedding 2 alone, by the docstrings of google-genai 2.34.0."""
_GENERATION_FIELDS = frozenset(
    {"generation_config", "system_instruction", "tools", "tool_config", "safety_settings"}
)
_encode_json = msgspec.json.Encoder(order="deterministic").encode
Config = Mapping[str, object]


def choose_form(manifest: "Manifest", checks: ModelChecks | None = None) -> "EmbeddingForm | None":
    """Return the form of a run's requests if its model makes embeddings, else None."""
    return make_form(manifest.model, manifest.embedding_config, checks)


def make_form(
    model_name: str, config: Config | None = None, checks: ModelChecks | None = None
) -> "EmbeddingForm | None":
    """Return the form of requests to an embedding model, None for any other model."""
    model = find_embedding_model(model_name)
    return EmbeddingForm(model, config or {}, checks) if model else None


class JobLimits(Protocol):
    """The settings that limit the rows of a job."""

    max_requests_per_job: int
    max_embeddings_per_job: int


def max_rows_per_job(settings: JobLimits, model_name: str) -> int:
    """Return how many rows one job of a model may have."""
    embeds = find_embedding_model(model_name)
    return settings.max_embeddings_per_job if embeds else settings.max_requests_per_job


def normalize_config(config: Config, model: Model) -> dict[str, object]:
    """Return an EmbedContentConfig in Google's spelling; raises ConfigurationError."""
    normal = _normalize_names(config)
    if problem := _find_config_problem(normal, model):
        raise ConfigurationError(f"embedding_config: {problem}")
    return normal


class EmbeddingForm:
    """Checks and completes the requests of one run.

    ``config`` holds for all rows. A row overrides single fields of it, but not the length.
    ``checks`` reports fields that the model ignores, and texts that it may cut.
    """

    text_path = EMBEDDED_PATH

    def __init__(self, model: Model, config: Config, checks: ModelChecks | None = None) -> None:
        self._model, self._config = model, dict(config)
        self._checks = checks or ModelChecks(model.name)
        self._max_bytes = model.max_input_tokens * tokens.BYTES_PER_TOKEN or math.inf
        self._checks.check_config(config, CONFIG_FIELD)
        config_text = b',"%s":%s' % (CONFIG_FIELD.encode(), _encode_json(config)) if config else b""
        self.text_prefix = b'"request":{"content":{"parts":[{"text":'
        """The start of a request, before its text."""
        self.text_suffix = b"}]}%s}}\n" % config_text
        """The end of a wire line, after the text of a prompt."""

    def request_from_text(self, text: str) -> Config:
        """Return the request of a text."""
        return {"content": {"parts": [{"text": text}]}}

    def check_request(self, request: object) -> str:
        """Return why Google would refuse a request; "" for a valid one."""
        if not isinstance(request, Mapping):
            return _describe_non_mapping(request)
        return (
            _find_foreign_field([to_snake_case(str(name)) for name in request])
            or self._check_content(_read_content(request))
            or self._check_config(_read_config(request))
        )

    def prepare_request(self, request: Config) -> Config:
        """Return the request to send, which ``check_request`` has accepted."""
        own_config = _read_config(request)
        config = self._config | _normalize_names(own_config or {})
        content = {"content": {"parts": _read_content(request)["parts"]}}
        return content | ({CONFIG_FIELD: config} if config else {})

    def count_text_tokens(self, size: int, _thoughts: ThoughtCounter) -> RequestTokens:
        """Return the tokens of a text of ``size`` bytes. There is no output."""
        if size > self._max_bytes:
            self._warn_of_length()
        return RequestTokens(size, min(size, self._model.max_input_tokens or size))

    def count_tokens(self, request: Config, size: int, _thoughts: ThoughtCounter) -> RequestTokens:
        """Return the tokens of a prepared request of ``size`` bytes of JSON."""
        counted = tokens.count_request_tokens({"contents": [request["content"]]}, size)
        if counted.text > self._max_bytes:
            self._warn_of_length()
        most = min(counted.most, self._model.max_input_tokens or counted.most)
        return msgspec.structs.replace(counted, most=most, open=False)

    def _warn_of_length(self) -> None:
        limit = self._model.max_input_tokens
        self._checks.report_once(
            f"texts of over {self._max_bytes:,} bytes may exceed the {limit:,} tokens that "
            f"{self._model.name} takes; it embeds their start only, or refuses the row if "
            "auto_truncate is false"
        )

    def _check_content(self, content: Any) -> str:
        if isinstance(content, list):
            return f"contents has {len(content)} entries; an embedding has one content per row"
        if problem := request_validation.check_request({"contents": [content]}):
            return problem.replace("each entry of contents", "content")
        return self._check_parts(content["parts"])

    def _check_parts(self, parts: list[Config]) -> str:
        has_media = any(name != "text" for part in parts for name in part)
        if has_media and self._model.name == _TEXT_MODEL:
            return f"{_TEXT_MODEL} embeds text only; use gemini-embedding-2 for media"
        return ""

    def _check_config(self, config: object) -> str:
        if config is None:
            return ""
        if not isinstance(config, Mapping):
            return f"{CONFIG_FIELD} must be a mapping, not {type(config).__name__}"
        normal = _normalize_names(config)
        return (
            _find_config_problem(normal, self._model)
            or self._check_length(normal)
            or self._checks.check_config(normal, CONFIG_FIELD)
        )

    def _check_length(self, config: Config) -> str:
        run_length = self._config.get("output_dimensionality")
        length = config.get("output_dimensionality", run_length)
        if run_length is None or length == run_length:
            return ""
        return (
            f"output_dimensionality is {length} in this row and {run_length} in the run's "
            "embedding_config; use one run per length"
        )


def _describe_non_mapping(request: object) -> str:
    if request is None:
        return "the row has neither request nor prompt"
    return f"a request must be a mapping with content, not {type(request).__name__}"


def _find_foreign_field(spelled_names: list[str]) -> str:
    """Return why the fields of a request are not those of an embedding."""
    names = set(spelled_names)
    if len(names) < len(spelled_names) or {"content", "contents"} <= names:
        return f"a field is given twice, in two spellings; {_KNOWN_FIELDS}"
    if foreign := sorted(names & _GENERATION_FIELDS):
        return f"{foreign[0]} has no meaning for an embedding model; {_KNOWN_FIELDS}"
    if unknown := sorted(names.difference(_FIELDS, {"contents"})):
        advice = f"put it into {CONFIG_FIELD}" if unknown[0] in _CONFIG_CHECKS else _KNOWN_FIELDS
        return f"unknown field {unknown[0]!r}; {advice}"
    return "" if names & {"content", "contents"} else "content is missing"


def _find_config_problem(config: Config, model: Model) -> str:
    for name, value in config.items():
        check = _CONFIG_CHECKS.get(name)
        if check is None:
            return f"unknown field {name!r}; use {', '.join(_CONFIG_CHECKS)}"
        if name in _MULTIMODAL_FIELDS and model.name == _TEXT_MODEL:
            return f"{name} is a field of gemini-embedding-2, not of {model.name}"
        if problem := check(value, model):
            return f"{name} must be {problem}, not {value!r}"[:400]
    return ""


def _check_dimensions(value: object, model: Model) -> str:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    is_valid = is_whole and isinstance(value, int) and 0 < value <= model.max_dimensions
    return "" if is_valid else f"a whole number from 1 to {model.max_dimensions}"


def _check_task_type(value: object, _model: Model) -> str:
    return "" if value in TASK_TYPES else f"one of {', '.join(TASK_TYPES)}"


def _check_text(value: object, _model: Model) -> str:
    return "" if isinstance(value, str) and value else "a text"


def _check_flag(value: object, _model: Model) -> str:
    return "" if isinstance(value, bool) else "true or false"


_CONFIG_CHECKS: Mapping[str, Callable[[object, Model], str]] = {
    "output_dimensionality": _check_dimensions,
    "task_type": _check_task_type,
    "title": _check_text,
    "auto_truncate": _check_flag,
    "mime_type": _check_text,
    "document_ocr": _check_flag,
    "audio_track_extraction": _check_flag,
}
"""The fields of EmbedContentConfig in google-genai 2.34.0, and what checks each."""
_KNOWN_FIELDS = f"use {' and '.join(_FIELDS)}"


def _read_config(request: Config) -> Any:
    return request.get(CONFIG_FIELD, request.get("embedContentConfig"))


def _normalize_names(config: Config) -> dict[str, object]:
    """Return a config with Google's names in snake case, without nulls."""
    return {to_snake_case(str(name)): value for name, value in config.items() if value is not None}


def _read_content(request: Config) -> Any:
    """Return the Content of a request. It may be a text, or the only one of ``contents``."""
    content = request.get("content")
    if content is None:
        contents = request.get("contents")
        content = contents[0] if isinstance(contents, list) and len(contents) == 1 else contents
    if isinstance(content, str):
        return {"parts": [{"text": content}]}
    if isinstance(content, Mapping) and isinstance(content.get("parts"), Mapping):
        return {**content, "parts": [content["parts"]]}
    return content
