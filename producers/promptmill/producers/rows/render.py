"""Turns rows into requests: a prompt out of a template, and what goes along with it."""

import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from promptmill.config.errors import ConfigurationError, InvalidRequest
from promptmill.producers.requests import request_validation
from promptmill.producers.requests.encode import Prompt, Refused
from promptmill.producers.rows.sources import Malformed, Row, Source
from promptmill.producers.rows.templates import (
    MissingColumn,
    Template,
    Unrendered,
    is_template,
    missing_column,
    read_template,
)

Media = str | Mapping[str, str]
"""A file of every prompt: ``{"uri": …, "mime_type": …}``, or the URI alone; a template or the name of a column, both."""


class RowTemplate:
    """What makes a request of a row, compiled once; raises ConfigurationError for what can never be sent.

    ``key`` is a template or the name of a column; without, a row's key is its number. ``metadata`` names columns. ``media``
    are files, by URI, that go before the text; a type that is left out is guessed from the URI. ``system_instruction`` is
    a template or Google's Content; ``generation_config`` is Google's, the same for all rows.
    """

    def __init__(
        self,
        template: str | Path,
        *,
        key: str | None = None,
        metadata: Sequence[str] = (),
        media: Sequence[Media] = (),
        system_instruction: str | Mapping[str, Any] | None = None,
        generation_config: Mapping[str, Any] | None = None,
    ) -> None:
        if isinstance(metadata, str) or isinstance(media, str | Mapping):
            raise ConfigurationError("metadata is a list of columns, media a list of files")
        self._text = Template(read_template(template), "the template")
        self._key = None if key is None else _text(key, "the key")
        self._metadata = list(metadata)
        self._media = [_media(number, one) for number, one in enumerate(media, 1)]
        self._instruction: Template | None = None
        same: dict[str, Any] = {"generationConfig": generation_config} if generation_config else {}
        if isinstance(system_instruction, str) and is_template(system_instruction):
            self._instruction = Template(system_instruction, "the system instruction")
        elif system_instruction:
            constant = _content(system_instruction) if isinstance(system_instruction, str) else system_instruction
            same["systemInstruction"] = constant
        self._same = {name: _checked(name, value) for name, value in same.items()}

    def prompts(self, source: Source) -> Iterator[Prompt]:
        """Yield a prompt, or why there is none, for every row.

        Raises InvalidRequest when a column is missing that no row can have.
        """
        for number, row in enumerate(source.rows, 1):
            if isinstance(row, Malformed):
                yield self._refused(row.row, row.reason)
                continue
            try:
                yield self._prompt(row)
            except MissingColumn as error:
                if source.same_columns:
                    raise InvalidRequest(str(error), row=number) from None
                yield self._refused(row, str(error))
            except Unrendered as error:
                yield self._refused(row, str(error))

    def _prompt(self, row: Row) -> Prompt:
        prompt: dict[str, Any] = {} if self._key is None else {"key": self._key.render(row)}
        if self._metadata:
            prompt["metadata"] = {name: _value(row, name) for name in self._metadata}
        prompt["request"] = self._request(row)
        return prompt

    def _request(self, row: Row) -> dict[str, Any]:
        text = self._text.render(row)
        if not text.strip():
            raise Unrendered("the prompt is empty")
        parts = [one.part(row) for one in self._media]
        request: dict[str, Any] = {"contents": [{"role": "user", "parts": [*parts, {"text": text}]}], **self._same}
        if self._instruction:
            request["systemInstruction"] = _content(self._instruction.render(row))
        return request

    def _refused(self, row: Row, reason: str) -> Refused:
        """A row that is set apart keeps its key; without one there could be no result for it."""
        if self._key is None:
            return Refused("", reason)
        try:
            return Refused(self._key.render(row) or None, reason)
        except Unrendered as error:
            return Refused(None, reason if reason == str(error) else f"{reason}; {error}")


class _Column:
    """A text that is the value of a column."""

    def __init__(self, name: str, what: str) -> None:
        self.what = what
        self._name = name

    def render(self, row: Row) -> str:
        value = _value(row, self._name, self.what)
        if value is None or value == "":
            raise Unrendered(f"{self.what} is empty: the row has nothing in its column {self._name!r}")
        return str(value)


def _text(text: str, what: str, mark: str = "") -> "Template | _Column":
    """A template, or a constant, which has the ``mark`` that no column is named with; anything else names a column."""
    return Template(text, what) if is_template(text) or (mark and mark in text) else _Column(text, what)


def _value(row: Row, name: str, what: str = "the metadata") -> Any:
    try:
        return row[name]
    except KeyError:
        raise missing_column(what, name, row) from None


class _File(NamedTuple):
    """A file in a prompt, by the templates of its URI and type."""

    uri: Template | _Column
    mime_type: Template | _Column | None

    def part(self, row: Row) -> dict[str, Any]:
        uri = self.uri.render(row).strip()
        if not uri:
            raise Unrendered(f"{self.uri.what} is empty")
        kind = self.mime_type.render(row).strip() if self.mime_type else _TYPES.guess_type(uri)[0]
        if not kind:
            raise Unrendered(f"the type of {self.uri.what} cannot be told from its name; give its mime_type")
        return {"fileData": {"fileUri": uri, "mimeType": kind}}


def _media(number: int, one: Media) -> _File:
    fields = {"uri": one} if isinstance(one, str) else dict(one)
    uri, mime_type = fields.pop("uri", None), fields.pop("mime_type", None)
    if fields or not uri:
        raise ConfigurationError(
            f"media {number} has a uri and, if wanted, a mime_type; not {', '.join(fields) or 'nothing'}"
        )
    return _File(
        _text(uri, f"the URI of media {number}", mark=":"),
        _text(mime_type, f"the type of media {number}", mark="/") if mime_type else None,
    )


def _types() -> mimetypes.MimeTypes:
    """Python's own table and what Gemini reads besides; the machine's would make one run differ from another."""
    types = mimetypes.MimeTypes()
    for kind, names in _MORE_TYPES.items():
        for name in names.split():
            types.add_type(kind, name)
    return types


_MORE_TYPES = {
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
_TYPES = _types()


def _content(text: str) -> dict[str, Any]:
    return {"parts": [{"text": text}]}


def _checked(name: str, value: object) -> object:
    """Check what is the same in every request before there is any."""
    if refusal := request_validation.check({**request_validation.SAMPLE, name: value}):
        raise ConfigurationError(f"{name}: {refusal}")
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{name} is not JSON: {error}") from None
    return value
