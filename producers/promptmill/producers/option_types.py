"""Checks the types of options.

A run whose manifest cannot be decoded would never end, so it is refused before it is sent.
"""

import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from promptmill.config.errors import ConfigurationError
from promptmill.producers.contract.messages import Manifest, SinkSpec


class _Rule(NamedTuple):
    """What a value must be, as a function and as text."""

    accepts: Callable[[object], bool]
    text: str
    allows_none: bool = False


def _is_unicode(value: object) -> bool:
    """Whether a value is text without lone surrogates, which no encoding can store."""
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)


def _is_label_mapping(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        _is_unicode(text) for label in value.items() for text in label
    )


def _is_text_collection(value: object) -> bool:
    if isinstance(value, list | tuple | set | frozenset):
        return all(_is_unicode(item) for item in value)
    return _is_unicode(value)


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_sink_list(value: object) -> bool:
    return isinstance(value, Sequence) and all(isinstance(sink, SinkSpec) for sink in value)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_whole_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_duration(value: object) -> bool:
    return isinstance(value, str) or _is_number(value)


def _is_schema(value: object) -> bool:
    # Any type that pydantic supports is a schema; values of these types are not.
    return not isinstance(value, str | bytes | bytearray | numbers.Number | list | tuple | set)


_FLAG = _Rule(_is_flag, "True or False")
_WHOLE_NUMBER = _Rule(_is_whole_number, "a whole number")
_FUNCTION = _Rule(callable, "a function", allows_none=True)
_TEXT = _Rule(_is_unicode, "text")
_OPTIONAL_TEXT = _TEXT._replace(allows_none=True)

_RULES = {
    "model": _OPTIONAL_TEXT,
    "name": _TEXT,
    "labels": _Rule(_is_label_mapping, "a dict of texts such as {'team': 'search'}", True),
    "sinks": _Rule(_is_sink_list, "a list such as [sinks.jsonl('gs://x/')]"),
    "max_attempts": _WHOLE_NUMBER,
    "retry_max_tokens": _WHOLE_NUMBER,
    "response_schema": _Rule(_is_schema, "a pydantic model or a dict", True),
    "retry_schema_invalid": _FLAG,
    "embedding_config": _Rule(_is_mapping, "a dict such as {'output_dimensionality': 768}", True),
    "deadline": _Rule(_is_duration, "seconds or a duration such as '36h'", True),
    "tables": _OPTIONAL_TEXT,
    "max_cost_usd": _Rule(_is_number, "a number", True),
    "repeat_identical": _FLAG,
    "reuse_answers": _FLAG,
    "keep": _Rule(_is_text_collection, "a name or a list of names such as ['grounding']"),
    "idempotency_key": _OPTIONAL_TEXT,
    "strict": _FLAG,
    "on_refused": _FUNCTION,
    "on_sent": _FUNCTION,
}


def check_option_types(options: Mapping[str, object]) -> None:
    """Raise ConfigurationError for an option of a wrong type.

    The types of signatures are checked where they are parsed.
    """
    for name, value in options.items():
        rule = _RULES.get(name)
        if rule and not _is_accepted(value, rule):
            raise ConfigurationError(f"{name}: must be {rule.text}, not {_describe_type(value)}")


def check_storable(manifest: Manifest) -> None:
    """Raise ConfigurationError if workers could not decode ``manifest``."""
    try:
        msgspec.json.decode(msgspec.json.encode(manifest), type=Manifest)
        msgspec.msgpack.decode(msgspec.msgpack.encode(manifest), type=Manifest)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ConfigurationError(
            f"the options cannot be stored: {error}; use values that JSON has"
        ) from None


def check_prompts(prompts: object) -> None:
    """Raise ConfigurationError for one prompt in place of an iterable of prompts."""
    if isinstance(prompts, str | bytes | bytearray | Mapping):
        example = f"[{prompts!r}]" if len(repr(prompts)) <= 40 else "[prompt]"
        problem = f"one {type(prompts).__name__}: write {example}"
    elif not hasattr(prompts, "__iter__"):
        problem = type(prompts).__name__
    else:
        return
    raise ConfigurationError(f"prompts must be an iterable of prompts, not {problem}")


def _is_accepted(value: object, rule: _Rule) -> bool:
    return (value is None and rule.allows_none) or rule.accepts(value)


def _describe_type(value: object) -> str:
    """Return the type of a value, for a container with the types of its items."""
    items: list[object] = []
    if isinstance(value, Mapping):
        items = [text for item in value.items() for text in item]
    elif isinstance(value, list | tuple):
        items = list(value)
    elif isinstance(value, str) and not _is_unicode(value):
        return "text with a lone surrogate"
    names = sorted({type(item).__name__ for item in items})
    return type(value).__name__ + (f" of {' and '.join(names)}" if names else "")
