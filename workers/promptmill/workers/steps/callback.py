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
from promptmill.workers.ports.google import Bucket, Caller

VERSION = 1
GOOD_ENDS = ("succeeded", "partially_succeeded")
"""States of a run that has results to go on with; with any other it has ended badly."""


def callback(bucket: Bucket, caller: Caller, run: str, check: Callable[[list[Signature]], None]) -> list[str]:
    """Send what is not known to be sent, then take the run off the list of open runs; returns the ids of what was sent.

    A crash between a task and the fact that it is sent repeats it under the same id. What ``check`` refuses is not sent,
    which was said in the report; what can never be sent keeps none of the others back.
    """
    manifest = records.get(bucket, names.manifest(run), Manifest)
    report = records.get(bucket, names.report(run), Report)
    sent, failed = [], None
    for name, chain in wanted(manifest, report.state):
        fact = names.callback(run, name)
        if bucket.find(fact) is not None:
            continue
        try:
            if not (refusal := _refusal(check, chain)):
                caller.send(callbacks.call(chain, summary(bucket, manifest, report), f"{run}.{name}"))
                sent.append(f"{run}.{name}")
            records.put(bucket, fact, Called(records.now(), refusal))
        except Permanent as error:
            failed = error
    if failed:
        raise failed
    bucket.delete(names.open_marker(run))
    return sent


def is_wanted(manifest: Manifest) -> bool:
    """Whether a run wants anybody to be called at its end."""
    return bool(manifest.link or manifest.link_error)


def wanted(manifest: Manifest, state: str) -> Iterator[tuple[str, list[Signature]]]:
    """Yield the callbacks of a run that ended in this state, by the name of each."""
    kind, given = ("link", manifest.link) if state in GOOD_ENDS else ("link_error", manifest.link_error)
    for number, chain in enumerate(given):
        yield f"{kind}{number}", chain


def summary(bucket: Bucket, manifest: Manifest, report: Report) -> dict[str, Any]:
    """Return what a callback is told: JSON without any prompt or answer, small however large the run."""
    return {
        "v": VERSION,
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


def _refusal(check: Callable[[list[Signature]], None], chain: list[Signature]) -> str:
    try:
        check(chain)
    except ConfigurationError as error:
        return str(error)
    return ""
