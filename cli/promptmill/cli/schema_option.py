"""The option ``--response-schema``: a file, or a model that can be imported."""

import importlib
import sys
from pathlib import Path
from typing import Any

import msgspec
import typer

_NAME = "'--response-schema'"


def find(text: str) -> Any:
    """Return the JSON schema in the file ``text``, or what ``module:Model`` names; None for "".

    Modules are also looked for in the folder that the command is called in.
    """
    if not text:
        return None
    module, colon, name = text.partition(":")
    if text.endswith(".json") or Path(text).is_file() or not colon:
        return _read(text)
    return _imported(module, name)


def _read(path: str) -> Any:
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read: {error.strerror}", param_hint=_NAME) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise typer.BadParameter(f"{path} is not a JSON schema: {error}", param_hint=_NAME) from None


def _imported(module: str, name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(module)
        for step in name.split("."):
            found = getattr(found, step)
    except (ImportError, AttributeError, ValueError) as error:
        raise typer.BadParameter(f"{module}:{name} cannot be imported: {error}", param_hint=_NAME) from None
    return found
