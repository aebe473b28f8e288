"""Python API: submit prompts, follow runs, read results.

>>> from promptmill.producers import Promptmill
>>> mill = Promptmill(model="gemini-3.8-flash")
>>> run = mill.submit(["Translate to Spanish: good morning"])  # doctest: +SKIP
"""

from promptmill.config.errors import (
    ConfigurationError,
    DuplicateKey,
    EmptyRun,
    IdempotencyConflict,
    InvalidRequest,
    PromptmillError,
    PromptmillWarning,
    RunNotFound,
    WaitTimeout,
)
from promptmill.producers.client import Promptmill
from promptmill.producers.contract import sink_specs as sinks
from promptmill.producers.contract.results import Result
from promptmill.producers.contract.status import Report, RunStatus, ShardStatus
from promptmill.producers.pools import Ticket
from promptmill.producers.pricing.cost import Cost
from promptmill.producers.pricing.estimate import Estimate
from promptmill.producers.pricing.totals import Total
from promptmill.producers.rows.validation import Finding, Validation
from promptmill.producers.run import Run
from promptmill.producers.stream import Stream

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
    "PromptmillWarning",
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
