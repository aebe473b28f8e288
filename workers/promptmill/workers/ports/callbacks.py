"""Turns the signatures of a run into tasks to send, and checks that they are allowed."""

from fnmatch import fnmatchcase

from promptmill.config import queues
from promptmill.config.errors import ConfigurationError
from promptmill.config.settings import Settings, variable_name
from promptmill.producers.contract.messages import Signature
from promptmill.workers.ports.google import CallbackTask

DEFAULT_QUEUE = "celery"
"""Celery's own default."""


def build_callback_task(chain: list[Signature], argument: object, task_id: str) -> CallbackTask:
    """Return the first task of a chain. It carries the others; their ids follow from its own."""
    first_signature, *next_signatures = chain
    # The argument comes first, like a parent's result in Celery.
    args = first_signature.args if first_signature.immutable else [argument, *first_signature.args]
    options = {"queue": DEFAULT_QUEUE, **first_signature.options}
    if next_signatures:
        # In Celery's message protocol, each task takes the next one from the end.
        options["chain"] = [
            _chain_entry(signature, f"{task_id}.{position}")
            for position, signature in enumerate(next_signatures, 1)
        ][::-1]
    return CallbackTask(first_signature.task, args, first_signature.kwargs, task_id, options)


def _chain_entry(signature: Signature, task_id: str) -> dict[str, object]:
    return {
        "task": signature.task,
        "args": signature.args,
        "kwargs": signature.kwargs,
        "options": {**signature.options, "task_id": task_id},
        "subtask_type": None,
        "immutable": signature.immutable,
    }


# Anyone who can send a run can name any task, so the workers' settings list what is allowed.
# Of Promptmill's own tasks, only public ones are.
def check_callback_tasks(settings: Settings, chain: list[Signature]) -> None:
    """Raise ConfigurationError if a task of the chain is not allowed."""
    for signature in chain:
        task, queue = signature.task, str(signature.options.get("queue", DEFAULT_QUEUE))
        is_own = task.startswith("promptmill.") or queue in queues.ALL_QUEUES
        if is_own and queues.PUBLIC_TASK_QUEUES.get(task) != queue:
            reason = "Promptmill's own tasks and queues cannot be called"
            raise ConfigurationError(f"callback {task}: {reason}")
        if not any(fnmatchcase(task, pattern) for pattern in settings.callback_patterns):
            advice = f"Add it to {variable_name('callback_tasks')} of the workers"
            raise ConfigurationError(f"callback {task}: not allowed. {advice}")
