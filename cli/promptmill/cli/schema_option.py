"""The option ``--response-schema``: a file, or a model to import."""

import importlib
import sys
from pathlib import Path

import msgspec
import typer

from promptmill.config.errors import PromptmillError

_OPTION_NAME = "'--response-schema'"


def load_schema(text: str) -> object:
    """Return the JSON schema in a file, or the model at ``module:Model``; None for "".

    Modules are imported from the current directory too. Raises PromptmillError for
    an unreadable file, otherwise BadParameter.
    """
    if not text:
        return None
    module, colon, name = text.partition(":")
    if text.endswith(".json") or Path(text).is_file() or not colon:
        return _read_schema(text)
    return _import_model(module, name)


def _read_schema(path: str) -> object:
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=dict[str, object])
    except OSError as error:
        raise PromptmillError(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise typer.BadParameter(
            f"{path} is not a JSON schema: {error}", param_hint=_OPTION_NAME
        ) from None


def _import_model(module: str, name: str) -> object:
    current_folder = str(Path.cwd())
    if current_folder not in sys.path:
        sys.path.insert(0, current_folder)
    try:
        target: object = importlib.import_module(module)
        for attribute in name.split("."):
            target = getattr(target, attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise typer.BadParameter(
            f"{module}:{name} cannot be imported: {error}", param_hint=_OPTION_NAME
        ) from None
    return target
