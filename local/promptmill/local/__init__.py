"""The local stack: starts, supervises and stops servers and workers on one machine.

    with Stack(StackOptions(services=("redis", "storage"))) as stack:
        environment = os.environ | stack.client_environment()
        subprocess.run(["promptmill", "doctor"], env=environment)

Every service is a command and listens on the loopback interface only.
"""

from promptmill.local.errors import (
    AlreadyRunning,
    Interrupted,
    LocalError,
    MissingServer,
    ServiceFailed,
)
from promptmill.local.events import Event, OnEvent
from promptmill.local.service import Service
from promptmill.local.services import DEFAULT_DIRECTORY, SERVICES, StackOptions
from promptmill.local.stack import Stack
from promptmill.local.state import ServiceState, StackState, read_state
from promptmill.local.supervise import run_supervisor, stop_running

__all__ = [
    "DEFAULT_DIRECTORY",
    "SERVICES",
    "AlreadyRunning",
    "Event",
    "Interrupted",
    "LocalError",
    "MissingServer",
    "OnEvent",
    "Service",
    "ServiceFailed",
    "ServiceState",
    "Stack",
    "StackOptions",
    "StackState",
    "read_state",
    "run_supervisor",
    "stop_running",
]
