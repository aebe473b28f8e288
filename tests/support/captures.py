"""Captured lines of output, and what has to become of them; see ``tests/captures/README.md``."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from promptmill.producers import Result

FOLDER = Path(__file__).parents[1] / "captures"


class CapturedLine(NamedTuple):
    """One line of output. ``expected`` has the fields of the capture's ``expect``."""

    id: str
    raw: str
    expected: dict[str, Any]

    @property
    def is_embedding(self) -> bool:
        """Whether an embedding model wrote it."""
        return self.expected.get("kind") == "embedding"

    @property
    def line(self) -> dict[str, Any]:
        """The decoded line."""
        decoded: dict[str, Any] = json.loads(self.raw)
        return decoded

    def with_key(self, key: str) -> str:
        """Return the raw line with another key. The rest keeps its bytes."""
        if "key" in self.line:
            return self.raw.replace(json.dumps(self.line["key"]), key, 1)
        return self.raw[:-1] + f',"key":{key}}}'

    def list_problems(self, result: Result) -> list[str]:
        """Return in what a result differs from what is expected; none if it is right."""
        reason = result.error.reason if result.error else ""
        checks = {
            "state": result.succeeded == (self.is_embedding or self.expected.get("ok")),
            "text": result.text == self.expected.get("text", result.text),
            "reason": reason == self.expected.get("reason", ""),
            "embedding": bool(result.embedding) == self.is_embedding,
            "kept part": self.expected.get("keeps", "") in json.dumps(result.response or {}),
            "usage": result.usage == self._usage,
        }
        return [f"{self.id}: {name}" for name, is_right in checks.items() if not is_right]

    @property
    def _usage(self) -> dict[str, Any]:
        response = self.line.get("response") or {}
        count = int(response.get("tokenCount", 0))
        embedded = {"promptTokenCount": count, "totalTokenCount": count} if count else {}
        usage: dict[str, Any] = response.get("usageMetadata", embedded)
        return usage


def read_captures() -> list[CapturedLine]:
    """Return all captured lines of output."""
    lines = map(json.loads, (FOLDER / "output_lines.jsonl").read_text().splitlines())
    return [CapturedLine(entry["id"], entry["raw"], entry["expect"]) for entry in lines]


def read_inputs() -> list[dict[str, Any]]:
    """Return all captured lines of input, with what Google did with them."""
    return [json.loads(line) for line in (FOLDER / "input_lines.jsonl").read_text().splitlines()]
