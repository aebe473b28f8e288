"""Sinks that are away, or die in the middle of their rows: each has every row once in the end."""

from deadline import until
from faults.invariants import observe, violations
from faults.mills import Mills, behind, rows_in
from promptmill.producers import sinks
from proxy import HttpProxy
from stack import Site, ask

LIFE = 60.0
EVERY = float("inf")


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
