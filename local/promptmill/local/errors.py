"""Errors of a local stack.

LocalError
├── MissingServer    an embedded server is not installed
├── AlreadyRunning   another supervisor uses this directory
├── ServiceFailed    a service exited too often; has the end of its log
└── Interrupted      the stack was stopped before it was ready
"""


class LocalError(Exception):
    """Base class of the errors of `promptmill.local`."""


class MissingServer(LocalError):
    """An embedded server is not installed; the message has the install command."""


class AlreadyRunning(LocalError):
    """Another supervisor uses this directory; the message has its pid."""


class ServiceFailed(LocalError):
    """A service exits repeatedly.

    `service` is its name, `log` the last lines of its output.
    """

    def __init__(self, service: str, reason: str, log: str):
        super().__init__(f"{service} {reason}" + (f"; end of its log:\n{log}" if log else ""))
        self.service, self.log = service, log


class Interrupted(LocalError):
    """The stack was stopped before it was ready."""
