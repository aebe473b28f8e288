"""Celery signatures that travel with a run.

The workers call them when the run ends, or pass results to them.
"""

import json
from collections.abc import Iterable, Mapping

import msgspec

from promptmill.config.errors import ConfigurationError
from promptmill.producers.contract.messages import Signature, SinkSpec

MAX_SIGNATURE_BYTES = 16 * 1024
"""Maximum size of all signatures of an option, as JSON. They travel with each chunk."""
SIGNATURE_OPTIONS = (
    "queue",
    "priority",
    "countdown",
    "expires",
    "time_limit",
    "soft_time_limit",
    "ignore_result",
    "shadow",
)
"""The options that a callback may have. Others would change its identity or transport."""

Signatures = Mapping[str, object] | Iterable[Mapping[str, object]] | None
"""One or several Celery signatures or chains, or their dict forms."""


def parse_chains(name: str, signatures: Signatures) -> list[list[Signature]]:
    """Return the chains of the option ``name``. A single signature is a chain of one task.

    Raises ConfigurationError for anything but signatures and chains with JSON arguments,
    such as groups and chords.
    """
    chains = [_parse_chain(name, signature, {}) for signature in _as_list(signatures)]
    if len(msgspec.json.encode(chains)) > MAX_SIGNATURE_BYTES:
        raise ConfigurationError(
            f"{name}: signatures are larger than {MAX_SIGNATURE_BYTES:,} bytes. "
            "Pass your task an id instead of data"
        )
    return chains


def build_result_sinks(signatures: Signatures) -> list[SinkSpec]:
    """Return the sinks that pass results to the signatures given as ``link_results``."""
    return [
        SinkSpec(
            "celery",
            f"celery:{chain[0].task}",
            {"chain": msgspec.to_builtins(chain), "number": number},
        )
        for number, chain in enumerate(parse_chains("link_results", signatures))
    ]


def _as_list(signatures: Signatures) -> list[object]:
    if signatures is None:
        return []
    return (
        [signatures]
        if isinstance(signatures, Mapping) or not isinstance(signatures, Iterable)
        else list(signatures)
    )


def _parse_chain(
    name: str, signature: object, outer_options: Mapping[str, object]
) -> list[Signature]:
    if (
        not isinstance(signature, Mapping)
        or not isinstance(task := signature.get("task"), str)
        or not task
    ):
        raise ConfigurationError(
            f"{name}: must be a Celery signature such as notify.s(), or its dict, "
            f"not {type(signature).__name__}"
        )
    _check_parts(name, task, signature)
    options = {**outer_options, **(signature.get("options") or {})}
    if task == "celery.chain":
        tasks = (signature.get("kwargs") or {}).get("tasks") or ()
        if not tasks or not isinstance(tasks, list | tuple):
            raise ConfigurationError(f"{name}: a chain needs at least one task")
        return [link for subtask in tasks for link in _parse_chain(name, subtask, options)]
    _check_task(name, task, options)
    args, kwargs, options = _to_json_values(
        name, task, [list(signature.get("args") or ()), signature.get("kwargs") or {}, options]
    )
    return [Signature(task, args, kwargs, options, bool(signature.get("immutable")))]


def _check_parts(name: str, task: str, signature: Mapping[str, object]) -> None:
    """Raise ConfigurationError for arguments or options of a wrong type."""
    for part, kind in (("args", list | tuple), ("kwargs", Mapping), ("options", Mapping)):
        value = signature.get(part)
        if value is not None and not isinstance(value, kind):
            kind_name = "list" if part == "args" else "dict"
            raise ConfigurationError(
                f"{name}: {part} of {task} must be a {kind_name}, not {type(value).__name__}"
            )


def _check_task(name: str, task: str, options: Mapping[str, object]) -> None:
    if task.startswith("celery."):
        raise ConfigurationError(
            f"{name}: {task} cannot be called. Use several signatures, or a task that starts it"
        )
    if unknown_options := options.keys() - set(SIGNATURE_OPTIONS):
        raise ConfigurationError(
            f"{name}: {task} has the option {min(map(str, unknown_options))}. "
            f"Allowed options: {', '.join(SIGNATURE_OPTIONS)}"
        )


def _to_json_values(
    name: str, task: str, values: list[object]
) -> tuple[list[object], dict[str, object], dict[str, object]]:
    """Return the values as JSON has them. Raises ConfigurationError for other values."""
    try:
        args, kwargs, options = json.loads(json.dumps(values, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        raise ConfigurationError(
            f"{name}: the arguments and options of {task} must be JSON values"
        ) from None
    return args, kwargs, options
