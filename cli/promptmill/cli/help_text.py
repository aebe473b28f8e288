"""The help of commands: the docstring, and text that only a terminal shows."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Command = TypeVar("Command", bound=Callable[..., Any])


def add_help(text: str) -> Callable[[Command], Command]:
    """Return a decorator that adds paragraphs and examples to the help of a command."""

    def extend_docstring(command: Command) -> Command:
        command.__doc__ = f"{command.__doc__}\n\n{inspect.cleandoc(text)}"
        return command

    return extend_docstring
