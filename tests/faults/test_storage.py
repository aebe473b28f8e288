"""Storage that refuses, is slow, loses answers or cuts bodies: nothing is lost, and nothing is paid for twice."""

import json
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from google.api_core.exceptions import BadRequest
from google.cloud.storage import Client

from deadline import until
from faults.invariants import observe, violations
from faults.mills import BUCKET, Mill, Mills, rows_in
from promptmill.producers import sinks
from proxy import HttpProxy
from stack import Site, ask

LIFE = 60.0
EVERY = float("inf")
WRITES = r"/upload/.*"
READS = r".*alt=media.*"
DAMAGED = "0" * 26


@pytest.fixture
def storage(servers: Site) -> Iterator[HttpProxy]:
    """A proxy before storage, for workers."""
    with HttpProxy(servers.environment["STORAGE_EMULATOR_HOST"]) as proxy:
        yield proxy


def behind(proxy: HttpProxy) -> dict[str, str]:
    """The settings of a mill whose workers reach storage through the proxy."""
    return {"STORAGE_EMULATOR_HOST": proxy.url}


def test_storage_that_refuses_everything_for_a_while_is_waited_for(mills: Mills, storage: HttpProxy) -> None:
    with mills.mill("refused", behind(storage)) as mill:
        mill.work()
        run = mill.submit()
        until(lambda: mill.site.jobs(run.id), LIFE, "the first job")
        storage.fail(".*", ".*", status=503, times=EVERY)
        until(lambda: " retry: " in mill.log(), LIFE, "a step that waits, as the client itself has given up")
        storage.clear()
        better = time.monotonic()
        mill.wait(run, LIFE)

        print(f"ended {time.monotonic() - better:.1f} s after storage was well again")  # noqa: T201 - a measurement
        assert [call for call in storage.calls if call.fault == "fail"]
        assert mill.violations(run) == []


@pytest.mark.parametrize("fault", ["drop_answer", "replace_answer"])
def test_a_write_that_was_done_and_reported_as_failed_is_taken_for_done(
    mills: Mills, storage: HttpProxy, fault: str
) -> None:
    with mills.mill(fault.replace("_", "-"), behind(storage)) as mill:
        getattr(storage, fault)("POST", WRITES, times=3)
        mill.work()
        run = mill.submit()
        until(lambda: mill.site.jobs(run.id), LIFE, "the first job")
        getattr(storage, fault)("POST", WRITES, times=3)
        mill.wait(run, LIFE)

        assert mill.violations(run) == []
        assert len([call for call in storage.calls if call.fault == fault]) == 6


def test_a_chunk_that_storage_does_not_take_for_a_long_time_is_kept(mills: Mills, storage: HttpProxy) -> None:
    """Longer than the client itself tries again, so that its message goes back into the queue."""
    with mills.mill("not-taken", behind(storage)) as mill:
        storage.fail("POST", WRITES, status=503, times=EVERY)
        mill.work()
        run = mill.submit()
        until(lambda: ".ingest] retry: " in mill.log(), LIFE, "a chunk that waits for its next try")
        storage.clear()
        mill.wait(run, 2 * LIFE)

        assert mill.violations(run) == []


def test_a_body_that_is_cut_is_read_again_and_no_half_of_a_line_is_parsed(mills: Mills, storage: HttpProxy) -> None:
    with mills.mill("cut", behind(storage)) as mill:
        storage.cut("GET", READS, after=700, times=12)
        through(mill)

        assert len([call for call in storage.calls if call.fault == "cut"]) == 12


@pytest.mark.parametrize("calls", [("GET", READS), ("POST", WRITES)], ids=["read", "written"])
def test_a_byte_that_changes_on_its_way_is_noticed_and_never_stored_nor_parsed(
    mills: Mills, storage: HttpProxy, calls: tuple[str, str]
) -> None:
    """Output is read whole here: the service has no checksum for a range."""
    if "POST" in calls and not checks_uploads():
        pytest.skip("this stand-in for Cloud Storage does not check what it is sent")
    with mills.mill(f"corrupt-{calls[0].lower()}", behind(storage) | {"PROMPTMILL_PART_BYTES": str(1 << 20)}) as mill:
        storage.corrupt(*calls, times=4)
        through(mill)

        assert len([call for call in storage.calls if call.fault == "corrupt"]) == 4


def checks_uploads() -> bool:
    """Whether what stands in for Cloud Storage refuses an object whose checksum does not fit, as that does."""
    bucket = Client(project="p").bucket(BUCKET.removeprefix("gs://"))
    try:
        bucket.blob("checked").upload_from_string(b"data", crc32c_checksum_value="AAAAAA==")
    except BadRequest:
        return True
    return False


def test_a_sink_that_dies_in_the_middle_of_its_rows_has_each_once_in_the_end(
    mills: Mills, servers: Site, storage: HttpProxy
) -> None:
    ask(servers.environment["STORAGE_EMULATOR_HOST"], "POST", "/storage/v1/b?project=p", b'{"name": "dying"}')
    rows = "/upload/storage/v1/b/dying/.*"
    with mills.mill("sink-dies", behind(storage)) as mill:
        mill.work()
        run = mill.submit(sinks=[sinks.jsonl("gs://dying/answers")])
        until(lambda: mill.site.jobs(run.id), LIFE, "the first job")
        storage.drop_answer("POST", rows, times=2)
        storage.refuse("POST", rows, times=2)
        storage.replace_answer("POST", rows, times=2)
        mill.wait(run, LIFE)

        assert len([call for call in storage.seen("POST", rows) if call.fault]) == 6
        found = {"the folder": rows_in("gs://dying/answers", run)}
        assert violations(observe(run, map(str, range(1, 11)), mill.site.jobs, found)) == []


@pytest.mark.slow
def test_storage_that_takes_a_second_for_every_call_is_overtaken_by_nobody(mills: Mills, storage: HttpProxy) -> None:
    with mills.mill("slow", behind(storage) | {"PROMPTMILL_TAKEOVER_SECONDS": "30"}) as mill:
        storage.delay(".*", ".*", seconds=1.0, times=EVERY)
        for _ in range(4):
            mill.work()
        run = mill.submit()
        mill.wait(run, 3 * LIFE)
        storage.clear()

        assert mill.violations(run) == []
        assert twice(mill) == {}


def test_a_run_whose_facts_are_damaged_keeps_no_other_from_being_mended(mills: Mills) -> None:
    with mills.mill("damaged") as mill:
        mill.bucket.write("open/!", b"")  # no run at all, such as the "open/" by which Google's console makes a folder
        mill.bucket.write(f"open/{DAMAGED}", b"")
        mill.bucket.write(f"runs/{DAMAGED}/run.json", b"no run")
        mill.work()
        run = mill.submit()
        until(lambda: mill.site.jobs(run.id), LIFE, "the first job")
        mill.redis.flushdb()
        mill.wait(run, LIFE)

        assert mill.violations(run) == []


def test_a_sink_that_is_away_for_a_while_gets_its_rows_later_and_no_job_is_paid_for_again(
    mills: Mills, servers: Site, storage: HttpProxy
) -> None:
    ask(servers.environment["STORAGE_EMULATOR_HOST"], "POST", "/storage/v1/b?project=p", b'{"name": "away"}')
    with mills.mill("sink-away", behind(storage)) as mill:
        mill.work()
        run = mill.submit(sinks=[sinks.jsonl("gs://away/answers")])
        until(lambda: mill.site.jobs(run.id), LIFE, "the first job")
        storage.fail("POST", "/upload/storage/v1/b/away/.*", status=503, times=EVERY)
        until(
            lambda: ".deliver] retry: " in mill.log(), LIFE, "a delivery that waits, as the client itself has given up"
        )
        storage.clear()
        mill.wait(run, LIFE)

        found = {"the folder": rows_in("gs://away/answers", run)}
        assert violations(observe(run, map(str, range(1, 11)), mill.site.jobs, found)) == []
        assert len(mill.site.jobs(run.id)) == 2


def twice(mill: Mill) -> dict[str, int]:
    """The steps that were sent more than once; a look at the jobs is, by design."""
    sent = [json.loads(line) for line in (mill.folder / "sent").read_text().splitlines()]
    times = Counter(step for name, _, step in sent if name != "promptmill.poll")
    return {step: copies for step, copies in times.items() if copies > 1}


def through(mill: Mill) -> None:
    """Bring a run to its end."""
    mill.work()
    run = mill.submit()
    mill.wait(run, LIFE)
    assert mill.violations(run) == []
