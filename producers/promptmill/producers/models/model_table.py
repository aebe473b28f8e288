"""The Gemini models with batch jobs, and what Google's pages say about each.

Every row names its source and the day on which it was last compared with it. The
emulator has its own copy of these facts; a test compares both. A model that is not in
the table can still be used: its jobs are created with a warning.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from promptmill.config.locations import GLOBAL, MULTI_REGIONS

ANYWHERE = (GLOBAL, *MULTI_REGIONS)

EMBEDDING_REGIONS = (
    "us-central1",
    "us-east1",
    "us-east4",
    "us-west1",
    "us-west4",
    "europe-west1",
    "europe-west4",
)

PENALTIES = ("presencePenalty", "frequencyPenalty")
SAMPLING = ("temperature", "topP", "topK")

THOUGHT_TOKENS: Mapping[str, int] = {"MINIMAL": 0, "LOW": 200, "MEDIUM": 370, "HIGH": 850}
"""Rough number of thought tokens of a short prompt, by thinking level.

Measured online with Gemini 3.6 and 3.7 Flash in September 2026: 159 to 213 at LOW, 356
to 373 at MEDIUM, 753 to 891 at HIGH, three calls each (github.com/langchain-ai/openwiki,
issue 786). Google calls the levels relative allowances, not guarantees.
"""


class Stage(StrEnum):
    """Google's launch stages."""

    ga = "GA"
    preview = "preview"
    retired = "retired"


class Task(StrEnum):
    """What a model's requests ask for."""

    generate = "generate"
    embed = "embed"


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about one model in batch jobs."""

    name: str
    """Id of the model, as in ``publishers/google/models/NAME``."""
    stage: Stage
    """Launch stage on ``checked``."""
    task: Task = Task.generate
    """What its requests ask for."""
    locations: tuple[str, ...] = ANYWHERE
    """Locations that accept batch jobs of this model."""
    retires: str = ""
    """ISO date of the retirement, or the earliest one. Empty without an announcement."""
    successor: str = ""
    """Model that replaces a retired one. Ours to choose; Google names none for some."""
    regions_unproven: bool = False
    """Whether single regions serve the model online, without proof of batch jobs there."""
    thinking_levels: tuple[str, ...] = ()
    """Accepted values of ``thinkingLevel``. Empty for a model without levels."""
    default_thinking_level: str = ""
    """The level of a request that names none."""
    refused_fields: tuple[str, ...] = ()
    """Fields of ``generationConfig`` with which a request is refused."""
    ignored_fields: tuple[str, ...] = ()
    """Fields of ``generationConfig`` that have no effect."""
    accepts_model_turn_last: bool = True
    """Whether ``contents`` can end with a turn of the model."""
    max_input_tokens: int = 1_048_576
    """Input limit of a request. 0 means unknown."""
    max_output_tokens: int = 65_536
    """Output limit of a request, thinking included. 0 means unknown."""
    max_dimensions: int = 0
    """Length of the longest embedding. 0 for a model without embeddings."""
    source: str
    """Google's page or the observation that these facts come from."""
    checked: str
    """ISO date of the last comparison with ``source``."""

    @property
    def thinks(self) -> bool:
        """Whether the model has thinking levels."""
        return bool(self.thinking_levels)


_CHECKED = "2026-12-01"
_DOCS = "docs.cloud.google.com/gemini-enterprise-agent-platform/models"
_LEVELS = ("MINIMAL", "LOW", "MEDIUM", "HIGH")

_MODELS = (
    Model(
        name="gemini-4-argon",
        stage=Stage.ga,
        retires="2027-10-13",
        thinking_levels=("LOW", "MEDIUM", "HIGH"),
        default_thinking_level="MEDIUM",
        ignored_fields=SAMPLING,
        source=f"{_DOCS}/guides/gemini-4-argon, …/model-versions",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-3.8-flash",
        stage=Stage.ga,
        retires="2027-09-02",
        thinking_levels=("LOW", "MEDIUM", "HIGH"),
        default_thinking_level="MEDIUM",
        refused_fields=(*PENALTIES, "candidateCount"),
        ignored_fields=SAMPLING,
        accepts_model_turn_last=False,
        source=f"{_DOCS}/guides/gemini-3-8-flash, …/thinking, …/model-versions",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-3.7-flash",
        stage=Stage.ga,
        thinking_levels=("LOW", "MEDIUM", "HIGH"),
        default_thinking_level="MEDIUM",
        refused_fields=PENALTIES,
        ignored_fields=SAMPLING,
        accepts_model_turn_last=False,
        source=f"{_DOCS}/thinking; fields inferred from 3.6 and 3.8 Flash",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-3.6-flash",
        stage=Stage.ga,
        thinking_levels=_LEVELS,
        default_thinking_level="MEDIUM",
        refused_fields=PENALTIES,
        ignored_fields=SAMPLING,
        accepts_model_turn_last=False,
        source=f"{_DOCS}/gemini/3-6-flash, …/thinking",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-3.5-flash",
        stage=Stage.ga,
        retires="2027-05-19",
        regions_unproven=True,
        thinking_levels=_LEVELS,
        default_thinking_level="MEDIUM",
        source=f"{_DOCS}/guides/gemini-3-6-flash, …/thinking, …/model-versions",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-3.5-flash-lite",
        stage=Stage.ga,
        retires="2027-07-21",
        thinking_levels=_LEVELS,
        default_thinking_level="MINIMAL",
        refused_fields=PENALTIES,
        ignored_fields=SAMPLING,
        accepts_model_turn_last=False,
        source=f"{_DOCS}/gemini/3-5-flash-lite, …/thinking, …/model-versions",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-3.1-pro-preview",
        stage=Stage.preview,
        locations=(GLOBAL,),
        thinking_levels=("LOW", "MEDIUM", "HIGH"),
        default_thinking_level="HIGH",
        source=f"{_DOCS}/guides/gemini-3-8-flash, …/start/get-started-with-gemini-3",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-3.1-flash-lite",
        stage=Stage.ga,
        retires="2027-05-07",
        thinking_levels=_LEVELS,
        default_thinking_level="MINIMAL",
        source=f"{_DOCS}/gemini/3-1-flash-lite, …/thinking, …/model-versions",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-3.1-flash-lite-image",
        stage=Stage.ga,
        retires="2027-06-28",
        thinking_levels=("MINIMAL", "HIGH"),
        default_thinking_level="MINIMAL",
        max_input_tokens=65_536,
        max_output_tokens=4_096,
        source=f"{_DOCS}/thinking, …/model-versions; limits of ai.google.dev",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-3.1-flash-image",
        stage=Stage.ga,
        retires="2027-05-28",
        thinking_levels=("MINIMAL", "HIGH"),
        default_thinking_level="MINIMAL",
        max_input_tokens=0,
        max_output_tokens=0,
        source=f"{_DOCS}/thinking, …/model-versions",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-3-pro-image",
        stage=Stage.ga,
        retires="2027-05-28",
        thinking_levels=("HIGH",),
        default_thinking_level="HIGH",
        max_input_tokens=0,
        max_output_tokens=0,
        source=f"{_DOCS}/thinking, …/model-versions",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-3-flash-preview",
        stage=Stage.preview,
        locations=(GLOBAL,),
        thinking_levels=_LEVELS,
        default_thinking_level="HIGH",
        source=f"{_DOCS}/gemini/3-flash, …/thinking",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-2.5-flash-image",
        stage=Stage.ga,
        retires="2027-03-15",
        max_input_tokens=0,
        max_output_tokens=0,
        source=f"{_DOCS}/model-versions",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-3-pro-preview",
        stage=Stage.retired,
        locations=(GLOBAL,),
        retires="2026-03-09",
        successor="gemini-3.1-pro-preview",
        thinking_levels=("LOW", "HIGH"),
        default_thinking_level="HIGH",
        source="ai.google.dev/gemini-api/docs/deprecations",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-2.5-pro",
        stage=Stage.retired,
        retires="2026-10-20",
        successor="gemini-3.1-pro-preview",
        source=f"{_DOCS}/model-versions",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-2.5-flash",
        stage=Stage.retired,
        retires="2026-10-20",
        successor="gemini-3.8-flash",
        source=f"{_DOCS}/model-versions",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-2.5-flash-lite",
        stage=Stage.retired,
        retires="2026-10-20",
        successor="gemini-3.5-flash-lite",
        source=f"{_DOCS}/model-versions",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-2.0-flash",
        stage=Stage.retired,
        retires="2026-06-01",
        successor="gemini-3.8-flash",
        max_output_tokens=8_192,
        source="firebase.google.com/docs/ai-logic, notice of June 2026",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-2.0-flash-lite",
        stage=Stage.retired,
        retires="2026-06-01",
        successor="gemini-3.5-flash-lite",
        max_output_tokens=8_192,
        source="firebase.google.com/docs/ai-logic, notice of June 2026",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-embedding-001",
        stage=Stage.ga,
        task=Task.embed,
        locations=EMBEDDING_REGIONS,
        max_input_tokens=2_048,
        max_output_tokens=0,
        max_dimensions=3_072,
        source=f"{_DOCS}/embeddings/batch-prediction-genai-embeddings",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-embedding-2",
        stage=Stage.ga,
        task=Task.embed,
        ignored_fields=("taskType", "title"),
        max_input_tokens=8_192,
        max_output_tokens=0,
        max_dimensions=3_072,
        source=f"{_DOCS}/embeddings/batch-prediction-genai-embeddings",
        checked=_CHECKED,
    ),
)

MODELS: Mapping[str, Model] = {model.name: model for model in _MODELS}
"""All known models by name, the newest first."""


def find_model(name: str) -> Model | None:
    """Return the row of a model, or None for a model that the table does not know.

    ``name`` is an id such as ``gemini-3.8-flash``, or a resource name that ends with
    one. A version suffix such as ``-001`` or ``@default`` is ignored.
    """
    short_name = name.rpartition("/")[2].partition("@")[0]
    return MODELS.get(short_name) or MODELS.get(short_name.removesuffix("-001"))


def find_embedding_model(name: str) -> Model | None:
    """Return the row of an embedding model; None for any other model."""
    model = find_model(name)
    return model if model and model.task is Task.embed else None
