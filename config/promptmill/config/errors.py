"""Every error that Promptmill raises on purpose.

PromptmillError
├── ConfigurationError      a setting is missing or wrong; the text names it
├── NotInstalled            an extra is needed; the text names it
├── InvalidRequest          one row of a run cannot be sent; has ``row`` and ``key``
├── EmptyRun                there was nothing to send
├── DuplicateKey            two rows of a run have the same key
├── IdempotencyConflict     the idempotency key was used for other content
├── OverBudget              the run could cost more than it may
├── RunNotFound             no run has that id
├── WaitTimeout             the run was not done in time
├── MessageRefused          a message or stored object breaks the contract
│   └── NewerVersion        … or it is of a contract that is not known here yet
├── Transient               an outside system failed in a way that a later try can mend
│   ├── Unanswered          … and whether it did what was asked is unknown
│   └── Denied              … or did not let us in: nothing to give up for, somebody can mend that
└── Permanent               an outside system refused; trying again changes nothing
    ├── NotFound
    └── Conflict            somebody else changed or created the object first
"""


class PromptmillError(Exception):
    """Any error raised by Promptmill on purpose; its text says what to do about it."""


class ConfigurationError(PromptmillError):
    """A setting is missing or wrong."""


class NotInstalled(PromptmillError):
    """The part of Promptmill that was asked for needs an extra that is not installed."""


class InvalidRequest(PromptmillError):
    """A row cannot be sent to the model.

    ``row`` counts from 1 in the order of submission; ``key`` is the caller's id, or None when it has none.
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
    """There was not one request that can be sent."""


class DuplicateKey(PromptmillError):
    """Two rows of one run have the same key, so their answers could not be told apart."""


class IdempotencyConflict(PromptmillError):
    """The idempotency key belongs to a run with other content."""


class OverBudget(PromptmillError):
    """The run could cost more than it may, or it is not known what it could cost."""


class RunNotFound(PromptmillError):
    """No run has that id."""


class WaitTimeout(PromptmillError):
    """The run was not done in the time given; it goes on."""


class MessageRefused(PromptmillError):
    """A message or stored object breaks the contract of ``promptmill.producers.contract.messages``."""


class NewerVersion(MessageRefused):
    """A message or stored object is of a later version of the contract; a newer worker understands it."""


class Transient(PromptmillError):
    """An outside system failed in a way that a later try can mend; ``retry_after`` so many seconds, if it said when."""

    retry_after = 0.0


class OutcomeUnknown(Transient):
    """An outside system did not answer: what it was asked to do may have been done, or may yet be."""


class Denied(Transient):
    """An outside system did not let us in: credentials have run out, or a permission is missing or was taken away."""


class Permanent(PromptmillError):
    """An outside system refused; the same call again would be refused again."""


class NotFound(Permanent):
    """The thing that was asked for does not exist."""


class Conflict(Permanent):
    """Somebody else changed or created the object first."""
