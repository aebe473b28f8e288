"""The options of runs of embedding models, and those that such runs cannot have."""

from collections.abc import Mapping

from promptmill.config.errors import ConfigurationError
from promptmill.producers.models.model_table import find_embedding_model
from promptmill.producers.requests.embedding_requests import normalize_config

_REFUSED_OPTIONS = {
    "response_schema": "an embedding has no text that could fit a schema",
    "retry_schema_invalid": "an embedding has no text that could fit a schema",
    "retry_max_tokens": "an embedding has no output tokens",
    "keep": "the answer has nothing but the embedding and its token count",
    "tables": "Google's batch jobs for embeddings read files only; omit it",
    "generation_config": "use embedding_config",
    "system_instruction": "put the instruction into the text",
}
"""Options that a run of an embedding model cannot have, and why."""


def check_embedding_options(model_name: str, options: Mapping[str, object]) -> dict[str, object]:
    """Return the ``embedding_config`` of a run in Google's spelling, or an empty dict.

    Raises ConfigurationError for an option that the model cannot have.
    """
    model = find_embedding_model(model_name)
    config = options.get("embedding_config")
    if model is None:
        if config:
            raise ConfigurationError(
                f"embedding_config: {model_name.rpartition('/')[2]} makes no embeddings; use "
                "gemini-embedding-001 or gemini-embedding-2"
            )
        return {}
    if refused := next((name for name in _REFUSED_OPTIONS if options.get(name)), ""):
        raise ConfigurationError(f"{refused}: {_REFUSED_OPTIONS[refused]} (model {model.name})")
    return normalize_config(config, model) if isinstance(config, Mapping) else {}
