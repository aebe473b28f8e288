"""The way in: submit prompts, follow runs, read results.

>>> from promptmill.producers import Promptmill
>>> run = Promptmill().submit(["Translate to Spanish: good morning"], model="gemini-3.8-flash")  # doctest: +SKIP
"""

from promptmill.config.errors import (
    ConfigurationError,
    DuplicateKey,
    EmptyRun,
    IdempotencyConflict,
    InvalidRequest,
    PromptmillError,
    RunNotFound,
    WaitTimeout,
)
from promptmill.producers import sinks
from promptmill.producers.bills import Total
from promptmill.producers.costs import Cost
from promptmill.producers.estimate import Estimate
from promptmill.producers.mill import Promptmill
from promptmill.producers.pools import Ticket
from promptmill.producers.results import Result
from promptmill.producers.runs import Run
from promptmill.producers.status import Report, RunStatus, ShardStatus
from promptmill.producers.streams import Stream
from promptmill.producers.validation import Finding, Validation

__all__ = [
    "ConfigurationError",
    "Cost",
    "DuplicateKey",
    "EmptyRun",
    "Estimate",
    "Finding",
    "IdempotencyConflict",
    "InvalidRequest",
    "Promptmill",
    "PromptmillError",
    "Report",
    "Result",
    "Run",
    "RunNotFound",
    "RunStatus",
    "ShardStatus",
    "Stream",
    "Ticket",
    "Total",
    "Validation",
    "WaitTimeout",
    "sinks",
]
