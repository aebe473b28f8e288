"""Exit codes of the command line.

0 all succeeded, 1 error, 2 wrong usage, 3 partly succeeded, 4 failed, 5 cancelled,
6 expired, 7 over budget, 124 wait timed out, 130 interrupted with Ctrl-C.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from promptmill.config.errors import OverBudget, PromptmillError, WaitTimeout
from promptmill.producers.contract.status import RunStatus

ERROR = 1
OVER_BUDGET = 7
WAIT_TIMED_OUT = 124
INTERRUPTED = 130
_STATE_CODES = {"succeeded": 0, "partially_succeeded": 3, "failed": 4, "cancelled": 5, "expired": 6}


def code_for_state(state: str) -> int:
    """Return the exit code for the state of a run; 0 for an open run."""
    return _STATE_CODES.get(state, 0)


def code_for_status(status: RunStatus) -> int:
    """Return the exit code for a run. OVER_BUDGET takes precedence over its state."""
    if status.done and status.cost and status.cost.over_budget:
        return OVER_BUDGET
    return code_for_state(status.state)


def code_for_error(error: PromptmillError) -> int:
    """Return the exit code for an error."""
    if isinstance(error, OverBudget):
        return OVER_BUDGET
    return WAIT_TIMED_OUT if isinstance(error, WaitTimeout) else ERROR


@contextmanager
def exit_on_interrupt(message: str) -> Iterator[None]:
    """On Ctrl-C, print ``message`` to stderr and exit with 130."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"\n{message}", err=True)
        raise typer.Exit(INTERRUPTED) from None
