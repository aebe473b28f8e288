"""Sends the callbacks of a run: the caller's own tasks, started when the run has ended."""

from collections.abc import Callable, Iterator

from promptmill.config.errors import ConfigurationError, Permanent
from promptmill.producers.contract.messages import Manifest, Signature
from promptmill.producers.contract.status import Report
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Called
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.ports import callbacks
from promptmill.workers.ports.google import CallbackBroker

PAYLOAD_VERSION = 1
SUCCESS_STATES = ("succeeded", "partially_succeeded")
"""A run in one of these states sends its ``link`` callbacks, else its ``link_error`` ones."""


def callback(
    run: RunFolder, caller: CallbackBroker, check: Callable[[list[Signature]], None]
) -> list[str]:
    """Send the callbacks of a run that are not recorded as sent; returns their task ids.

    Afterwards the run is removed from the open list. A crash between sending a task and
    recording it repeats the task under the same id. A task that ``check`` refuses is
    recorded but not sent. If sending one fails permanently, the others are sent first;
    then the error is raised.
    """
    manifest, report = run.manifest.get(), run.report.get()
    sent, last_error = [], None
    for name, chain in select_callbacks(manifest, report.state):
        called = run.callback(name)
        if called.exists():
            continue
        try:
            if not (refusal := _refusal_reason(check, chain)):
                payload = build_payload(run, manifest, report)
                task_id = f"{run.id}.{name}"
                caller.send(callbacks.build_callback_task(chain, payload, task_id))
                sent.append(task_id)
            called.create(Called(records.current_time(), refusal))
        except Permanent as error:
            last_error = error
    if last_error:
        raise last_error
    run.bucket.delete(run.open_marker)
    return sent


def select_callbacks(manifest: Manifest, state: str) -> Iterator[tuple[str, list[Signature]]]:
    """Return the callbacks to send for a run in this state, as (name, chain of tasks)."""
    kind = "link" if state in SUCCESS_STATES else "link_error"
    chains = manifest.link if state in SUCCESS_STATES else manifest.link_error
    return ((f"{kind}{number}", chain) for number, chain in enumerate(chains))


def build_payload(run: RunFolder, manifest: Manifest, report: Report) -> dict[str, object]:
    """Return the argument of a callback: small JSON without prompts or answers."""
    return {
        "v": PAYLOAD_VERSION,
        "run": report.run,
        "name": report.name,
        "state": report.state,
        "model": report.model,
        "labels": manifest.labels,
        "requests": report.requests,
        "succeeded": report.succeeded,
        "failed": report.failed,
        "failures": report.failures,
        "error": report.error,
        "cost_usd": report.cost.usd if report.cost else None,
        "parent": manifest.parent,
        "report": f"{run.bucket.url}/{run.report.name}",
    }


def _refusal_reason(check: Callable[[list[Signature]], None], chain: list[Signature]) -> str:
    try:
        check(chain)
    except ConfigurationError as error:
        return str(error)
    return ""
