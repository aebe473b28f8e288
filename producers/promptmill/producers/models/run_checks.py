"""Checks model, location and tables of a run by the table of models.

Producers check a run before anything is queued. Workers check it again in the step
``plan``, because only they know the location for certain.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import NamedTuple

from promptmill.config.errors import ConfigurationError
from promptmill.config.locations import GLOBAL, MULTI_REGIONS
from promptmill.producers.models.model_names import (
    ModelKind,
    ModelName,
    find_similar,
    is_known,
    parse_model,
)
from promptmill.producers.models.model_table import Model, Stage, Task, find_model

RETIREMENT_NOTICE = timedelta(days=60)
"""Time before a retirement in which each run has a warning."""
OVERRIDE = "; PROMPTMILL_MODEL_CHECKS=warn sends the run anyway"
_LOCATION = "GOOGLE_CLOUD_LOCATION"


class Problem(NamedTuple):
    """What a check found. ``refuses`` means that Google would refuse the run."""

    text: str
    refuses: bool = False


def check_run(
    model: str, *, tables: bool, location: str, today: date, refuse: bool = True
) -> list[str]:
    """Return the warnings of a run; ``location`` is empty where it is unknown.

    ``tables`` means that its jobs read and write BigQuery tables. Raises
    ConfigurationError for a run that Google would refuse. With ``refuse`` off that is a
    warning too, because Google can be ahead of the table.
    """
    problems = list(find_problems(parse_model(model), tables, location, today))
    if refusal := next((problem.text for problem in problems if refuse and problem.refuses), ""):
        raise ConfigurationError(refusal + OVERRIDE)
    return [problem.text for problem in problems]


def find_problems(name: ModelName, tables: bool, location: str, today: date) -> Iterator[Problem]:
    """Yield what is wrong with a run; ``location`` is empty where it is unknown."""
    model = find_model(name.name) if name.kind is ModelKind.publisher else None
    if not is_known(name):
        yield Problem(_describe_unknown(name.name))
    if model:
        yield from _check_retirement(model, today)
        yield from _check_model_location(model, location)
    yield from _check_resource_location(name, location)
    if tables:
        yield from _check_tables(model, location)


def _describe_unknown(name: str) -> str:
    if name.isdecimal():
        resource = f"projects/PROJECT/locations/LOCATION/models/{name}"
        return f"model {name} is only a number, which is not checked; is it {resource}?"
    similar = find_similar(name)
    question = f"; did you mean {similar}?" if similar else ""
    return f"model {name} is not in the table of known models, so it is not checked{question}"


def _check_retirement(model: Model, today: date) -> Iterator[Problem]:
    if not model.retires:
        return
    day = date.fromisoformat(model.retires)
    advice = f"; use {model.successor}" if model.successor else "; see promptmill models"
    if model.stage is Stage.retired:
        yield Problem(f"model {model.name} was retired on {day}{advice}", refuses=True)
    elif today >= day:
        yield Problem(f"model {model.name} may be retired since {day}{advice}")
    elif today >= day - RETIREMENT_NOTICE:
        yield Problem(f"model {model.name} may be retired from {day} on{advice}")


def _check_model_location(model: Model, location: str) -> Iterator[Problem]:
    if not location or location in model.locations or model.stage is Stage.retired:
        return
    places = _list_places(model, location)
    if model.regions_unproven and location not in (GLOBAL, *MULTI_REGIONS):
        text = f"batch jobs of model {model.name} in {location} are not confirmed"
        yield Problem(f"{text}; if they are refused, set {_LOCATION} to {places}")
        return
    text = f"model {model.name} has no batch jobs in {location}"
    yield Problem(f"{text}; set {_LOCATION} to {places}", refuses=True)


def _list_places(model: Model, location: str) -> str:
    """Return where a model has batch jobs, first the multi-region that ``location`` is part of."""
    area = location[:2]  # europe-west4 is in eu, us-central1 in us
    *others, last = sorted(model.locations, key=lambda place: not place.startswith(area))
    return " or ".join(filter(None, (", ".join(others), last)))


def _check_resource_location(name: ModelName, location: str) -> Iterator[Problem]:
    if name.kind is ModelKind.publisher or not location or location == name.location:
        return
    text = f"model {name.resource} is in {name.location}, but the jobs are in {location}"
    yield Problem(f"{text}; set {_LOCATION} to {name.location}", refuses=True)


def _check_tables(model: Model | None, location: str) -> Iterator[Problem]:
    if model and model.task is Task.embed:
        text = f"jobs of model {model.name} cannot read or write BigQuery tables"
        yield Problem(f"{text}; leave out the option tables", refuses=True)
    elif location == GLOBAL:
        text = "jobs in global cannot read or write BigQuery tables"
        yield Problem(
            f"{text}; set {_LOCATION} to a region or multi-region of the dataset, "
            "or leave out the option tables",
            refuses=True,
        )
    elif location in MULTI_REGIONS:
        yield Problem(
            f"BigQuery tables for jobs in {location} are not confirmed by Google's pages; "
            "try a few rows first, and leave out the option tables if Google refuses their job"
        )
