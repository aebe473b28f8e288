"""Replaces what identifies a customer: the same thing always by the same placeholder.

Replaced are names of projects, their numbers, buckets, e-mail addresses, jobs, and opaque
ids of answers. Everything else stays as Google sent it. A second redaction changes nothing.
"""

import re
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

_MIN_SUBSTRING = 6
"""Shorter names are only replaced as whole names. A project id has at least 6 characters
(cloud.google.com/resource-manager/docs/creating-managing-projects)."""
_OWN_NAME = "promptmill"
"""The usual folder of the bucket. It identifies nobody, and labels contain it."""
_NAME = r"(?P<id>[A-Za-z0-9][A-Za-z0-9._:-]*)"
_PATTERNS = {
    "account-{}@example.com": r"(?P<id>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)",
    "10000000000000000{:02}": r"(?<![\d.])(?P<id>\d{10,})(?!\d)",
    "example-bucket-{}": rf"gs://{_NAME}",
    "example-project-{}": rf"projects/{_NAME}",
    "example-tenant-{}-tp": r"(?P<id>[a-z][a-z0-9-]*-tp)(?=:)",
    "response-{}": r'"responseId"\s*:\s*"(?P<id>[^"\\]+)',
    "signature-{}": r'"thoughtSignature"\s*:\s*"(?P<id>[^"\\]+)',
}
"""What is replaced wherever it occurs, by the placeholder of the first, second, …"""
_COMPILED = {template: re.compile(pattern) for template, pattern in _PATTERNS.items()}
_FIELD_TEMPLATES = {"responseId": "response-{}", "thoughtSignature": "signature-{}"}
_PLACEHOLDER = re.compile(
    r"account-\d+@example\.com|10000000000000000\d\d+|example-(bucket|project|folder)(-\d+)?"
    r"|example-tenant-\d+-tp|(response|signature)-\d+"
)


class Redactor:
    """Replaces known secrets and everything of the patterns, consistently over all texts."""

    def __init__(self, secrets: dict[str, str] | None = None) -> None:
        """``secrets`` maps texts to their placeholders. Case does not matter."""
        self._secrets = {text.lower(): name for text, name in (secrets or {}).items() if text}
        self._secret_pattern = _compile_secrets(self._secrets)
        self._placeholders: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def redact_value(self, value: Any, field: str = "") -> Any:
        """Return decoded JSON with every text redacted, but not the names of fields."""
        if isinstance(value, str):
            template = _FIELD_TEMPLATES.get(field)
            return self._number_text(value, template) if template else self.redact_text(value)
        if isinstance(value, list | tuple):
            return [self.redact_value(item, field) for item in value]
        if isinstance(value, dict):
            return {name: self.redact_value(item, name) for name, item in value.items()}
        return value

    def redact_text(self, text: str) -> str:
        """Return a text in which every secret is replaced."""
        text = self._secret_pattern.sub(lambda match: self._secrets[match[0].lower()], text)
        for template, pattern in _COMPILED.items():
            text = pattern.sub(partial(self._replace_id, template), text)
        return text

    def _replace_id(self, template: str, match: re.Match[str]) -> str:
        prefix = match[0][: match.start("id") - match.start()]
        return prefix + self._number_text(match["id"], template)

    def _number_text(self, text: str, template: str) -> str:
        if _PLACEHOLDER.fullmatch(text):
            return text
        if text not in self._placeholders:
            self._counts[template] = self._counts.get(template, 0) + 1
            self._placeholders[text] = template.format(self._counts[template])
        return self._placeholders[text]


def collect_secrets(project: str, bucket_url: str) -> dict[str, str]:
    """Return the names that are known from the settings, with their placeholders."""
    bucket, _, folder = bucket_url.removeprefix("gs://").partition("/")
    names = {folder: "example-folder", bucket: "example-bucket", project: "example-project"}
    return {name: placeholder for name, placeholder in names.items() if name not in ("", _OWN_NAME)}


def list_leaks(value: Any, secrets: Iterable[str]) -> list[str]:
    """Return the secrets that the texts of decoded JSON still contain, outside placeholders."""
    pattern = _compile_secrets(secrets)
    texts = (_PLACEHOLDER.sub("", text) for text in _iterate_texts(value))
    return sorted({match[0] for text in texts for match in pattern.finditer(text)})


def _iterate_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _iterate_texts(item)


def _compile_secrets(secrets: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern for any of these texts, the longest first."""
    quoted = [_quote_secret(secret) for secret in sorted(secrets, key=len, reverse=True) if secret]
    return re.compile("|".join(quoted) or r"(?!)", re.IGNORECASE)


def _quote_secret(secret: str) -> str:
    quoted = re.escape(secret)
    return quoted if len(secret) >= _MIN_SUBSTRING else rf"(?<![A-Za-z0-9]){quoted}(?![A-Za-z0-9])"
