"""What can go wrong with a stack on this machine.

LocalError
├── MissingServer    an embedded server is not installed
├── AlreadyRunning   another supervisor has this directory
├── ServiceFailed    a service died too often while the stack started; carries the end of its log
└── Interrupted      the stack was told to stop before it was up
"""


class LocalError(Exception):
    """Anything that `promptmill.local` raises on purpose."""


class MissingServer(LocalError):
    """An embedded server is not installed; the text names the command that installs it."""


class AlreadyRunning(LocalError):
    """Another supervisor has this directory; the text names its pid."""


class ServiceFailed(LocalError):
    """A service does not stay up.

    `service` is its name, `log` the last lines of its output.
    """

    def __init__(self, service: str, reason: str, log: str):
        super().__init__(f"{service} {reason}" + (f"; the end of its log:\n{log}" if log else ""))
        self.service, self.log = service, log


class Interrupted(LocalError):
    """The stack was told to stop before it was up."""
