"""Fault injection: rules, and which of them apply to a call or a job."""

from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from .errors import ApiError
from .job_spec import JobSpec

_PROVISIONING_SECONDS = 300.0
_CALL_FAULTS = frozenset({"status", "after", "delay"})
FAULTS = {
    "create": _CALL_FAULTS,
    "get": _CALL_FAULTS,
    "list": _CALL_FAULTS | {"stale-list"},
    "cancel": _CALL_FAULTS,
    "delete": _CALL_FAULTS,
    "job": frozenset(
        {
            "queued",
            "dataset",
            "export",
            "PARTIALLY_SUCCEEDED",
            "EXPIRED",
            "CANCELLED",
            "FAILED",
        }
    ),
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
            "provisioning",
            "blocked",
            "finish",
            "no-candidates",
            "off-schema",
            "empty",
            "late",
            "raw",
        }
    ),
}
"""The faults of each target. `FaultRule` describes them."""


class FaultRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One fault, and when it applies.

    Faults on calls (`create`, `get`, `list`, `cancel`, `delete`):
      `status`      answer the HTTP code `status` (default 503) without any effect
      `after`       apply the call, then drop the connection or answer `status`
      `delay`       wait `seconds` first
      `stale-list`  on `list`: hide a job created from now on for `seconds`
    Faults on jobs (`job`):
      `queued`      stay QUEUED for `seconds` more; without them, until it expires
      `PARTIALLY_SUCCEEDED`, `EXPIRED`, `CANCELLED`, `FAILED`
                    end in this state, with `share` of the rows answered, `code`
                    (google.rpc) and `message`
      `dataset`     fail before any row, as if Google's own dataset were missing
      `export`      answer and bill all rows, write `share` of them (default 0), then
                    fail; `outputInfo` is set unless `where` is `other`
    Faults on output (`output`), for rows chosen by `count`, by `share` (0 to 1, by a
    hash of the key) or by `keys`. One row by default:
      `missing`     leave the row out
      `duplicated`  repeat the row in the `same` or `other` file (`where`)
      `unknown`     add a row that was never sent
      `invalid`     cut the line, so that it is not JSON
    All rows by default:
      `keyless`     do not echo extra fields
      `nulls`       echo the request with added nulls
      `error`       fail the row with HTTP `code`, `message` and `reason` as its status
      `provisioning`  fail rows with `fileData`, in jobs created within `seconds` (default
                    300) of the first such job: service agents are being provisioned
      `blocked`     answer promptFeedback with `reason`
      `finish`      answer finishReason `reason`
      `no-candidates`  answer without candidates
      `off-schema`  answer JSON that violates the response schema
      `incremental` copy half of the rows to `incremental_predictions/`
      `raw`         write `lines[N]` as the line of row N of the input, counted from 0;
                    `$KEY` and `$REQUEST` in it stand for the row's own, as JSON
    Whole output:
      `files`       write `count` files
      `truncated`   cut the last line
      `empty`       write a file without lines
      `late`        publish the output `seconds` after the job's end
    `match` limits a rule to jobs by `label.KEY`, `displayName` or `model`, with shell
    patterns. `times` limits it to so many calls or jobs.
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
    lines: list[str] = []
    where: Literal["same", "other"] = "same"
    seed: int = 0
    until: float | None = None
    """When a `provisioning` rule ends; set when the first job meets it."""


def read_rules(body: bytes) -> list[FaultRule]:
    """Return the rules in JSON: one object or a list. Raises ApiError 400."""
    try:
        decoded = msgspec.json.decode(body, type=list[FaultRule] | FaultRule)
    except msgspec.MsgspecError as error:
        raise ApiError(400, f"Invalid fault rule: {error}") from error
    rules = decoded if isinstance(decoded, list) else [decoded]
    for rule in rules:
        _check_rule(rule)
    return rules


def _check_rule(rule: FaultRule) -> None:
    if rule.fault not in FAULTS[rule.on]:
        known_faults = ", ".join(sorted(FAULTS[rule.on]))
        message = f"Unknown fault {rule.fault!r} on {rule.on!r}. Faults: {known_faults}."
        raise ApiError(400, message)
    for name in rule.match:
        if name not in {"displayName", "model"} and not name.startswith(("label.", "labels.")):
            raise ApiError(400, f"Cannot match by {name!r}: use label.KEY, displayName or model.")


class Faults:
    """The active rules. Not thread-safe: used on the event loop only."""

    def __init__(self, rules: list[FaultRule] | None = None) -> None:
        self._rules = list(rules or [])

    def list_rules(self) -> list[FaultRule]:
        """Return the rules that still apply, with their remaining `times`."""
        return list(self._rules)

    def add_rules(self, rules: list[FaultRule]) -> None:
        """Append rules."""
        self._rules += rules

    def clear(self) -> None:
        """Remove all rules."""
        self._rules = []

    def take_call_rules(self, on: str, spec: JobSpec | None) -> list[FaultRule]:
        """Consume the rules of a call: all its delays, then the first other fault."""
        matching = [
            rule
            for rule in self._rules
            if rule.on == on and rule.fault in _CALL_FAULTS and _matches_spec(rule, spec)
        ]
        delays = [rule for rule in matching if rule.fault == "delay"]
        others = [rule for rule in matching if rule.fault != "delay"]
        return self._consume_rules(delays + others[:1])

    def take_job_rules(self, spec: JobSpec, now: float = 0.0) -> list[FaultRule]:
        """Consume the rules of a job created at `now`: `job`, `output`, `stale-list` faults."""
        self._time_rules(spec, now)
        scopes = ("job", "output")
        return self._consume_rules(
            [
                rule
                for rule in self._rules
                if (rule.on in scopes or rule.fault == "stale-list") and _matches_spec(rule, spec)
            ]
        )

    def _time_rules(self, spec: JobSpec, now: float) -> None:
        """Start the `provisioning` rules that the job meets, and drop those that are over."""
        for position, rule in enumerate(self._rules):
            is_first = rule.fault == "provisioning" and rule.until is None
            if is_first and _matches_spec(rule, spec):
                until = now + (_PROVISIONING_SECONDS if rule.seconds is None else rule.seconds)
                self._rules[position] = msgspec.structs.replace(rule, until=until)
        self._rules = [rule for rule in self._rules if rule.until is None or now < rule.until]

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
