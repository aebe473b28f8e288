"""Options and arguments that several commands share."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from promptmill.cli.output import ObjectFormat, RowFormat
from promptmill.config import spans
from promptmill.config.errors import PromptmillError

RunId = Annotated[str, typer.Argument(metavar="RUN", help="Run id, or a unique prefix of it.")]
RowFormatOption = Annotated[RowFormat, typer.Option("--format", help="Output format.")]
ObjectFormatOption = Annotated[ObjectFormat, typer.Option("--format", help="Output format.")]
Wait = Annotated[
    bool, typer.Option("--wait", help="Wait for the end; the exit code shows the result.")
]
DataDirectory = Annotated[
    Path,
    typer.Option(
        "--data", metavar="DIR", help="Directory for the local stack's data.", file_okay=False
    ),
]
DEFAULT_DATA_DIRECTORY = Path(".promptmill")

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="File of prompts (.jsonl, .txt), or of rows with --template; - is stdin.",
    ),
]
Prompts = Annotated[
    list[str] | None, typer.Option("--prompt", metavar="TEXT", help="Prompt; repeatable.")
]
Template = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="Jinja template for the prompt of a row, or @FILE."),
]
Key = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN", help="Column or Jinja template for the key. Default: row number."
    ),
]
Metadata = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN", help="Column to return with the answer; repeatable."),
]
Media = Annotated[
    list[str] | None,
    typer.Option(
        metavar="URI", help="Column or Jinja template for the URI of a media file; repeatable."
    ),
]
MediaType = Annotated[
    str | None,
    typer.Option(metavar="TYPE", help="MIME type of the media. Default: by file name."),
]
System = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="System instruction, optionally a template, or @FILE."),
]
Config = Annotated[
    str | None,
    typer.Option(
        metavar="JSON", help="Google's generationConfig for all rows, or @FILE.", show_default=False
    ),
]


def check_label(text: str) -> str:
    """Return ``text``; raises BadParameter unless it has the form ``name=value``."""
    if not text.partition("=")[0] or "=" not in text:
        raise typer.BadParameter(f"{text!r} is not a label; write NAME=VALUE")
    return text


def labels_to_dict(labels: list[str] | None) -> dict[str, str]:
    """Return options ``name=value`` as a mapping."""
    return {name: value for name, _, value in (text.partition("=") for text in labels or ())}


Model = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL", help="Model, such as gemini-3.8-flash. Default: PROMPTMILL_MODEL."
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label", metavar="NAME=VALUE", parser=check_label, help="Label of the run; repeatable."
    ),
]
Sinks = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SINK",
        help="Destination of the results: gs://bucket/folder/, a file, "
        "bq://project.dataset.table, postgres:NAME#table or webhook:NAME; repeatable.",
    ),
]
Pool = Annotated[
    str, typer.Option(metavar="NAME", help="Name of the pool. Prompts of one pool share runs.")
]
ResponseSchema = Annotated[
    str,
    typer.Option(
        metavar="FILE.json|MODULE:MODEL",
        help="JSON schema or pydantic model that every answer must match.",
    ),
]


def parse_callback(text: str) -> dict[str, object]:
    """Parse an option ``task`` or ``task@queue`` into a signature."""
    task, separator, queue = text.partition("@")
    if not task or (separator and not queue):
        raise typer.BadParameter(f"{text!r} is not a task; write TASK or TASK@QUEUE")
    return {"task": task, "options": {"queue": queue} if queue else {}}


def _callback_option(help_text: str) -> Any:
    return typer.Option(
        metavar="TASK[@QUEUE]", parser=parse_callback, help=f"{help_text}; repeatable."
    )


Link = Annotated[list[Any] | None, _callback_option("Celery task to call if the run has results")]
LinkError = Annotated[
    list[Any] | None, _callback_option("Celery task to call if the run ends without results")
]
LinkResults = Annotated[list[Any] | None, _callback_option("Celery task that gets all results")]


def choose_source(file: str, prompts: list[str] | None, *, has_rows: bool) -> str | list[str]:
    """Return the file or the prompts; raises BadParameter unless one is given."""
    if bool(file) == bool(prompts):
        raise typer.BadParameter("use either FILE (or - for stdin) or --prompt TEXT")
    if has_rows and not file:
        raise typer.BadParameter("--template needs the rows of a FILE (or - for stdin)")
    return file or prompts or []


def read_text(text: str) -> str:
    """Return ``text``, or the content of the file that ``@FILE`` names."""
    if not text.startswith("@"):
        return text
    path = text[1:]
    try:
        return Path(path).read_text("utf-8")
    except OSError as error:
        raise PromptmillError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PromptmillError(f"{path} is not UTF-8 text; convert it to UTF-8") from None


_CONFIG_EXAMPLES = {"--config": '{"temperature": 0}'}


def read_config(text: str, flag: str = "--config") -> dict[str, object]:
    """Return the value of ``flag``: a JSON object, or ``@FILE``."""
    try:
        return msgspec.json.decode(read_text(text), type=dict[str, object])
    except msgspec.DecodeError as error:
        example = _CONFIG_EXAMPLES.get(flag, '{"output_dimensionality": 768}')
        message = f"{flag} must be a JSON object such as {example}: {error}"
        raise typer.BadParameter(message) from None


def parse_span(text: str | float) -> float:
    """Parse a duration such as ``90m`` into seconds."""
    try:
        return spans.parse_duration(str(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def format_time(seconds: float) -> str:
    """Return seconds since the epoch as ISO 8601 in UTC; "" for 0."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else ""
