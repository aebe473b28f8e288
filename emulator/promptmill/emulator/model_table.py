"""The emulator's own table of models. A test compares it with that of the product.

Every row names its source and the day on which it was last compared with it.
"""

from collections.abc import Mapping

import msgspec

GLOBAL = ("global",)
ANYWHERE = ("global", "us", "eu")
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


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One model: its stage, the places of its batch jobs, and what it accepts.

    `stage` is GA, preview or retired. `retires` is the ISO date of the retirement, or the
    earliest one. A limit of 0 is unknown.
    """

    name: str
    stage: str
    task: str = "generate"
    locations: tuple[str, ...] = ANYWHERE
    retires: str = ""
    thinking_levels: tuple[str, ...] = ()
    default_thinking_level: str = ""
    refused_fields: tuple[str, ...] = ()
    ignored_fields: tuple[str, ...] = ()
    accepts_model_turn_last: bool = True
    max_input_tokens: int = 1_048_576
    max_output_tokens: int = 65_536
    max_dimensions: int = 0
    source: str
    checked: str

    @property
    def embeds(self) -> bool:
        """Whether its requests ask for embeddings."""
        return self.task == "embed"

    def is_retired(self, today: str) -> bool:
        """Return whether the model is retired on this ISO date."""
        return self.stage == "retired" or bool(self.retires and self.retires <= today)


_CHECKED = "2026-12-01"
_DOCS = "docs.cloud.google.com/gemini-enterprise-agent-platform/models"
_LEVELS = ("MINIMAL", "LOW", "MEDIUM", "HIGH")

_MODELS = (
    Model(
        name="gemini-4-argon",
        stage="GA",
        retires="2027-10-13",
        thinking_levels=("LOW", "MEDIUM", "HIGH"),
        default_thinking_level="MEDIUM",
        ignored_fields=SAMPLING,
        source=f"{_DOCS}/guides/gemini-4-argon, …/model-versions",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-3.8-flash",
        stage="GA",
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
        stage="GA",
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
        stage="GA",
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
        stage="GA",
        retires="2027-05-19",
        thinking_levels=_LEVELS,
        default_thinking_level="MEDIUM",
        source=f"{_DOCS}/guides/gemini-3-6-flash, …/thinking, …/model-versions",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-3.5-flash-lite",
        stage="GA",
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
        stage="preview",
        locations=GLOBAL,
        thinking_levels=("LOW", "MEDIUM", "HIGH"),
        default_thinking_level="HIGH",
        source=f"{_DOCS}/guides/gemini-3-8-flash, …/start/get-started-with-gemini-3",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-3.1-flash-lite",
        stage="GA",
        retires="2027-05-07",
        thinking_levels=_LEVELS,
        default_thinking_level="MINIMAL",
        source=f"{_DOCS}/gemini/3-1-flash-lite, …/thinking, …/model-versions",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-3.1-flash-lite-image",
        stage="GA",
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
        stage="GA",
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
        stage="GA",
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
        stage="preview",
        locations=GLOBAL,
        thinking_levels=_LEVELS,
        default_thinking_level="HIGH",
        source=f"{_DOCS}/gemini/3-flash, …/thinking",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-2.5-flash-image",
        stage="GA",
        retires="2027-03-15",
        max_input_tokens=0,
        max_output_tokens=0,
        source=f"{_DOCS}/model-versions",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-3-pro-preview",
        stage="retired",
        locations=GLOBAL,
        retires="2026-03-09",
        thinking_levels=("LOW", "HIGH"),
        default_thinking_level="HIGH",
        source="ai.google.dev/gemini-api/docs/deprecations",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-2.5-pro",
        stage="retired",
        retires="2026-10-20",
        source=f"{_DOCS}/model-versions",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-2.5-flash",
        stage="retired",
        retires="2026-10-20",
        source=f"{_DOCS}/model-versions",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-2.5-flash-lite",
        stage="retired",
        retires="2026-10-20",
        source=f"{_DOCS}/model-versions",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-2.0-flash",
        stage="retired",
        retires="2026-06-01",
        max_output_tokens=8_192,
        source="firebase.google.com/docs/ai-logic, notice of June 2026",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-2.0-flash-lite",
        stage="retired",
        retires="2026-06-01",
        max_output_tokens=8_192,
        source="firebase.google.com/docs/ai-logic, notice of June 2026",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-embedding-001",
        stage="GA",
        task="embed",
        locations=EMBEDDING_REGIONS,
        max_input_tokens=2_048,
        max_output_tokens=0,
        max_dimensions=3_072,
        source=f"{_DOCS}/embeddings/batch-prediction-genai-embeddings",
        checked=_CHECKED,
    ),
    Model(
        name="gemini-embedding-2",
        stage="GA",
        task="embed",
        ignored_fields=("taskType", "title"),
        max_input_tokens=8_192,
        max_output_tokens=0,
        max_dimensions=3_072,
        source=f"{_DOCS}/embeddings/batch-prediction-genai-embeddings",
        checked=_CHECKED,
    ),
)

MODELS: Mapping[str, Model] = {model.name: model for model in _MODELS}


def find_model(name: str) -> Model | None:
    """Return the row of a model id, with or without a version such as `-001` or `@default`."""
    short_name = name.rpartition("/")[2].partition("@")[0]
    return MODELS.get(short_name) or MODELS.get(short_name.removesuffix("-001"))
