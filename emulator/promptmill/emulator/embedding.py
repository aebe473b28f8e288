"""Embeddings: checks requests, and makes vectors that are close for similar texts."""

import hashlib
import math
import re
from functools import lru_cache
from random import Random

from .errors import RowRefused
from .json_types import JsonObject
from .model_table import Model
from .request_fields import get_field, list_items, to_camel_case

CONFIG_FIELDS = frozenset(
    {
        "taskType",
        "title",
        "outputDimensionality",
        "mimeType",
        "autoTruncate",
        "documentOcr",
        "audioTrackExtraction",
    }
)
"""The fields of EmbedContentConfig (google-genai 2.34.0)."""
TASK_TYPES = frozenset(
    {
        "RETRIEVAL_QUERY",
        "RETRIEVAL_DOCUMENT",
        "SEMANTIC_SIMILARITY",
        "CLASSIFICATION",
        "CLUSTERING",
        "QUESTION_ANSWERING",
        "FACT_VERIFICATION",
        "CODE_RETRIEVAL_QUERY",
    }
)
CHARACTERS_PER_TOKEN = 4
_TOKENS_PER_FILE = 258
_WORD = re.compile(r"\w+")
_STEM_LENGTH = 5
_PLACES_PER_WORD = 24
_COMMON_WEIGHT = 0.004
"""Weight of the vector that all texts share, as embeddings of real models do."""


def embed_request(request: JsonObject, model: Model) -> JsonObject:
    """Return an EmbedContentResponse. Raises RowRefused (400)."""
    _check_names(request, {"content", "embedContentConfig"}, "")
    config = get_field(request, "embedContentConfig") or {}
    _check_config(config, model)
    text, files = _read_content(get_field(request, "content"))
    if files and model.name == "gemini-embedding-001":
        raise _refuse("Unable to submit request because this model embeds text only.")
    count = _count_tokens(text, files, model, config)
    dimensions = get_field(config, "outputDimensionality") or model.max_dimensions
    return {
        "tokenCount": str(count),
        "embedding": {"values": make_vector(text, dimensions)},
    }


def make_vector(text: str, dimensions: int) -> list[float]:
    """Return a unit vector that is close to those of texts with the same words."""
    values = list(_common_vector(dimensions))
    for word in _WORD.findall(text.lower()):
        weight = 1.0 if len(word) > 3 else 0.1
        for place, sign in _places_of(word[:_STEM_LENGTH], dimensions):
            values[place] += sign * weight
    scale = 1 / math.sqrt(math.fsum(value * value for value in values))
    return [round(value * scale, 9) for value in values]


@lru_cache(16)
def _common_vector(dimensions: int) -> tuple[float, ...]:
    random = Random(dimensions)  # noqa: S311 - repeatable, not a secret
    return tuple(random.gauss(0, 1) * _COMMON_WEIGHT for _ in range(dimensions))


@lru_cache(65_536)
def _places_of(stem: str, dimensions: int) -> tuple[tuple[int, float], ...]:
    digest = hashlib.blake2b(stem.encode()).digest()
    random = Random(digest)  # noqa: S311 - repeatable, not a secret
    places = (random.randrange(dimensions) for _ in range(_PLACES_PER_WORD))
    return tuple((place, random.choice((-1.0, 1.0))) for place in places)


def _check_names(message: JsonObject, known: "set[str] | frozenset[str]", place: str) -> None:
    for name in message:
        if to_camel_case(name) not in known:
            where = f" at '{place}'" if place else ""
            raise _refuse(
                f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'
            )


def _check_config(config: JsonObject, model: Model) -> None:
    if not isinstance(config, dict):
        raise _refuse("Invalid value at 'embed_content_config'.")
    _check_names(config, CONFIG_FIELDS, "embed_content_config")
    dimensions = get_field(config, "outputDimensionality")
    limit = model.max_dimensions
    if dimensions is not None and not (isinstance(dimensions, int) and 0 < dimensions <= limit):
        raise _refuse(
            f"Unable to submit request because it has an output_dimensionality of {dimensions}: "
            f"from 1 to {limit}."
        )
    task_type = get_field(config, "taskType")
    if task_type not in TASK_TYPES | {None}:
        raise _refuse(f"Invalid value at 'embed_content_config.task_type' (TYPE_ENUM), {task_type}")


def _read_content(content: object) -> tuple[str, int]:
    """Return the text of the parts and the number of their files."""
    parts = list_items(get_field(content, "parts"))
    texts = [get_field(part, "text") for part in parts]
    files = sum(
        bool(get_field(part, "fileData") or get_field(part, "inlineData")) for part in parts
    )
    if not all(isinstance(text, str | None) for text in texts):
        raise _refuse("Invalid value at 'content.parts[0].text' (TYPE_STRING).")
    joined_text = " ".join(text for text in texts if text)
    if not joined_text and not files:
        raise _refuse("Unable to submit request because content must have at least one part.")
    return joined_text, files


def _count_tokens(text: str, files: int, model: Model, config: JsonObject) -> int:
    """Count tokens up to the model's limit: longer texts are cut unless the row forbids it."""
    count = max(1, len(text) // CHARACTERS_PER_TOKEN) + _TOKENS_PER_FILE * files
    if count > model.max_input_tokens and get_field(config, "autoTruncate") is False:
        raise _refuse(
            f"The input has {count} tokens and the model takes {model.max_input_tokens}: "
            "auto_truncate is false."
        )
    return min(count, model.max_input_tokens)


def _refuse(message: str) -> RowRefused:
    return RowRefused(400, message)
