"""From a signature that a run carries to the task that is sent, and whether it may be."""

from fnmatch import fnmatchcase
from typing import Any

from promptmill.config import queues
from promptmill.config.errors import ConfigurationError
from promptmill.config.settings import Settings, variable_name
from promptmill.producers.contract.messages import Signature
from promptmill.workers.ports.google import CallbackTask

DEFAULT_QUEUE = "celery"
"""Celery's own default."""


def build_callback_task(chain: list[Signature], argument: Any, task_id: str) -> CallbackTask:
    """Return the call of the first task of a chain, which takes the others along; all of their ids follow from one.

    The first argument is ours, as Celery's own ``link`` gives the parent's result, unless the signature is immutable.
    """
    first_signature, *next_signatures = chain
    args = first_signature.args if first_signature.immutable else [argument, *first_signature.args]
    options = {"queue": DEFAULT_QUEUE, **first_signature.options}
    if next_signatures:
        # As Celery's message protocol has it: each task takes the next one from the end.
        options["chain"] = [
            _chain_entry(signature, f"{task_id}.{position}")
            for position, signature in enumerate(next_signatures, 1)
        ][::-1]
    return CallbackTask(first_signature.task, args, first_signature.kwargs, task_id, options)


def _chain_entry(signature: Signature, task_id: str) -> dict[str, Any]:
    return {
        "task": signature.task,
        "args": signature.args,
        "kwargs": signature.kwargs,
        "options": {**signature.options, "task_id": task_id},
        "subtask_type": None,
        "immutable": signature.immutable,
    }


def check_callback_tasks(settings: Settings, chain: list[Signature]) -> None:
    """Raise ConfigurationError when runs may not have one of these tasks called.

    Whoever can send a run can name any task, so the workers' own settings say which are allowed. Promptmill's own never
    are, but for those that are meant for everybody.
    """
    for signature in chain:
        queue = str(signature.options.get("queue", DEFAULT_QUEUE))
        if (
            signature.task.startswith("promptmill.") or queue in queues.ALL_QUEUES
        ) and queues.PUBLIC_TASK_QUEUES.get(signature.task) != queue:
            raise ConfigurationError(
                f"callback {signature.task}: neither tasks nor queues of Promptmill's own may be called"
            )
        if not any(fnmatchcase(signature.task, pattern) for pattern in settings.callback_patterns):
            raise ConfigurationError(
                f"callback {signature.task}: the workers may not call it; {variable_name('callback_tasks')} names what they may"
            )
