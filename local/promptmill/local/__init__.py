"""Promptmill on one machine: real servers and workers, started in order, kept running, and stopped without a trace.

    with Stack(Options(services=("redis", "storage"))) as stack:
        subprocess.run(["promptmill", "doctor"], env=os.environ | stack.environment())

Everything is started as a command and listens on the loopback interface only.
"""

from promptmill.local.errors import AlreadyRunning, Interrupted, LocalError, MissingPart, ServiceFailed
from promptmill.local.events import Event, OnEvent
from promptmill.local.foreground import run_supervisor, stop_running
from promptmill.local.service import Service
from promptmill.local.services import DIRECTORY, SERVICES, Options
from promptmill.local.stack import Stack
from promptmill.local.state import ServiceState, State, read_state

__all__ = [
    "DIRECTORY",
    "SERVICES",
    "AlreadyRunning",
    "Event",
    "Interrupted",
    "LocalError",
    "MissingPart",
    "OnEvent",
    "Options",
    "Service",
    "ServiceFailed",
    "ServiceState",
    "Stack",
    "State",
    "read_state",
    "run_supervisor",
    "stop_running",
]
