"""Storage refuses calls, is slow or drops responses. Nothing is lost or paid twice."""

import json
import time
from collections import Counter

import pytest

from faults.worker_group import WorkerGroup, WorkerGroups, behind
from support.proxy import HttpProxy
from support.waiting import wait_until

EVERY = float("inf")
WRITES = r"/upload/.*"
STEP_OF_A_RUN = r"(?!reconcile)\w+"


def test_workers_wait_for_storage_that_refuses_every_call(
    groups: WorkerGroups, storage: HttpProxy
) -> None:
    with groups.create_group("refused", behind(storage)) as group:
        group.work()
        run = group.submit()
        wait_until(lambda: group.stack.jobs(run.id), "the first job")
        storage.fail(".*", ".*", status=503, times=EVERY)
        wait_until(
            lambda: group.tries_again(STEP_OF_A_RUN, "503"),
            "a step that waits, as the client has stopped its retries",
        )
        storage.clear()
        better = time.monotonic()
        group.wait(run)

        print(f"ended {time.monotonic() - better:.1f} s after storage was well again")  # noqa: T201 - a measurement
        assert [call for call in storage.calls if call.fault == "fail"]
        assert group.violations(run) == []


@pytest.mark.parametrize("moment", ["before its first chunk", "after its first job"])
def test_storage_that_lets_nobody_in_for_a_while_is_waited_for_and_the_run_says_so(
    groups: WorkerGroups, storage: HttpProxy, moment: str
) -> None:
    with groups.create_group(f"denied-{moment[-5:].strip()}", behind(storage)) as group:
        if moment == "before its first chunk":
            storage.fail(".*", ".*", status=403, times=EVERY)
        group.work()
        run = group.submit()
        if moment == "after its first job":
            wait_until(lambda: group.stack.jobs(run.id), "the first job")
            storage.fail(".*", ".*", status=403, times=EVERY)
        wait_until(lambda: "403" in run.status.error, "word of it")
        denied = len(storage.calls)
        wait_until(lambda: len(storage.calls) > denied + 5, "further tries")
        storage.clear()
        group.wait(run)

        assert group.violations(run) == []
        assert group.parked() == []
        assert run.status.state == "succeeded"


@pytest.mark.parametrize("fault", ["drop_answer", "replace_answer"])
def test_a_write_that_succeeded_but_was_reported_as_failed_counts_as_done(
    groups: WorkerGroups, storage: HttpProxy, fault: str
) -> None:
    with groups.create_group(fault.replace("_", "-"), behind(storage)) as group:
        getattr(storage, fault)("POST", WRITES, times=3)
        group.work()
        run = group.submit()
        wait_until(lambda: group.stack.jobs(run.id), "the first job")
        getattr(storage, fault)("POST", WRITES, times=3)
        group.wait(run)

        assert group.violations(run) == []
        assert len([call for call in storage.calls if call.fault == fault]) == 6


def test_a_chunk_is_kept_while_storage_refuses_it_for_a_long_time(
    groups: WorkerGroups, storage: HttpProxy
) -> None:
    """The outage outlasts the retries of the client, so that the message is requeued."""
    with groups.create_group("not-taken", behind(storage)) as group:
        storage.fail("POST", WRITES, status=503, times=EVERY)
        group.work()
        run = group.submit()
        wait_until(
            lambda: group.tries_again("ingest", "503"), "a chunk that waits for its next try"
        )
        storage.clear()
        group.wait(run)

        assert group.violations(run) == []


@pytest.mark.slow
def test_no_other_worker_takes_over_while_each_storage_call_takes_a_second(
    groups: WorkerGroups, storage: HttpProxy
) -> None:
    seconds = {"PROMPTMILL_TAKEOVER_SECONDS": "30", "PROMPTMILL_CREATION_VISIBILITY_SECONDS": "40"}
    with groups.create_group("slow", behind(storage) | seconds) as group:
        storage.delay(".*", ".*", seconds=1.0, times=EVERY)
        for _ in range(4):
            group.work()
        run = group.submit()
        group.wait(run)
        storage.clear()

        assert group.violations(run) == []
        assert twice(group) == {}


def twice(group: WorkerGroup) -> dict[str, int]:
    """Return the steps that were sent more than once, except polls."""
    sent = [json.loads(line) for line in (group.folder / "sent").read_text().splitlines()]
    times = Counter(step for name, _, step in sent if name != "promptmill.poll")
    return {step: copies for step, copies in times.items() if copies > 1}
