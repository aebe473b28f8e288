"""Log events are stable keys: operators search for them and alert on them."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ("config", "producers", "cli", "workers", "local", "web", "emulator")
LEVELS = {"debug", "info", "warning", "warn", "error", "exception", "critical", "fatal", "msg"}
KEY = re.compile(r"[a-z][a-z0-9_]*")


def log_calls() -> Iterator[tuple[str, ast.Call]]:
    """Yield each call of a logger in the product, with its position."""
    for source in SOURCES:
        for path in sorted((ROOT / source).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and is_logger_method(node.func):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def is_logger_method(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and function.attr in LEVELS
        and ast.unparse(function.value).rpartition(".")[2].strip("_") in ("log", "logger")
    )


def event_key(call: ast.Call) -> str:
    """Return the key of an event; empty if it is not a literal."""
    match call.args:
        case [ast.Constant(value=str(key)), *_]:
            return key
    return ""


def test_every_log_event_has_a_literal_snake_case_key_and_named_fields() -> None:
    calls = list(log_calls())
    assert calls

    bad = [
        f"{position}: {ast.unparse(call)}"
        for position, call in calls
        if len(call.args) != 1 or not KEY.fullmatch(event_key(call))
    ]

    assert bad == []


def test_every_log_event_is_logged_in_one_place_and_so_has_one_meaning() -> None:
    uses = Counter(event_key(call) for _, call in log_calls())

    assert [key for key, count in uses.items() if count > 1] == []
