"""Chooses the model of a run, and checks it before anything is queued."""

import warnings
from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from promptmill.config.errors import ConfigurationError, PromptmillWarning
from promptmill.producers.models.model_names import parse_model
from promptmill.producers.models.model_rules import compile_rules
from promptmill.producers.models.run_checks import check_run
from promptmill.producers.requests.model_checks import ModelChecks

if TYPE_CHECKING:
    from promptmill.config.settings import Settings


def choose_model(settings: "Settings", model: str | None, *, tables: bool = False) -> str:
    """Return the resource of the model of a run, the option or else the setting.

    What may be wrong is a PromptmillWarning. ``tables`` means that the jobs read and
    write BigQuery tables. Raises ConfigurationError for a run that Google would refuse.
    """
    resource = parse_model(model or settings.get_required("model")).resource
    for warning in check_run(
        resource,
        tables=tables,
        location=_find_location(settings),
        today=datetime.now(UTC).date(),
        refuse=settings.refuses_by_model,
    ):
        warn_user(warning)
    return resource


def open_checks(
    settings: "Settings", model: str, keep: Collection[str] | None = None
) -> ModelChecks:
    """Return the checks of the requests of a run. Each warning is a PromptmillWarning.

    ``keep`` is the option of the run, or None where it is not known.
    """
    return ModelChecks(model, warn_user, refuse=settings.refuses_by_model, keep=keep)


def check_generation_config(settings: "Settings", model: str, config: object, name: str) -> None:
    """Raise ConfigurationError for a GenerationConfig of all rows that the model refuses."""
    if refusal := compile_rules(model).check_config(config, name):
        if settings.refuses_by_model:
            raise ConfigurationError(refusal)
        warn_user(refusal)


def warn_user(message: str) -> None:
    """Issue a PromptmillWarning."""
    warnings.warn(message, PromptmillWarning, stacklevel=2)


# A producer without the setting can serve workers in any location. They check it again.
def _find_location(settings: "Settings") -> str:
    return settings.location if "location" in settings.model_fields_set else ""
