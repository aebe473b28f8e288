"""Options that belong together: a parameter of a command, with an option for each field."""

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import typer

from promptmill.cli import options

if TYPE_CHECKING:
    from promptmill.producers.run_options import RowOptions

    class TemplateOptions(RowOptions, total=False):
        """A template, and the options that turn rows into requests with it."""

        template: str


class OptionGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Options of commands; each field has the type and the default of one."""


class RowFlags(OptionGroup, frozen=True, kw_only=True):
    """Options that turn rows into requests."""

    template: options.Template = None
    key: options.Key = None
    metadata: options.Metadata = None
    media: options.Media = None
    media_type: options.MediaType = None
    system: options.System = None
    config: options.Config = None

    def row_options(self) -> "TemplateOptions":
        """Return the options of ``Promptmill.prompts``; none without a template."""
        if self.template is None:
            self.require_template()
            return {}
        mime_type = {"mime_type": self.media_type} if self.media_type else {}
        return {
            "template": options.read_text(self.template),
            "key": self.key,
            "metadata": self.metadata or [],
            "media": [{"uri": uri, **mime_type} for uri in self.media or []],
            "system_instruction": options.read_text(self.system) if self.system else None,
            "generation_config": options.read_config(self.config) if self.config else None,
        }

    def require_template(self, *others: str) -> None:
        """Raise BadParameter if a flag is set, except for ``others``."""
        values = msgspec.structs.asdict(self).items()
        if given := [name for name, value in values if value and name not in others]:
            raise typer.BadParameter(f"{_format_flag(given[0])} applies to rows; add a --template")


def _format_flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


class CallbackFlags(OptionGroup, frozen=True, kw_only=True):
    """Celery tasks to call at the end of a run."""

    link: options.Link = None
    link_error: options.LinkError = None
    link_results: options.LinkResults = None


def expand_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that takes each field of its groups as an option."""
    parameters = inspect.signature(command).parameters.values()

    @functools.wraps(command)
    def call_command(**values: object) -> None:
        command(**{each.name: _collect_value(each, values) for each in parameters})

    expanded = [option for parameter in parameters for option in _expand_parameter(parameter)]
    call_command.__signature__ = inspect.Signature(expanded)  # type: ignore[attr-defined]
    return call_command


def _expand_parameter(parameter: inspect.Parameter) -> list[inspect.Parameter]:
    if not _is_group(parameter):
        return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
    return [_make_parameter(field) for field in msgspec.structs.fields(parameter.annotation)]


def _make_parameter(field: msgspec.structs.FieldInfo) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(field.name, kind, default=field.default, annotation=field.type)


def _collect_value(parameter: inspect.Parameter, values: dict[str, object]) -> object:
    if not _is_group(parameter):
        return values[parameter.name]
    group = parameter.annotation
    return group(**{name: values[name] for name in group.__struct_fields__})


def _is_group(parameter: inspect.Parameter) -> bool:
    return isinstance(parameter.annotation, type) and issubclass(parameter.annotation, OptionGroup)
