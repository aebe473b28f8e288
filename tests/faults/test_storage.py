"""Storage that refuses, is slow or loses answers: nothing is lost, and nothing is paid for twice."""

import json
import time
from collections import Counter

import pytest

from faults.mills import Mill, Mills, behind
from support.proxy import HttpProxy
from support.waiting import wait_until

EVERY = float("inf")
WRITES = r"/upload/.*"
STEP_OF_A_RUN = r"(?!reconcile)\w+"


def test_storage_that_refuses_everything_for_a_while_is_waited_for(
    mills: Mills, storage: HttpProxy
) -> None:
    with mills.mill("refused", behind(storage)) as mill:
        mill.work()
        run = mill.submit()
        wait_until(lambda: mill.site.jobs(run.id), "the first job")
        storage.fail(".*", ".*", status=503, times=EVERY)
        wait_until(
            lambda: mill.tries_again(STEP_OF_A_RUN, "503"),
            "a step that waits, as the client itself gave up",
        )
        storage.clear()
        better = time.monotonic()
        mill.wait(run)

        print(f"ended {time.monotonic() - better:.1f} s after storage was well again")  # noqa: T201 - a measurement
        assert [call for call in storage.calls if call.fault == "fail"]
        assert mill.violations(run) == []


@pytest.mark.parametrize("moment", ["before its first chunk", "after its first job"])
def test_storage_that_lets_nobody_in_for_a_while_is_waited_for_and_the_run_says_so(
    mills: Mills, storage: HttpProxy, moment: str
) -> None:
    with mills.mill(f"denied-{moment[-5:].strip()}", behind(storage)) as mill:
        if moment == "before its first chunk":
            storage.fail(".*", ".*", status=403, times=EVERY)
        mill.work()
        run = mill.submit()
        if moment == "after its first job":
            wait_until(lambda: mill.site.jobs(run.id), "the first job")
            storage.fail(".*", ".*", status=403, times=EVERY)
        wait_until(lambda: "403" in run.status.error, "word of it")
        denied = len(storage.calls)
        wait_until(lambda: len(storage.calls) > denied + 5, "further tries")
        storage.clear()
        mill.wait(run)

        assert mill.violations(run) == []
        assert mill.parked() == []
        assert run.status.state == "succeeded"


@pytest.mark.parametrize("fault", ["drop_answer", "replace_answer"])
def test_a_write_that_was_done_and_reported_as_failed_is_taken_for_done(
    mills: Mills, storage: HttpProxy, fault: str
) -> None:
    with mills.mill(fault.replace("_", "-"), behind(storage)) as mill:
        getattr(storage, fault)("POST", WRITES, times=3)
        mill.work()
        run = mill.submit()
        wait_until(lambda: mill.site.jobs(run.id), "the first job")
        getattr(storage, fault)("POST", WRITES, times=3)
        mill.wait(run)

        assert mill.violations(run) == []
        assert len([call for call in storage.calls if call.fault == fault]) == 6


def test_a_chunk_that_storage_does_not_take_for_a_long_time_is_kept(
    mills: Mills, storage: HttpProxy
) -> None:
    """Longer than the client itself tries again, so that its message goes back into the queue."""
    with mills.mill("not-taken", behind(storage)) as mill:
        storage.fail("POST", WRITES, status=503, times=EVERY)
        mill.work()
        run = mill.submit()
        wait_until(lambda: mill.tries_again("ingest", "503"), "a chunk that waits for its next try")
        storage.clear()
        mill.wait(run)

        assert mill.violations(run) == []


@pytest.mark.slow
def test_storage_that_takes_a_second_for_every_call_is_overtaken_by_nobody(
    mills: Mills, storage: HttpProxy
) -> None:
    seconds = {"PROMPTMILL_TAKEOVER_SECONDS": "30", "PROMPTMILL_CREATION_VISIBILITY_SECONDS": "40"}
    with mills.mill("slow", behind(storage) | seconds) as mill:
        storage.delay(".*", ".*", seconds=1.0, times=EVERY)
        for _ in range(4):
            mill.work()
        run = mill.submit()
        mill.wait(run)
        storage.clear()

        assert mill.violations(run) == []
        assert twice(mill) == {}


def twice(mill: Mill) -> dict[str, int]:
    """The steps that were sent more than once; a look at the jobs is, by design."""
    sent = [json.loads(line) for line in (mill.folder / "sent").read_text().splitlines()]
    times = Counter(step for name, _, step in sent if name != "promptmill.poll")
    return {step: copies for step, copies in times.items() if copies > 1}
