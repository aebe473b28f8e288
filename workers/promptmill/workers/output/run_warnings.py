"""Warnings of an ended run, from the counts of its output lines. Pure functions."""

import re
from collections import Counter
from collections.abc import Iterator

from promptmill.workers.facts.records import Counts

_VERSION_SUFFIX = re.compile(r"-(preview|exp|latest|stable|\d{3}|\d\d-\d\d(-\d{4})?|\d\d-\d{4})$")
"""What follows the family in a model's name, such as ``-001`` or ``-preview-04-17``.

Source: cloud.google.com/vertex-ai/generative-ai/docs/learn/model-versions.
"""
_FAMILY = re.compile(r"gemini-.*\d.*")
"""Names that can be compared: an alias such as ``gemini-flash`` has no number."""


def model_family(name: str) -> str:
    """Return the name of a model without place, version and stage; "" for other models.

    ``publishers/google/models/gemini-3.8-flash-001`` and ``gemini-3.8-flash@default`` are
    ``gemini-3.8-flash``.
    """
    family = name.rpartition("/")[2].partition("@")[0].lower()
    while (match := _VERSION_SUFFIX.search(family)) and _FAMILY.match(family[: match.start()]):
        family = family[: match.start()]
    return family if _FAMILY.fullmatch(family) else ""


def list_warnings(model: str, counts: Counts, url: str) -> list[str]:
    """Return warnings about lines of output, one sentence each.

    ``model`` is the one that the run asked for. ``url`` is the run's folder.
    """
    return [*_warn_about_models(model, counts), *_warn_about_unkept(counts, url)]


def _warn_about_models(model: str, counts: Counts) -> Iterator[str]:
    wanted = model_family(model)
    answered: Counter[str] = Counter()
    for version, count in counts.models.items():
        answered[model_family(version)] += count
    for family, count in sorted(answered.items()):
        if wanted and family and family != wanted:
            are = "answer is" if count == 1 else "answers are"
            yield (
                f"{count:,} {are} from {family}, but the run asked for {wanted}. "
                "Check whether Google still offers that model"
            )


def _warn_about_unkept(counts: Counts, url: str) -> Iterator[str]:
    for part, count in counts.unkept.items():
        have = "answer has" if count == 1 else "answers have"
        yield (
            f"{count:,} {have} parts that the results lack ({part}). The raw output below {url} "
            f"has them. Read them with `promptmill results RUN --keep {part}`, and submit the "
            f"next run with keep={part!r}"
        )
