"""Every error and warning that Promptmill raises on purpose.

PromptmillError
├── ConfigurationError      a setting or option is missing or invalid
├── NotInstalled            an extra must be installed
├── InvalidRequest          a row cannot be sent; has ``row`` and ``key``
├── EmptyRun                the run has no request that can be sent
├── DuplicateKey            two rows of a run have the same key
├── IdempotencyConflict     the idempotency key belongs to other content
├── OverBudget              the run could exceed its cost limit
├── RunNotFound             no run has that id
├── WaitTimeout             the run was not done in time
├── MessageRefused          a message or stored object breaks the contract
│   └── NewerVersion        its contract version is newer than this process
├── Transient               an external system failed; a retry can succeed
│   ├── OutcomeUnknown      it did not answer; the operation may have happened
│   └── Denied              it denied access; an operator can fix that
└── Permanent               an external system refused; a retry cannot succeed
    ├── NotFound            the object does not exist
    └── Conflict            another process changed or created the object first
"""


class PromptmillError(Exception):
    """Base class of all errors. The message says what to do next."""


class ConfigurationError(PromptmillError):
    """A setting or option is missing or invalid. The message names it."""


class NotInstalled(PromptmillError):
    """A feature needs an extra that is not installed. The message names it."""


class InvalidRequest(PromptmillError):
    """A row cannot be sent to the model.

    ``row`` counts from 1 in the order of submission. ``key`` is the caller's key of the
    row, or None.
    """

    def __init__(self, message: str, *, row: int | None = None, key: str | None = None) -> None:
        prefix = (
            ""
            if row is None
            else f"row {row}" + (f" (key {key!r})" if key is not None else "") + ": "
        )
        super().__init__(prefix + message)
        self.message = message
        self.row = row
        self.key = key


class EmptyRun(PromptmillError):
    """The run has no request that can be sent."""


class DuplicateKey(PromptmillError):
    """Two rows of a run have the same key, so their answers would be ambiguous."""


class IdempotencyConflict(PromptmillError):
    """The idempotency key belongs to a run with other content."""


class OverBudget(PromptmillError):
    """The run could exceed its cost limit, or its cost is unknown."""


class RunNotFound(PromptmillError):
    """No run has that id."""


class WaitTimeout(PromptmillError):
    """The run was not done in time. It continues."""


class MessageRefused(PromptmillError):
    """A message or stored object breaks the contract of producers and workers.

    See ``promptmill.producers.contract.messages``.
    """


class NewerVersion(MessageRefused):
    """A message or stored object has a newer contract version than this process."""


class Transient(PromptmillError):
    """An external system failed in a way that a retry can fix.

    ``retry_after`` is the delay it asked for in seconds, or 0.
    """

    retry_after = 0.0


class OutcomeUnknown(Transient):
    """An external system did not answer. The operation may have happened, or may yet."""


class Denied(Transient):
    """An external system denied access: credentials expired or a permission is missing."""


class Permanent(PromptmillError):
    """An external system refused. The same call would be refused again."""


class NotFound(Permanent):
    """The requested object does not exist."""


class Conflict(Permanent):
    """Another process changed or created the object first."""


class PromptmillWarning(UserWarning):
    """A run is sent although something about it may be wrong. The message says what."""
