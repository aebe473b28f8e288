"""Sinks that are away, or die in the middle of their rows, as workers do: each has every row once in the end."""

from itertools import count, product
from typing import get_args

import pytest

from faults.crashing import STRUCK, Crash, When
from faults.invariants import observe, violations
from faults.mills import Mills, behind, rows_in
from faults.outlets import SECRET, SETTINGS, Outlets, rows_of
from promptmill.producers.contract import sink_specs
from support.postgres import postgres_server
from support.proxy import HttpProxy
from support.receiver import receiving
from support.stack import Site, ask
from support.waiting import PATIENCE, wait_until

"""Seconds for a run among a dozen others, each of which is delivered to every sink."""
REQUESTS = 5
"""Which are one shard, and two parts of it."""
EVERY = float("inf")
AROUND_A_COMMIT = ["copy_rows database", "commit database"]
OF_SINKS = ("check ", "deliver ", "finish ", "move ", "write *", "delete *")
"""How effects on a sink begin, or on what it writes to."""

numbers = count()


def test_a_sink_that_dies_in_the_middle_of_its_rows_has_each_once_in_the_end(
    mills: Mills, servers: Site, storage: HttpProxy
) -> None:
    ask(
        servers.environment["STORAGE_EMULATOR_HOST"],
        "POST",
        "/storage/v1/b?project=p",
        b'{"name": "dying"}',
    )
    rows = "/upload/storage/v1/b/dying/.*"
    with mills.mill("sink-dies", behind(storage)) as mill:
        mill.work()
        run = mill.submit(sinks=[sink_specs.jsonl("gs://dying/answers")])
        wait_until(lambda: mill.site.jobs(run.id), "the first job")
        storage.drop_answer("POST", rows, times=2)
        storage.refuse("POST", rows, times=2)
        storage.replace_answer("POST", rows, times=2)
        mill.wait(run)

        assert len([call for call in storage.seen("POST", rows) if call.fault]) == 6
        found = {"the folder": rows_in("gs://dying/answers", run)}
        assert violations(observe(run, map(str, range(1, 11)), mill.site.jobs, found)) == []


def test_a_webhook_that_says_when_to_come_back_is_left_alone_until_then(mills: Mills) -> None:
    with receiving() as receiver, mills.mill("busy", {"PROMPTMILL_WEBHOOK_SECRET": SECRET}) as mill:
        receiver.status, receiver.retry_after = 503, "5"
        mill.work()
        run = mill.submit(REQUESTS, sinks=[sink_specs.webhook(receiver.url)])
        wait_until(lambda: receiver.got, "a first message")
        refused = {headers["webhook-id"] for headers, _ in receiver.got}
        receiver.status, receiver.retry_after = 204, ""
        mill.wait(run)

        came = [
            (headers["webhook-id"], int(headers["webhook-timestamp"]))
            for headers, _ in receiver.got
        ]
        times = {message: [at for one, at in came if one == message] for message in refused}
        assert {len(each) for each in times.values()} == {2}
        assert min(each[1] - each[0] for each in times.values()) >= 4


def test_a_sink_that_is_away_for_a_while_gets_its_rows_later_and_no_job_is_paid_for_again(
    mills: Mills, servers: Site, storage: HttpProxy
) -> None:
    ask(
        servers.environment["STORAGE_EMULATOR_HOST"],
        "POST",
        "/storage/v1/b?project=p",
        b'{"name": "away"}',
    )
    with mills.mill("sink-away", behind(storage)) as mill:
        mill.work()
        run = mill.submit(sinks=[sink_specs.jsonl("gs://away/answers")])
        wait_until(lambda: mill.site.jobs(run.id), "the first job")
        storage.fail("POST", "/upload/storage/v1/b/away/.*", status=503, times=EVERY)
        wait_until(
            lambda: mill.tries_again("deliver", "503"),
            "a delivery that waits, as the client itself gave up",
        )
        storage.clear()
        mill.wait(run)

        found = {"the folder": rows_in("gs://away/answers", run)}
        assert violations(observe(run, map(str, range(1, 11)), mill.site.jobs, found)) == []
        assert len(mill.site.jobs(run.id)) == 2


def test_a_worker_that_dies_around_the_commit_of_a_database_leaves_each_row_there_once(
    mills: Mills, out: Outlets
) -> None:
    crashes = [Crash(effect, when) for effect, when in product(AROUND_A_COMMIT, get_args(When))]

    assert sweep(mills, out, crashes) == {}


@pytest.mark.slow
def test_a_worker_may_die_in_the_middle_of_every_sinks_write(mills: Mills, out: Outlets) -> None:
    with mills.mill("all-sinks", SETTINGS) as mill:
        mill.work()
        run = mill.submit(REQUESTS, sinks=out.specs(mill))
        mill.wait(run)
        assert out.violations(mill, run, REQUESTS) == []
        effects = dict.fromkeys(filter(is_of_a_sink, mill.journal_lines()))
    crashes = [Crash(effect, when) for effect, when in product(effects, get_args(When))]
    assert {crash.effect.rpartition(" ")[2] for crash in crashes} >= {
        spec.kind for spec in out.specs(mill)
    }

    assert sweep(mills, out, crashes) == {}


def is_of_a_sink(effect: str) -> bool:
    return effect.startswith(OF_SINKS) or effect.endswith((" database", " web"))


def sweep(mills: Mills, out: Outlets, crashes: list[Crash]) -> dict[str, list[str]]:
    """Let a worker die at each of these moments, many beside each other; return what is wrong in the end."""
    endings = mills.sweep(lambda crash: (str(crash), die_and_go_on(mills, out, crash)), crashes)
    return {crash: wrong for crash, wrong in endings if wrong}


def die_and_go_on(mills: Mills, out: Outlets, crash: Crash) -> list[str]:
    """Let one worker die, look at the table, and have another one bring the run to its end."""
    with mills.mill(f"sink-crash-{next(numbers)}", SETTINGS) as mill:
        doomed = mill.work(crash)
        run = mill.submit(REQUESTS, sinks=out.specs(mill))
        try:
            wait_until(lambda: STRUCK in mill.journal_lines(), "the moment of death")
            doomed.join(PATIENCE)
            there = out.in_table(mill, run) if crash.effect in AROUND_A_COMMIT else []
            if there and (crash.effect, crash.when) != ("commit database", "after"):
                return [f"{len(there)} rows were there without a commit"]
            mill.work()
            mill.wait(run)
        except AssertionError as late:
            return [str(late)]
        return out.violations(mill, run, REQUESTS)


def test_a_database_that_dies_while_rows_come_gets_them_later_and_other_runs_go_on(
    mills: Mills,
) -> None:
    with postgres_server() as server, mills.mill("database-dies", SETTINGS) as mill:
        mill.work()
        run = mill.submit(sinks=[sink_specs.postgres(server.url(), table="answers")])
        wait_until(lambda: mill.site.jobs(run.id), "the first job")
        server.kill()
        wait_until(lambda: mill.tries_again("deliver", "OperationalError"), "a delivery that waits")

        other = mill.submit()
        mill.wait(other)
        assert not mill.ended(run)
        server.start()
        mill.wait(run)

        found = {"the table": rows_of(server, run, "answers")}
        assert violations(observe(run, map(str, range(1, 11)), mill.site.jobs, found)) == []
        assert len(mill.site.jobs(run.id)) == 2
