"""Promptmill on one machine: real servers and workers, started in order, kept running, and stopped without a trace.

    with Stack(StackOptions(services=("redis", "storage"))) as stack:
        subprocess.run(["promptmill", "doctor"], env=os.environ | stack.client_environment())

Everything is started as a command and listens on the loopback interface only.
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
