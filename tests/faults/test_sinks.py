"""Sinks and workers fail in the middle of a write. Every sink has each row once in the end."""

from itertools import count, product
from typing import get_args

import pytest

from faults.crashing import STRUCK, Crash, When
from faults.invariants import observe, violations
from faults.outlets import SECRET, SETTINGS, Outlets, rows_of
from faults.worker_group import WorkerGroups, behind, rows_in
from promptmill.producers.contract import sink_specs
from support.local_stack import LocalStack, ask
from support.postgres import postgres_server
from support.proxy import HttpProxy
from support.receiver import receiving
from support.waiting import PATIENCE, wait_until

"""Maximum seconds of a run to every sink, among a dozen others."""
REQUESTS = 5
"""One shard with two parts."""
EVERY = float("inf")
AROUND_A_COMMIT = ["copy_rows database", "commit database"]
OF_SINKS = ("check ", "deliver ", "finish ", "move ", "write *", "delete *")
"""Prefixes of effects on a sink or on its files."""

numbers = count()


def test_a_sink_that_dies_in_the_middle_of_its_rows_has_each_once_in_the_end(
    groups: WorkerGroups, servers: LocalStack, storage: HttpProxy
) -> None:
    ask(
        servers.environment["STORAGE_EMULATOR_HOST"],
        "POST",
        "/storage/v1/b?project=p",
        b'{"name": "dying"}',
    )
    rows = "/upload/storage/v1/b/dying/.*"
    with groups.create_group("sink-dies", behind(storage)) as group:
        group.work()
        run = group.submit(sinks=[sink_specs.jsonl("gs://dying/answers")])
        wait_until(lambda: group.stack.jobs(run.id), "the first job")
        storage.drop_answer("POST", rows, times=2)
        storage.refuse("POST", rows, times=2)
        storage.replace_answer("POST", rows, times=2)
        group.wait(run)

        assert len([call for call in storage.seen("POST", rows) if call.fault]) == 6
        found = {"the folder": rows_in("gs://dying/answers", run)}
        assert violations(observe(run, map(str, range(1, 11)), group.stack.jobs, found)) == []


def test_a_webhook_that_says_when_to_come_back_is_left_alone_until_then(
    groups: WorkerGroups,
) -> None:
    with (
        receiving() as receiver,
        groups.create_group("busy", {"PROMPTMILL_WEBHOOK_SECRET": SECRET}) as group,
    ):
        receiver.status, receiver.retry_after = 503, "5"
        group.work()
        run = group.submit(REQUESTS, sinks=[sink_specs.webhook(receiver.url)])
        wait_until(lambda: receiver.got, "a first message")
        refused = {headers["webhook-id"] for headers, _ in receiver.got}
        receiver.status, receiver.retry_after = 204, ""
        group.wait(run)

        came = [
            (headers["webhook-id"], int(headers["webhook-timestamp"]))
            for headers, _ in receiver.got
        ]
        times = {message: [at for one, at in came if one == message] for message in refused}
        assert {len(each) for each in times.values()} == {2}
        assert min(each[1] - each[0] for each in times.values()) >= 4


def test_an_unavailable_sink_gets_its_rows_later_and_no_job_is_created_again(
    groups: WorkerGroups, servers: LocalStack, storage: HttpProxy
) -> None:
    ask(
        servers.environment["STORAGE_EMULATOR_HOST"],
        "POST",
        "/storage/v1/b?project=p",
        b'{"name": "away"}',
    )
    with groups.create_group("sink-away", behind(storage)) as group:
        group.work()
        run = group.submit(sinks=[sink_specs.jsonl("gs://away/answers")])
        wait_until(lambda: group.stack.jobs(run.id), "the first job")
        storage.fail("POST", "/upload/storage/v1/b/away/.*", status=503, times=EVERY)
        wait_until(
            lambda: group.tries_again("deliver", "503"),
            "a delivery that waits, as the client has stopped its retries",
        )
        storage.clear()
        group.wait(run)

        found = {"the folder": rows_in("gs://away/answers", run)}
        assert violations(observe(run, map(str, range(1, 11)), group.stack.jobs, found)) == []
        assert len(group.stack.jobs(run.id)) == 2


def test_a_worker_that_dies_around_the_commit_of_a_database_leaves_each_row_there_once(
    groups: WorkerGroups, out: Outlets
) -> None:
    crashes = [Crash(effect, when) for effect, when in product(AROUND_A_COMMIT, get_args(When))]

    assert sweep(groups, out, crashes) == {}


@pytest.mark.slow
def test_a_worker_may_die_in_the_middle_of_every_sinks_write(
    groups: WorkerGroups, out: Outlets
) -> None:
    with groups.create_group("all-sinks", SETTINGS) as group:
        group.work()
        run = group.submit(REQUESTS, sinks=out.specs(group))
        group.wait(run)
        assert out.violations(group, run, REQUESTS) == []
        effects = dict.fromkeys(filter(is_of_a_sink, group.journal_lines()))
    crashes = [Crash(effect, when) for effect, when in product(effects, get_args(When))]
    assert {crash.effect.rpartition(" ")[2] for crash in crashes} >= {
        spec.kind for spec in out.specs(group)
    }

    assert sweep(groups, out, crashes) == {}


def is_of_a_sink(effect: str) -> bool:
    return effect.startswith(OF_SINKS) or effect.endswith((" database", " web"))


def sweep(groups: WorkerGroups, out: Outlets, crashes: list[Crash]) -> dict[str, list[str]]:
    """Crash a worker at each of these moments, many concurrently; return the violations."""
    endings = groups.sweep(lambda crash: (str(crash), die_and_go_on(groups, out, crash)), crashes)
    return {crash: wrong for crash, wrong in endings if wrong}


def die_and_go_on(groups: WorkerGroups, out: Outlets, crash: Crash) -> list[str]:
    """Crash one worker, check the table, and complete the run with another one."""
    with groups.create_group(f"sink-crash-{next(numbers)}", SETTINGS) as group:
        doomed = group.work(crash)
        run = group.submit(REQUESTS, sinks=out.specs(group))
        try:
            wait_until(lambda: STRUCK in group.journal_lines(), "the moment of death")
            doomed.join(PATIENCE)
            there = out.in_table(group, run) if crash.effect in AROUND_A_COMMIT else []
            if there and (crash.effect, crash.when) != ("commit database", "after"):
                return [f"{len(there)} rows were there without a commit"]
            group.work()
            group.wait(run)
        except AssertionError as late:
            return [str(late)]
        return out.violations(group, run, REQUESTS)


def test_a_database_that_dies_while_rows_come_gets_them_later_and_other_runs_go_on(
    groups: WorkerGroups,
) -> None:
    with postgres_server() as server, groups.create_group("database-dies", SETTINGS) as group:
        group.work()
        run = group.submit(sinks=[sink_specs.postgres(server.url(), table="answers")])
        wait_until(lambda: group.stack.jobs(run.id), "the first job")
        server.kill()
        wait_until(
            lambda: group.tries_again("deliver", "OperationalError"), "a delivery that waits"
        )

        other = group.submit()
        group.wait(other)
        assert not group.ended(run)
        server.start()
        group.wait(run)

        found = {"the table": rows_of(server, run, "answers")}
        assert violations(observe(run, map(str, range(1, 11)), group.stack.jobs, found)) == []
        assert len(group.stack.jobs(run.id)) == 2
