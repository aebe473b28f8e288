"""Sends the caller's own tasks word of the end of a run."""

from collections.abc import Callable, Iterator
from typing import Any

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
"""States of a run that has results to go on with; with any other it has ended badly."""


def callback(
    run: RunFolder, caller: CallbackBroker, check: Callable[[list[Signature]], None]
) -> list[str]:
    """Send the callbacks of a run that are not recorded as sent; returns their task ids.

    Then the run is removed from the open list. A crash between sending a task and
    recording it repeats the task under the same id. Tasks that ``check`` refuses are
    not sent. One that can never be sent does not hold up the others.
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
    """Yield the callbacks of a run that ended in this state, by the name of each."""
    kind, chains = (
        ("link", manifest.link) if state in SUCCESS_STATES else ("link_error", manifest.link_error)
    )
    for number, chain in enumerate(chains):
        yield f"{kind}{number}", chain


def build_payload(run: RunFolder, manifest: Manifest, report: Report) -> dict[str, Any]:
    """Return what a callback is told: JSON without any prompt or answer, small however large the run."""
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
