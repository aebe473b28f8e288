"""Turns rows into requests: prompt, media, instruction and metadata."""

import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from promptmill.config.errors import ConfigurationError, InvalidRequest
from promptmill.producers.requests import request_validation
from promptmill.producers.requests.encode import Prompt, RefusedRow
from promptmill.producers.requests.repeated_fields import normalize_request
from promptmill.producers.rows.sources import MalformedRow, Row, RowSource
from promptmill.producers.rows.templates import (
    MissingColumn,
    RenderError,
    Template,
    is_template,
    missing_column_error,
    read_template,
)

Media = str | Mapping[str, str]
"""A file of every prompt: ``{"uri": …, "mime_type": …}``, or only the URI.

Both values are templates or column names.
"""


class RowTemplate:
    """Turns rows into requests. Its templates are compiled once.

    The options are described in ``promptmill.producers.run_options.RowOptions``. Raises
    ConfigurationError for an option that is invalid for every row.
    """

    def __init__(
        self,
        template: str | Path,
        *,
        key: str | None = None,
        metadata: Sequence[str] = (),
        media: Sequence[Media] = (),
        system_instruction: str | Mapping[str, object] | None = None,
        generation_config: Mapping[str, object] | None = None,
    ) -> None:
        if isinstance(metadata, str) or isinstance(media, str | Mapping):
            raise ConfigurationError(
                "metadata must be a list of columns, and media a list of files"
            )
        self._prompt_template = Template(read_template(template), "the template")
        self._key_template = None if key is None else _compile_text(key, "the key")
        self._metadata_columns = list(metadata)
        self._media = [_compile_media(number, file) for number, file in enumerate(media, 1)]
        self._instruction_template, instruction = _compile_instruction(system_instruction)
        constant_fields = {"generationConfig": generation_config, "systemInstruction": instruction}
        self._constant_fields = {
            name: _check_constant(name, value) for name, value in constant_fields.items() if value
        }

    def render_prompts(self, source: RowSource) -> Iterator[Prompt]:
        """Yield a prompt or RefusedRow per row; raises InvalidRequest if all rows lack a column."""
        for number, row in enumerate(source.rows, 1):
            if isinstance(row, MalformedRow):
                yield self._refuse_row(row.row, row.reason)
                continue
            try:
                yield self._render_prompt(row)
            except MissingColumn as error:
                if source.same_columns:
                    raise InvalidRequest(str(error), row=number) from None
                yield self._refuse_row(row, str(error))
            except RenderError as error:
                yield self._refuse_row(row, str(error))

    def _render_prompt(self, row: Row) -> Prompt:
        prompt: dict[str, object] = (
            {} if self._key_template is None else {"key": self._key_template.render(row)}
        )
        if self._metadata_columns:
            prompt["metadata"] = {name: _column_value(row, name) for name in self._metadata_columns}
        prompt["request"] = self._render_request(row)
        return prompt

    def _render_request(self, row: Row) -> dict[str, object]:
        text = self._prompt_template.render(row)
        if not text.strip():
            raise RenderError("the prompt is empty")
        parts = [file.render_part(row) for file in self._media]
        request: dict[str, object] = {
            "contents": [{"role": "user", "parts": [*parts, {"text": text}]}],
            **self._constant_fields,
        }
        if self._instruction_template:
            request["systemInstruction"] = _text_content(self._instruction_template.render(row))
        return request

    def _refuse_row(self, row: Row, reason: str) -> RefusedRow:
        """Return an invalid row with its key. Without a key it could have no result."""
        if self._key_template is None:
            return RefusedRow("", reason)
        try:
            return RefusedRow(self._key_template.render(row) or None, reason)
        except RenderError as error:
            return RefusedRow(None, reason if reason == str(error) else f"{reason}; {error}")


class _ColumnText:
    """A text that is the value of a column."""

    def __init__(self, name: str, subject: str) -> None:
        self.subject = subject
        self._name = name

    def render(self, row: Row) -> str:
        value = _column_value(row, self._name, self.subject)
        if value is None or value == "":
            raise RenderError(
                f"{self.subject} is empty: the row has no value in the column {self._name!r}"
            )
        return str(value)


def _compile_instruction(
    instruction: str | Mapping[str, object] | None,
) -> tuple[Template | None, Mapping[str, object] | None]:
    """Return the template of an instruction, or its content if it is constant."""
    if not isinstance(instruction, str):
        return None, instruction
    if is_template(instruction):
        return Template(instruction, "the system instruction"), None
    return None, _text_content(instruction) if instruction else None


def _compile_text(text: str, subject: str, constant_marker: str = "") -> "Template | _ColumnText":
    """Compile a template, a constant or a column name.

    A constant contains ``constant_marker``, which no column name contains.
    """
    return (
        Template(text, subject)
        if is_template(text) or (constant_marker and constant_marker in text)
        else _ColumnText(text, subject)
    )


def _column_value(row: Row, name: str, subject: str = "the metadata") -> object:
    try:
        return row[name]
    except KeyError:
        raise missing_column_error(subject, name, row) from None


class _MediaTemplate(NamedTuple):
    """A file of a prompt: the templates of its URI and its MIME type."""

    uri: Template | _ColumnText
    mime_type: Template | _ColumnText | None

    def render_part(self, row: Row) -> dict[str, object]:
        uri = self.uri.render(row).strip()
        if not uri:
            raise RenderError(f"{self.uri.subject} is empty")
        guessed_type = (
            self.mime_type.render(row).strip() if self.mime_type else _MIME_TYPES.guess_type(uri)[0]
        )
        if not guessed_type:
            raise RenderError(
                f"the MIME type of {self.uri.subject} cannot be guessed; set its mime_type"
            )
        return {"fileData": {"fileUri": uri, "mimeType": guessed_type}}


def _compile_media(number: int, file: Media) -> _MediaTemplate:
    fields = {"uri": file} if isinstance(file, str) else dict(file)
    uri, mime_type = fields.pop("uri", None), fields.pop("mime_type", None)
    if fields or not uri:
        raise ConfigurationError(
            f"media {number} must have a uri, and optionally a mime_type, "
            f"not {', '.join(fields) or 'nothing'}"
        )
    return _MediaTemplate(
        _compile_text(uri, f"the URI of media {number}", constant_marker=":"),
        _compile_text(mime_type, f"the MIME type of media {number}", constant_marker="/")
        if mime_type
        else None,
    )


def _build_mime_types() -> mimetypes.MimeTypes:
    """Return Python's own table and more types of Gemini's.

    The table of the machine is ignored, so that all machines make the same requests.
    """
    types = mimetypes.MimeTypes()
    for mime_type, suffixes in _EXTRA_MIME_TYPES.items():
        for suffix in suffixes.split():
            types.add_type(mime_type, suffix)
    return types


_EXTRA_MIME_TYPES = {
    "image/webp": ".webp",
    "image/heic": ".heic",
    "image/heif": ".heif",
    "audio/flac": ".flac",
    "audio/ogg": ".ogg .oga .opus",
    "audio/aac": ".aac",
    "audio/mp4": ".m4a",
    "audio/wav": ".wav",
    "video/x-flv": ".flv",
    "video/wmv": ".wmv",
    "video/3gpp": ".3gp .3gpp",
    "text/markdown": ".md",
}
_MIME_TYPES = _build_mime_types()


def _text_content(text: str) -> dict[str, object]:
    return {"parts": [{"text": text}]}


def _check_constant(name: str, value: object) -> object:
    """Check a field that is the same in every request."""
    sample = {**request_validation.SAMPLE_REQUEST, name: value}
    if refusal := request_validation.check_request(normalize_request(sample)):
        raise ConfigurationError(f"{name}: {refusal}")
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{name} is not JSON: {error}") from None
    return value
