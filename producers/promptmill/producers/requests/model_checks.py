"""Applies the rules of a run's model to its requests.

A warning that holds for many rows is reported once.
"""

from collections.abc import Callable, Collection, Iterable, Mapping

from promptmill.producers.contract.kept_parts import covers_all
from promptmill.producers.models.model_rules import compile_rules, find_further_candidates
from promptmill.producers.pricing.thinking import ThoughtCounter

_SHORTAGE = "room for thinking"


class ModelChecks:
    """The checks of one run. ``warn`` receives each warning once.

    With ``refuse`` off, what the model refuses is a warning too. Without the candidates in
    ``keep``, a request for several is refused: results would have one, and all are billed.
    """

    def __init__(
        self,
        model: str = "",
        warn: Callable[[str], object] = lambda _: None,
        *,
        refuse: bool = True,
        keep: Collection[str] | None = None,
    ) -> None:
        self._delivers_one = keep is not None and not covers_all(keep)
        self._rules, self._warn, self._refuse = compile_rules(model), warn, refuse
        self._reported: set[str] = set()
        self.thoughts = ThoughtCounter(model)
        """Estimates the thought tokens of requests."""
        self.warnings: list[str] = []
        """All warnings so far."""

    def check_request(self, request: Mapping[str, object]) -> str:
        """Return why the model refuses a request; "" for one that can be sent."""
        self._warn_of_ignored(self._rules.list_ignored_fields(request))
        self._warn_of_shortage(request)
        refusal = self._grade_refusal(self._rules.find_refusal(request))
        return refusal or (find_further_candidates(request) if self._delivers_one else "")

    def check_config(self, config: object, name: str) -> str:
        """Return why the model refuses a GenerationConfig called ``name``; "" if it does not."""
        self._warn_of_ignored(self._rules.list_ignored(config, name))
        return self._grade_refusal(self._rules.check_config(config, name))

    def _warn_of_ignored(self, paths: Iterable[str]) -> None:
        for path in paths:
            reason = f"{path} has no effect, because {self._rules.model_name} ignores it"
            self.report_once(reason, path)

    def _grade_refusal(self, refusal: str) -> str:
        if not refusal or self._refuse:
            return refusal
        self.report_once(refusal)
        return ""

    def report_once(self, warning: str, subject: str = "") -> None:
        """Report a warning, unless one about the same ``subject`` was reported before."""
        if (subject or warning) not in self._reported:
            self._reported.add(subject or warning)
            self.warnings.append(warning)
            self._warn(warning)

    # The limits of requests differ, so the text cannot show whether it was reported.
    def _warn_of_shortage(self, request: Mapping[str, object]) -> None:
        if _SHORTAGE in self._reported:
            return
        if shortage := self.thoughts.find_shortage(request):
            self.report_once(shortage, _SHORTAGE)
