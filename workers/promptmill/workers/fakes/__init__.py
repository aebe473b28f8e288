"""The bucket, batch jobs, endpoints, BigQuery and the callback broker in memory, for tests.

    bucket = MemoryBucket()
    jobs = FakeJobs(bucket, answer=lambda request: "hola")

They follow the protocols of ``promptmill.workers.ports`` and pass the same suite as the
adapters. Faults are scripted: ``Script`` for the output of jobs, and
``FakeJobs.refuse_next`` and ``lose_next_response`` for their creation.
"""

from promptmill.workers.fakes.bucket import MemoryBucket
from promptmill.workers.fakes.caller import FakeCallbackBroker
from promptmill.workers.fakes.endpoints import FakeEndpoints
from promptmill.workers.fakes.jobs import FakeJobs
from promptmill.workers.fakes.output import Script
from promptmill.workers.fakes.warehouse import FakeWarehouse

__all__ = [
    "FakeCallbackBroker",
    "FakeEndpoints",
    "FakeJobs",
    "FakeWarehouse",
    "MemoryBucket",
    "Script",
]
