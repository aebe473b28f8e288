"""Sends the caller's own tasks word of the end of a run."""

from collections.abc import Callable, Iterator
from typing import Any

from promptmill.config import names
from promptmill.config.errors import ConfigurationError, Permanent
from promptmill.producers.contract.messages import Manifest, Signature
from promptmill.producers.contract.status import Report
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Called
from promptmill.workers.ports import callbacks
from promptmill.workers.ports.google import Bucket, CallbackBroker

PAYLOAD_VERSION = 1
SUCCESS_STATES = ("succeeded", "partially_succeeded")
"""States of a run that has results to go on with; with any other it has ended badly."""


def callback(
    bucket: Bucket, caller: CallbackBroker, run: str, check: Callable[[list[Signature]], None]
) -> list[str]:
    """Send what is not known to be sent, then take the run off the list of open runs; returns the ids of what was sent.

    A crash between a task and the fact that it is sent repeats it under the same id. What ``check`` refuses is not sent,
    which was said in the report; what can never be sent keeps none of the others back.
    """
    manifest = records.get_fact(bucket, names.manifest(run), Manifest)
    report = records.get_fact(bucket, names.report(run), Report)
    sent, last_error = [], None
    for name, chain in select_callbacks(manifest, report.state):
        fact_name = names.callback(run, name)
        if bucket.find(fact_name) is not None:
            continue
        try:
            if not (refusal := _refusal_reason(check, chain)):
                caller.send(
                    callbacks.build_callback_task(
                        chain, build_payload(bucket, manifest, report), f"{run}.{name}"
                    )
                )
                sent.append(f"{run}.{name}")
            records.create_fact(bucket, fact_name, Called(records.current_time(), refusal))
        except Permanent as error:
            last_error = error
    if last_error:
        raise last_error
    bucket.delete(names.open_marker(run))
    return sent


def select_callbacks(manifest: Manifest, state: str) -> Iterator[tuple[str, list[Signature]]]:
    """Yield the callbacks of a run that ended in this state, by the name of each."""
    kind, chains = (
        ("link", manifest.link) if state in SUCCESS_STATES else ("link_error", manifest.link_error)
    )
    for number, chain in enumerate(chains):
        yield f"{kind}{number}", chain


def build_payload(bucket: Bucket, manifest: Manifest, report: Report) -> dict[str, Any]:
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
        "report": f"{bucket.url}/{names.report(report.run)}",
    }


def _refusal_reason(check: Callable[[list[Signature]], None], chain: list[Signature]) -> str:
    try:
        check(chain)
    except ConfigurationError as error:
        return str(error)
    return ""
