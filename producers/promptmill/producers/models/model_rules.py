"""The rules of a model for requests: fields that it refuses, and fields without effect.

A request that breaks a rule is refused only when its job runs, which can be after days
in the queue. So every request is checked before it is sent. A model that the table does
not know has no rules.
"""

from collections.abc import Callable, Mapping

from promptmill.producers.models.field_spelling import list_spellings
from promptmill.producers.models.model_table import Model, find_model

_CONFIG_FIELDS = ("generationConfig", "generation_config")
_CONFIG_NAMES = frozenset({*_CONFIG_FIELDS, "embedContentConfig", "embed_content_config"})
_UNSPECIFIED_LEVEL = "THINKING_LEVEL_UNSPECIFIED"

Check = Callable[[object], str]
"""Returns why the model refuses the value of a field, or ""."""


class ModelRules:
    """The rules of one model, compiled for the check of many requests.

    ``model`` is its row of the table, or None for a model without rules.
    """

    def __init__(self, model: Model | None) -> None:
        self.model = model
        self._checks = _compile_checks(model) if model else {}
        self._ignored = frozenset(list_spellings(model.ignored_fields)) if model else frozenset()
        self._needs_user_turn = bool(model and not model.accepts_model_turn_last)

    @property
    def model_name(self) -> str:
        """Id of the model, or "" without rules."""
        return self.model.name if self.model else ""

    def find_refusal(self, request: Mapping[str, object]) -> str:
        """Return why the model refuses a request, with field and remedy; "" if it does not."""
        for name in _CONFIG_FIELDS:
            if name in request and (refusal := self.check_config(request[name], name)):
                return refusal
        return self._check_last_turn(request) if self._needs_user_turn else ""

    def check_config(self, config: object, name: str = "generationConfig") -> str:
        """Return why the model refuses a GenerationConfig; "" if it does not.

        ``name`` is the name of the config in the message.
        """
        return _check_fields(self._checks, config, name)

    def list_ignored_fields(self, request: Mapping[str, object]) -> list[str]:
        """Return the paths of fields that have no effect on the answer."""
        if not self._ignored or _CONFIG_NAMES.isdisjoint(request):
            return []
        names = [name for name in request if name in _CONFIG_NAMES]
        return [path for name in names for path in self.list_ignored(request[name], name)]

    def list_ignored(self, config: object, name: str = "generationConfig") -> list[str]:
        """Return the paths of the fields of ``config`` that have no effect."""
        if not isinstance(config, Mapping) or self._ignored.isdisjoint(config):
            return []
        fields = [field for field in config if field in self._ignored]
        return [f"{name}.{field}" for field in fields if config[field] is not None]

    def _check_last_turn(self, request: Mapping[str, object]) -> str:
        contents = request.get("contents")
        turns = contents if isinstance(contents, list | tuple) else [contents]
        last_turn = turns[-1] if turns else None
        if not isinstance(last_turn, Mapping) or last_turn.get("role") != "model":
            return ""
        return f"contents: {self.model_name} refuses a last turn of the model; end with the user's"


def compile_rules(model_name: str) -> ModelRules:
    """Return the rules of a model, by any name that ``find_model`` takes."""
    return ModelRules(find_model(model_name))


def find_further_candidates(request: Mapping[str, object]) -> str:
    """Return a refusal of a request for several candidates; "" for a request for one."""
    for name in _CONFIG_FIELDS:
        if name in request and (reason := _check_fields(_CANDIDATE_CHECKS, request[name], name)):
            return reason
    return ""


def _check_candidates(count: object) -> str:
    if not isinstance(count, int) or count <= 1:
        return ""
    return (
        f": all {count} candidates are billed, but results have the first only; "
        "submit with keep='candidates', or remove the field"
    )


def _compile_checks(model: Model) -> dict[str, Check]:
    """Return the check of each field of ``generationConfig``, by both spellings."""
    refuse_field = _make_refusal(f": {model.name} refuses it; remove it")
    checks: dict[str, Check] = dict.fromkeys(list_spellings(model.refused_fields), refuse_field)
    checks |= dict.fromkeys(list_spellings(["maxOutputTokens"]), _make_limit_check(model))
    return checks | dict.fromkeys(list_spellings(["thinkingConfig"]), _make_thinking_check(model))


def _make_refusal(reason: str) -> Check:
    return lambda _: reason


# Vertex AI answers a higher limit with 400 and the supported range.
def _make_limit_check(model: Model) -> Check:
    limit = model.max_output_tokens
    reason = f": {model.name} accepts at most {limit:,}"
    return lambda value: reason if limit and isinstance(value, int) and value > limit else ""


def _make_thinking_check(model: Model) -> Check:
    level_checks = dict.fromkeys(list_spellings(["thinkingLevel"]), _make_level_check(model))
    budget = _make_refusal(f": {model.name} refuses it together with thinkingLevel; set only one")
    budget_checks = dict.fromkeys(list_spellings(["thinkingBudget"]), budget)

    def check_thinking(config: object) -> str:
        has_level = isinstance(config, Mapping) and any(map(config.get, level_checks))
        return _check_fields(level_checks | budget_checks if has_level else {}, config, "")

    return check_thinking


def _make_level_check(model: Model) -> Check:
    # Google's pages write levels in both cases.
    accepted = {*model.thinking_levels, _UNSPECIFIED_LEVEL}
    advice = f"accepts {', '.join(model.thinking_levels)}, not "

    def check_level(level: object) -> str:
        if isinstance(level, str) and level.upper() in accepted:
            return ""
        rule = f"{advice}{level!r}" if model.thinks else "has no thinking levels; remove it"
        return f": {model.name} {rule}"

    return check_level


def _check_fields(checks: Mapping[str, Check], fields: object, path: str) -> str:
    """Return the first refusal among ``fields``, which starts with its path."""
    if not isinstance(fields, Mapping) or checks.keys().isdisjoint(fields):
        return ""
    for field, value in fields.items():
        if field in checks and value is not None and (reason := checks[field](value)):
            return f"{path}.{field}{reason}"
    return ""


_CANDIDATE_CHECKS: dict[str, Check] = dict.fromkeys(
    list_spellings(["candidateCount"]), _check_candidates
)
