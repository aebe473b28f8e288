"""Finds the answer to each row of the live check, with or without its key."""

from typing import Any, NamedTuple

from promptmill.config.json_types import JsonObject
from promptmill.workers.live import rows
from promptmill.workers.live.evidence import Evidence, decode_object, decode_output


class RowAnswers(NamedTuple):
    """The answers by the names of their rows. ``repeated`` rows have several."""

    by_row: dict[str, JsonObject]
    repeated: list[str]
    foreign: int

    @property
    def answered(self) -> dict[str, JsonObject]:
        """The answers that have a response."""
        return {name: line for name, line in self.by_row.items() if not line.get("status")}

    @property
    def refused(self) -> dict[str, JsonObject]:
        """The answers that have an error in ``status``."""
        return {name: line for name, line in self.by_row.items() if line.get("status")}


def find_answers(evidence: Evidence) -> RowAnswers:
    """Assign each output line to a row: by its key, or else by the text of its prompt."""
    found = RowAnswers({}, [], 0)
    foreign = 0
    for line in decode_output(evidence):
        name = _find_row(evidence, line)
        if name in found.by_row:
            found.repeated.append(name)
        elif name:
            found.by_row[name] = line
        else:
            foreign += 1
    return found._replace(foreign=foreign)


def list_sent_rows(evidence: Evidence) -> list[str]:
    """Return the names of the rows of the main job."""
    lines = map(decode_object, evidence.main.rows)
    return [str(line["key"]).rpartition("-")[2] for line in lines if "key" in line]


def _find_row(evidence: Evidence, line: JsonObject) -> str:
    for name in list_sent_rows(evidence):
        if line.get("key") == rows.wire_key(name):
            return name
    text = str(prompt_of(line))
    probe_rows = rows.build_rows(search=True)
    return next((name for name, row in probe_rows.items() if row.text == text), "")


def prompt_of(line: JsonObject) -> Any:
    """Return the echoed text of the prompt, of whatever type; None without one."""
    return read_path(line, "request", "contents", 0, "parts", 0, "text")


def read_path(value: Any, *path: str | int) -> Any:
    """Return the value at a path of names and indexes; None if there is none."""
    for step in path:
        try:
            value = value[step]
        except (TypeError, LookupError):
            return None
    return value
