"""Fields of requests, which may be written in camelCase or snake_case."""

from functools import lru_cache
from typing import Any


def get_field(message: object, name: str) -> Any:
    """Return a field by its camelCase name; requests may also use snake_case."""
    if not isinstance(message, dict) or not message:
        return None
    if name in message:
        return message[name]
    return None if name.islower() else message.get(to_snake_case(name))


def list_items(value: object) -> list[Any]:
    """Return a repeated field as a list. Google accepts one object in its place."""
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, dict) else []


def has_file_data(request: object) -> bool:
    """Return whether a part of the contents is a file in Cloud Storage."""
    contents = list_items(get_field(request, "contents"))
    parts = (part for content in contents for part in list_items(get_field(content, "parts")))
    return any(get_field(part, "fileData") is not None for part in parts)


@lru_cache(1024)
def to_snake_case(name: str) -> str:
    """Return the snake_case form of a camelCase name."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


@lru_cache(1024)
def to_camel_case(name: str) -> str:
    """Return the camelCase form of a snake_case name."""
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
