"""The bucket, Vertex's batch jobs and the callers' broker in memory: for tests without a cloud or a second process.

    bucket = MemoryBucket()
    jobs = FakeJobs(bucket, answer=lambda request: "hola")

They keep the contract of ``promptmill.workers.ports``, and pass the same suite as the real adapters. What goes wrong is
scripted: ``Script`` for the output of jobs, ``FakeJobs.refuse_next`` and ``lose_next_answer`` for their creation.
"""

from promptmill.workers.fakes.bucket import MemoryBucket
from promptmill.workers.fakes.caller import FakeCallbackBroker
from promptmill.workers.fakes.jobs import FakeJobs
from promptmill.workers.fakes.output import Script
from promptmill.workers.fakes.warehouse import FakeWarehouse

__all__ = ["FakeCallbackBroker", "FakeJobs", "FakeWarehouse", "MemoryBucket", "Script"]
