"""Single prompts of many callers make a few runs; a stream of requests makes one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from promptmill.config.errors import (
    ConfigurationError,
    DuplicateKey,
    EmptyRun,
    InvalidRequest,
    RunNotFound,
)
from promptmill.producers import Promptmill, Run
from support.local_stack import MODEL, QUICK, LocalStack, done, running, surroundings
from support.waiting import wait_until

SMALL_POOLS = {"PROMPTMILL_POOL_REQUESTS": "40", "PROMPTMILL_POOL_SECONDS": "3"}


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with running(tmp_path_factory.mktemp("pools"), settings=QUICK | SMALL_POOLS) as stack:
        yield stack


@pytest.fixture
def mill(pools: LocalStack) -> Iterator[Promptmill]:
    with surroundings(pools.environment):
        yield Promptmill()


def runs_of(mill: Promptmill, pool: str) -> list[Run]:
    return [run for run in mill.runs() if run.status.labels.get("pool") == pool]


def answered(runs: list[Run]) -> list[str]:
    for run in runs:
        assert done(run).state == "succeeded"
    return sorted(result.key for run in runs for result in run.results())


def found(mill: Promptmill, pool: str, key: str) -> Run:
    def is_found() -> bool:
        try:
            mill.find_pooled(pool, key)
        except RunNotFound:
            return False
        return True

    wait_until(is_found, f"a run with {key}")
    return mill.find_pooled(pool, key)


def test_prompts_of_many_callers_are_answered_once_each_in_a_few_runs(mill: Promptmill) -> None:
    with ThreadPoolExecutor(4) as callers:
        tickets = list(
            callers.map(lambda n: mill.enqueue(f"Say {n}", key=f"t-{n}", pool="many"), range(100))
        )
    for ticket in tickets:
        found(mill, ticket.pool, ticket.key)

    runs = runs_of(mill, "many")
    assert answered(runs) == sorted(f"t-{n}" for n in range(100))
    assert len(runs) <= 6
    assert {run.status.name for run in runs} == {"many"}


def test_the_command_line_sends_single_prompts_and_finds_the_run_they_are_in(
    pools: LocalStack, mill: Promptmill
) -> None:
    first = pools.cli(
        "enqueue", "Say one", "--pool", "typed", "--key", "t-1", "--label", "team=growth"
    )
    second = pools.cli("enqueue", "-", "--pool", "typed", "--label", "team=growth", stdin="Say two")
    assert first.stdout == "t-1\n"
    keys = ["t-1", second.stdout.strip()]

    early = pools.cli("find-pooled", "nobody", "--pool", "typed")
    assert (early.returncode, early.stdout) == (1, "")
    assert "has a request with key 'nobody' yet" in early.stderr
    for key in keys:
        found(mill, "typed", key)

    runs = [pools.read_cli("find-pooled", key, "--pool", "typed").strip() for key in keys]
    assert runs == [found(mill, "typed", key).id for key in keys]
    assert {run.status.labels["team"] for run in runs_of(mill, "typed")} == {"growth"}
    assert answered(runs_of(mill, "typed")) == sorted(keys)


def test_a_call_that_is_repeated_counts_once_and_other_content_with_its_key_goes_into_the_next_run(
    mill: Promptmill,
) -> None:
    mill.enqueue("Say one", key="a", pool="again")
    mill.enqueue("Say one", key="a", pool="again")
    mill.enqueue([{"key": "a", "prompt": "Say one"}, {"key": "b", "prompt": "Say b"}], pool="again")
    mill.enqueue("Say two", key="a", pool="again")
    found(mill, "again", "b")
    wait_until(lambda: len(runs_of(mill, "again")) == 2, "the next run")

    assert answered(runs_of(mill, "again")) == ["a", "a", "b"]


def test_prompts_with_other_options_make_another_run(mill: Promptmill) -> None:
    one = mill.enqueue("Say one", pool="options")
    other = mill.enqueue("Say one", pool="options", labels={"team": "growth"})

    runs = {found(mill, "options", ticket.key).id for ticket in (one, other)}
    assert len(runs) == 2
    assert answered([mill.get(run) for run in runs]) == sorted([one.key, other.key])


def test_what_cannot_be_sent_is_refused_at_once(mill: Promptmill) -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        mill.enqueue(["Say one", " "], pool="bad")
    with pytest.raises(InvalidRequest, match="same key"):
        mill.enqueue([{"key": "a", "prompt": "b"}, {"key": "a", "prompt": "c"}], pool="bad")
    with pytest.raises(ConfigurationError, match="a pool name must have"):
        mill.enqueue("Say one", pool="../bad")
    with pytest.raises(RunNotFound):
        mill.find_pooled("bad", "a")


def test_a_stream_is_one_run_of_what_was_added(mill: Promptmill) -> None:
    with mill.stream(model=MODEL, name="tickets") as stream:
        for number in range(50):
            stream.add(f"Say {number}", key=f"t-{number}")
        stream.add({"prompt": "Say hello", "metadata": {"shop": 7}})

    status = done(stream.run)
    assert (status.name, status.state, status.succeeded) == ("tickets", "succeeded", 51)
    assert {result.key for result in stream.run.results()} == {
        *(f"t-{number}" for number in range(50)),
        "51",
    }


def test_a_stream_that_an_exception_ends_is_a_run_that_is_cancelled(pools: LocalStack) -> None:
    with surroundings(pools.environment | {"PROMPTMILL_CHUNK_BYTES": "16384"}):
        mill = Promptmill()
    with pytest.raises(KeyError), mill.stream() as stream:
        for number in range(40):
            stream.add(f"Say {number}: {'word ' * 300}")
        raise KeyError

    assert done(stream.run).state == "cancelled"


def test_a_stream_refuses_what_submit_refuses(mill: Promptmill) -> None:
    with pytest.raises(EmptyRun), mill.stream():
        pass
    with pytest.raises(DuplicateKey), mill.stream() as stream:
        stream.add("Say one", key="a")
        stream.add("Say two", key="a")


def test_the_same_stream_with_an_idempotency_key_is_the_same_run(mill: Promptmill) -> None:
    runs = []
    for _ in range(2):
        with mill.stream(idempotency_key="stream/1") as stream:
            stream.add("Say one")
        runs.append(stream.run)

    assert runs[0].id == runs[1].id
    assert done(runs[0]).succeeded == 1
