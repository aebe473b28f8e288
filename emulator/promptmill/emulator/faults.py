"""Faults on demand: rules, how they are read, and which of them a call or a job meets."""

from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from .errors import ApiError
from .job_spec import JobSpec

_CALL_FAULTS = frozenset({"status", "after", "delay"})
FAULTS = {
    "create": _CALL_FAULTS,
    "get": _CALL_FAULTS,
    "list": _CALL_FAULTS | {"stale-list"},
    "cancel": _CALL_FAULTS,
    "delete": _CALL_FAULTS,
    "job": frozenset({"queued", "PARTIALLY_SUCCEEDED", "EXPIRED", "CANCELLED", "FAILED"}),
    "output": frozenset(
        {
            "missing",
            "duplicated",
            "unknown",
            "truncated",
            "invalid",
            "keyless",
            "nulls",
            "files",
            "incremental",
            "error",
            "blocked",
            "finish",
            "no-candidates",
            "off-schema",
            "empty",
            "late",
        }
    ),
}
"""What can go wrong where; README-level words for each are in `FaultRule`."""


class FaultRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One fault.

    Calls (`create`, `get`, `list`, `cancel`, `delete`):
      `status`      answer the HTTP code `status` (503 if none is named) without doing anything
      `after`       do it, then close the connection; with `status`, answer that code instead
      `delay`       wait `seconds` first
      `stale-list`  (on `list`) a job created from now on is not listed for `seconds`
    Jobs (`job`):
      `queued`      stays QUEUED for `seconds` more, without them until it expires
      `PARTIALLY_SUCCEEDED`, `EXPIRED`, `CANCELLED`, `FAILED`  ends so, `share` of its rows answered, with `code`
                    (google.rpc) and `message`
    Output (`output`); rows are chosen by `count` (exact), `share` (0 to 1, by hash of the key) or `keys`:
      `missing`, `duplicated` (`where`: `same` or `other` file), `unknown` (rows nobody sent), `invalid` (no JSON):
                    one row unless told otherwise
      `keyless` (extra fields not echoed), `nulls` (request echoed with added nulls), `error` (failed row with HTTP
      `code`), `blocked` (promptFeedback with `reason`), `finish` (finishReason `reason`), `no-candidates`, `off-schema`
      (JSON of other types than the response schema's): all rows unless told otherwise
      `files`       `count` files instead of one         `truncated`    the last line is cut in the middle
      `incremental` a copy of half the rows in `incremental_predictions/`
      `empty`       a file without lines                 `late`         published `seconds` after the job's end
    `match` limits it to jobs with `label.KEY`, `displayName` or `model` (shell patterns); `times` is how many calls or
    jobs meet it (without it: all).
    """

    on: Literal["create", "get", "list", "cancel", "delete", "job", "output"]
    fault: str
    times: int | None = None
    match: dict[str, str] = {}
    seconds: float | None = None
    status: int | None = None
    code: int | None = None
    message: str | None = None
    reason: str | None = None
    share: float | None = None
    count: int | None = None
    keys: list[str] = []
    where: Literal["same", "other"] = "same"
    seed: int = 0


def read_rules(body: bytes) -> list[FaultRule]:
    """Rules from JSON: one object or a list of them. Raises ApiError 400 for a fault that does not exist."""
    try:
        decoded = msgspec.json.decode(body, type=list[FaultRule] | FaultRule)
    except msgspec.MsgspecError as error:
        raise ApiError(400, f"Not a fault: {error}") from error
    rules = decoded if isinstance(decoded, list) else [decoded]
    for rule in rules:
        if rule.fault not in FAULTS[rule.on]:
            raise ApiError(
                400,
                f"No fault {rule.fault!r} on {rule.on!r}: {', '.join(sorted(FAULTS[rule.on]))}.",
            )
        for name in rule.match:
            if name not in {"displayName", "model"} and not name.startswith(("label.", "labels.")):
                raise ApiError(400, f"No match by {name!r}: label.KEY, displayName or model.")
    return rules


class Faults:
    """The rules in force. Not thread-safe: it lives on the event loop."""

    def __init__(self, rules: list[FaultRule] | None = None) -> None:
        self._rules = list(rules or [])

    def list_rules(self) -> list[FaultRule]:
        """Those that are not used up, with the `times` that they are still good for."""
        return list(self._rules)

    def add_rules(self, rules: list[FaultRule]) -> None:
        """Put rules after those in force."""
        self._rules += rules

    def clear(self) -> None:
        """Drop all."""
        self._rules = []

    def take_call_rules(self, on: str, spec: JobSpec | None) -> list[FaultRule]:
        """What befalls a call: all its delays, then the first other fault. Each counts as met."""
        matching = [
            rule
            for rule in self._rules
            if rule.on == on and rule.fault in _CALL_FAULTS and _matches_spec(rule, spec)
        ]
        delays = [rule for rule in matching if rule.fault == "delay"]
        others = [rule for rule in matching if rule.fault != "delay"]
        return self._consume_rules(delays + others[:1])

    def take_job_rules(self, spec: JobSpec) -> list[FaultRule]:
        """What befalls a new job: every fault on `job`, `output` and lists that is meant for it. Each counts as met."""
        scopes = ("job", "output")
        return self._consume_rules(
            [
                rule
                for rule in self._rules
                if (rule.on in scopes or rule.fault == "stale-list") and _matches_spec(rule, spec)
            ]
        )

    def _consume_rules(self, rules: list[FaultRule]) -> list[FaultRule]:
        for rule in rules:
            position = next(
                index for index, candidate in enumerate(self._rules) if candidate is rule
            )
            if rule.times is not None and rule.times > 1:
                self._rules[position] = msgspec.structs.replace(rule, times=rule.times - 1)
            elif rule.times is not None:
                del self._rules[position]
        return rules


def _matches_spec(rule: FaultRule, spec: JobSpec | None) -> bool:
    if rule.times is not None and rule.times < 1:
        return False
    return all(
        spec is not None and fnmatchcase(_spec_value(spec, name), pattern)
        for name, pattern in rule.match.items()
    )


def _spec_value(spec: JobSpec, name: str) -> str:
    if name.startswith(("label.", "labels.")):
        return spec.labels.get(name.split(".", 1)[1], "")
    return {"displayName": spec.display_name, "model": spec.model}.get(name, "")
