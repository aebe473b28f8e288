"""From a signature that a run carries to the task that is sent, and whether it may be."""

from fnmatch import fnmatchcase
from typing import Any

from promptmill.config import queues
from promptmill.config.errors import ConfigurationError
from promptmill.config.settings import Settings, variable
from promptmill.producers.contract.messages import Signature
from promptmill.workers.ports.google import Call

DEFAULT_QUEUE = "celery"
"""Celery's own default."""


def call(chain: list[Signature], argument: Any, task_id: str) -> Call:
    """Return the call of the first task of a chain, which takes the others along; all of their ids follow from one.

    The first argument is ours, as Celery's own ``link`` gives the parent's result, unless the signature is immutable.
    """
    first, *others = chain
    args = first.args if first.immutable else [argument, *first.args]
    options = {"queue": DEFAULT_QUEUE, **first.options}
    if others:
        # As Celery's message protocol has it: each task takes the next one from the end.
        options["chain"] = [_carried(one, f"{task_id}.{place}") for place, one in enumerate(others, 1)][::-1]
    return Call(first.task, args, first.kwargs, task_id, options)


def _carried(one: Signature, task_id: str) -> dict[str, Any]:
    return {
        "task": one.task,
        "args": one.args,
        "kwargs": one.kwargs,
        "options": {**one.options, "task_id": task_id},
        "subtask_type": None,
        "immutable": one.immutable,
    }


def check(settings: Settings, chain: list[Signature]) -> None:
    """Raise ConfigurationError when runs may not have one of these tasks called.

    Whoever can send a run can name any task, so the workers' own settings say which are allowed. Promptmill's own never
    are, but for those that are meant for everybody.
    """
    for one in chain:
        queue = str(one.options.get("queue", DEFAULT_QUEUE))
        if (one.task.startswith("promptmill.") or queue in queues.ALL) and queues.PUBLIC.get(one.task) != queue:
            raise ConfigurationError(f"callback {one.task}: neither tasks nor queues of Promptmill's own may be called")
        if not any(fnmatchcase(one.task, pattern) for pattern in settings.callback_patterns):
            raise ConfigurationError(
                f"callback {one.task}: the workers may not call it; {variable('callback_tasks')} names what they may"
            )
