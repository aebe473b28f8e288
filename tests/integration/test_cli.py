"""The command line with a real Redis and, where it starts them, real workers."""

import csv
import http.client
import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner, Result

from promptmill.cli.app import app
from promptmill.config import settings
from promptmill.local.ports import reserve_ports
from promptmill.producers.contract.connection import Connection
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.contract.run_index import RunIndex
from promptmill.producers.contract.status import ShardStatus
from promptmill.producers.pricing.cost import Cost
from promptmill.producers.pricing.estimate import Estimate
from promptmill.workers.facts import dead_letters
from promptmill.workers.services import build_services
from support.local_stack import QUICK, SERVERS, LocalStack, running, surroundings
from support.waiting import PATIENCE, wait_until

GUESS = Estimate(3, 0, 100, 400, 768, 9000, usd=0.5, usd_least=0.1, usd_most=2.0, online_usd=1.0)
JOB = "projects/p/locations/l/batchPredictionJobs/42"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with running(tmp_path_factory.mktemp("redis"), ("redis",)) as stack:
        yield stack


@pytest.fixture
def server(stack: LocalStack) -> "Iterator[redis.Redis]":
    """An empty Redis."""
    with redis.Redis.from_url(stack.environment["PROMPTMILL_REDIS_URL"]) as client:
        client.flushall()
        yield client


@pytest.fixture
def index(stack: LocalStack, server: "redis.Redis") -> RunIndex:
    """An index without runs, in a broker without messages."""
    return RunIndex(Connection(stack.environment["PROMPTMILL_REDIS_URL"]))


Cli = Callable[..., Result]


@pytest.fixture
def cli(stack: LocalStack, server: "redis.Redis") -> Iterator[Cli]:
    """Runs the command line in this process."""
    logging_before = logging.root.handlers[:], logging.root.level

    def run(*arguments: str, stdin: str = "") -> Result:
        return CliRunner().invoke(
            app, arguments, input=stdin, env=stack.environment, catch_exceptions=False
        )

    yield run
    logging.root.handlers[:], level = logging_before
    logging.root.setLevel(level)


def opened(index: RunIndex, run: str, created: float = 1_795_000_000.0) -> str:
    index.open_run(
        Manifest(run, "publishers/google/models/gemini-3.8-flash", created, name=f"name of {run}")
    )
    index.record_seal(run, requests=1500, chunks=1)
    index.set_shard(run, ShardStatus(0, "submitted", 1500, job=JOB, job_state="JOB_STATE_RUNNING"))
    return run


def ended(index: RunIndex, run: str, state: str) -> str:
    opened(index, run)
    index.set_shard(
        run,
        ShardStatus(
            0, "settled", 1500, succeeded=1490, failed=10, job=JOB, job_state="JOB_STATE_SUCCEEDED"
        ),
    )
    index.end_run(run, state, ended=1_795_000_027.0)
    return run


@contextmanager
def started(
    directory: Path, environment: Mapping[str, str], *arguments: str
) -> Iterator["subprocess.Popen[str]"]:
    """A `promptmill` that goes on, with what it says on stderr and stdout together; stopped in the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "promptmill.cli", *arguments],
        env=os.environ | environment | {"PYTHONUNBUFFERED": "1"},
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    impatience = threading.Timer(3 * PATIENCE, process.kill)
    impatience.start()
    try:
        yield process
        process.terminate()
        process.communicate(timeout=PATIENCE)
    finally:
        impatience.cancel()
        process.kill()
        process.communicate()


def lines_until(process: "subprocess.Popen[str]", wanted: str) -> list[str]:
    """What a process says up to the first line with these words."""
    assert process.stdout
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        if wanted in line:
            return said
    raise AssertionError(f"it never said {wanted!r}: {''.join(said)}")


def test_costs_are_told_from_the_index_for_thousands_of_runs(cli: Cli, index: RunIndex) -> None:
    for number in range(1200):
        labels = {"team": "growth" if number % 3 else "shop"}
        created = 1_795_000_000.0 + 86_400 * (number % 2)
        index.open_run(
            Manifest(
                f"01r{number}", "publishers/google/models/gemini-3.8-flash", created, labels=labels
            )
        )
        index.record_estimate(f"01r{number}", Cost(estimate=GUESS))
        if number % 4:
            index.end_run(
                f"01r{number}", "succeeded", cost=Cost(usd=0.01, online_usd=0.02, estimate=GUESS)
            )

    by_label = [
        json.loads(line)
        for line in cli("costs", "--by", "label", "--format", "jsonl").stdout.splitlines()
    ]
    since = json.loads(cli("costs", "--since", "2026-11-19", "--format", "json").stdout)

    assert [row["label"] for row in by_label] == ["team=growth", "team=shop"]
    assert by_label[1] == {
        "label": "team=shop",
        "runs": 400,
        "usd": 3.0,
        "online_usd": 6.0,
        "estimated_usd": 150.0,
        "under_way": 100,
        "unknown": 0,
    }
    assert [(row["day"], row["runs"], row["usd"]) for row in since] == [("2026-11-19", 600, 6.0)]
    assert "$9.00" in cli("costs", "--by", "model").stdout


def test_a_run_shows_what_is_expected_and_then_what_it_cost(cli: Cli, index: RunIndex) -> None:
    run = opened(index, "01cost")
    index.record_estimate(run, Cost(estimate=GUESS))

    assert "estimated $0.500" in cli("describe", run).stdout
    assert "($0.500)" in cli("list").stdout
    index.end_run(run, "failed", cost=Cost(usd=0.25, estimate=GUESS, over_budget=True))
    index.record_estimate(run, Cost(estimate=GUESS))  # a late copy of a message changes nothing
    assert "$0.250 (estimated $0.500" in cli("describe", run).stdout
    assert json.loads(cli("describe", run, "--format", "json").stdout)["cost"]["usd"] == 0.25
    assert json.loads(cli("list", "--format", "json").stdout)[0]["usd"] == 0.25
    assert cli("wait", run).exit_code == 7


def test_where_there_are_no_runs_the_list_says_how_to_make_one(cli: Cli, index: RunIndex) -> None:
    shown = cli("list")

    assert (shown.exit_code, shown.stdout) == (0, "")
    assert "promptmill submit" in shown.stderr
    assert json.loads(cli("list", "--format", "json").stdout) == []


def test_the_list_has_the_newest_run_first(cli: Cli, index: RunIndex) -> None:
    opened(index, "older", 1_795_000_000.0)
    ended(index, "newer", "succeeded")
    opened(index, "newest", 1_795_000_100.0)
    opened(index, "newer", 1_795_000_050.0)

    rows = list(csv.DictReader(io.StringIO(cli("list", "--format", "csv", "--limit", "2").stdout)))

    assert [row["run"] for row in rows] == ["newest", "newer"]
    assert rows[0]["state"] == "running"
    assert rows[0]["model"] == "gemini-3.8-flash"
    assert rows[0]["created"] == "2026-11-18T11:08:20Z"


def test_a_run_is_described_in_a_sentence_with_its_jobs(cli: Cli, index: RunIndex) -> None:
    opened(index, "01kq1")

    text = cli("describe", "01kq1").stdout

    assert text.startswith("Vertex AI is running 1 job: 0 of 1,500 done")
    assert JOB in text
    assert "name of 01kq1" in text
    assert "\x1b" not in text


def test_a_run_is_described_to_programs_with_every_field(cli: Cli, index: RunIndex) -> None:
    ended(index, "01kq1", "partially_succeeded")

    facts = json.loads(cli("describe", "01kq1", "--format", "json").stdout)

    assert (facts["state"], facts["done"], facts["jobs"]) == ("partially_succeeded", True, 1)
    assert (facts["requests"], facts["succeeded"], facts["failed"]) == (1500, 1490, 10)
    assert (facts["created"], facts["ended"], facts["seconds"]) == (
        "2026-11-18T11:06:40Z",
        "2026-11-18T11:07:07Z",
        27.0,
    )
    assert facts["shards"][0]["job"] == JOB


def test_an_id_may_be_shortened_while_it_fits_one_run_only(cli: Cli, index: RunIndex) -> None:
    opened(index, "01kq1")
    opened(index, "01kr2")

    assert "01kr2" in cli("describe", "01kr").stdout
    assert cli("describe", "01k").stderr.startswith("error: '01k' matches 2 runs, newest ")
    assert (
        cli("describe", "02").stderr
        == "error: no run has an id that starts with '02'; list runs with promptmill list\n"
    )
    assert cli("describe", "02").exit_code == 1


@pytest.mark.parametrize(
    ("state", "code"),
    [("succeeded", 0), ("partially_succeeded", 3), ("failed", 4), ("cancelled", 5), ("expired", 6)],
)
def test_waiting_tells_by_its_exit_code_how_a_run_ended(
    cli: Cli, index: RunIndex, state: str, code: int
) -> None:
    ended(index, "01kq1", state)

    waited = cli("wait", "01kq")

    assert waited.exit_code == code
    assert "1,500" in waited.stderr
    assert "Traceback" not in waited.stderr


def test_a_wait_ends_when_its_time_is_up(cli: Cli, index: RunIndex) -> None:
    opened(index, "01kq1")

    waited = cli("wait", "01kq1", "--timeout", "0.5s")

    assert waited.exit_code == 124
    assert (
        waited.stderr.splitlines()[-1]
        == "error: run 01kq1 is still running after 0.5 s; it continues"
    )


@pytest.mark.parametrize("verb", ["wait", "watch"])
def test_ctrl_c_stops_the_waiting_and_not_the_run(
    stack: LocalStack, index: RunIndex, verb: str
) -> None:
    opened(index, "01kq1")

    with started(stack.directory, stack.environment, verb, "01kq1") as process:
        lines_until(process, "0 of 1,500 done")
        process.send_signal(signal.SIGINT)
        lines_until(process, "the run continues; follow it with: promptmill wait 01kq1")
        assert process.wait(PATIENCE) == 130


def test_all_runs_can_be_watched_where_there_is_no_terminal(
    stack: LocalStack, index: RunIndex
) -> None:
    opened(index, "01kq1")

    with started(stack.directory, stack.environment, "watch") as process:
        lines_until(process, "running")
        ended(index, "01kq1", "succeeded")
        lines_until(process, "succeeded")


def test_submitting_prints_the_id_alone(cli: Cli, index: RunIndex) -> None:
    sent = cli(
        "submit",
        "-",
        "--name",
        "hello",
        "--label",
        "team=growth",
        stdin="good morning\nsee you soon\n",
    )

    assert sent.exit_code == 0
    assert [sent.stdout.strip()] == index.list_runs(10)
    manifest = index.find_manifest(sent.stdout.strip())
    assert manifest
    assert (manifest.name, manifest.labels) == ("hello", {"team": "growth"})
    assert index.get_status(manifest.run).requests == 2


def test_rows_that_are_refused_are_named_and_the_rest_goes_on(cli: Cli, index: RunIndex) -> None:
    rows = "".join(
        json.dumps({"key": f"k{row}", "prompt": "" if row % 2 else "fine"}) + "\n"
        for row in range(30)
    )

    sent = cli("submit", "-", stdin=rows)

    assert sent.exit_code == 0
    refused = [line for line in sent.stderr.splitlines() if line.startswith("refused: ")]
    assert refused[0] == "refused: row 2 (key 'k1'): the prompt is empty"
    assert refused[10:] == ["refused: 5 more rows"]


def test_rows_of_a_file_are_sent_through_a_template(
    cli: Cli, index: RunIndex, tmp_path: Path
) -> None:
    (tmp_path / "reviews.csv").write_text("id,text\n7,good\n8,\n")
    options = ("--template", "{{ text }}", "--key", "id", "--config", '{"temperature": 0}')

    sent = cli("submit", str(tmp_path / "reviews.csv"), *options)

    assert sent.exit_code == 0
    assert index.get_status(sent.stdout.strip()).requests == 2
    assert "refused: row 2 (key '8'): the prompt is empty" in sent.stderr


def test_one_row_that_cannot_be_sent_refuses_a_strict_run(cli: Cli, index: RunIndex) -> None:
    sent = cli(
        "submit",
        "-",
        "--strict",
        stdin='{"key": "a", "prompt": "fine"}\n{"key": "b", "prompt": ""}\n',
    )

    assert (sent.exit_code, sent.stdout) == (1, "")
    assert "error: row 2 (key 'b'): the prompt is empty" in sent.stderr
    assert index.list_runs(10) == []


def test_a_broken_line_leaves_nothing_to_be_paid_for(cli: Cli, index: RunIndex) -> None:
    sent = cli("submit", "-", stdin='{"prompt": "fine"}\n{oops\n')

    assert (sent.exit_code, sent.stdout) == (1, "")
    assert sent.stderr.startswith("error: standard input line 2: not valid JSON")
    assert index.list_runs(10) == []


def test_a_run_is_described_with_its_labels(cli: Cli, index: RunIndex) -> None:
    run = cli(
        "submit", "--prompt", "hi", "--label", "team=growth", "--label", "shop=7"
    ).stdout.strip()

    assert "labels       team=growth, shop=7\n" in cli("describe", run).stdout
    assert json.loads(cli("describe", run, "--format", "json").stdout)["labels"] == {
        "team": "growth",
        "shop": "7",
    }


def test_what_version_1_noted_in_redis_is_still_told(cli: Cli, server: "redis.Redis") -> None:
    recorded = json.loads(
        (Path(__file__).parents[1] / "contract" / "messages" / "v1" / "index.json").read_text()
    )
    server.zadd("promptmill:runs", recorded.pop("promptmill:runs"))
    for key, fields in recorded.items():
        server.hset(key, mapping=fields | {"colour": "blue"})

    facts = json.loads(cli("describe", "01jtest", "--format", "json").stdout)

    assert (facts["state"], facts["name"], facts["labels"]) == (
        "cancelling",
        "reviews",
        {"team": "growth"},
    )
    assert (facts["requests"], facts["succeeded"], facts["failed"], facts["jobs"]) == (6, 3, 2, 2)
    assert [(one["shard"], one["attempt"], one["job_state"]) for one in facts["shards"]] == [
        (0, 1, "JOB_STATE_SUCCEEDED"),
        (0, 2, "JOB_STATE_RUNNING"),
    ]


def test_how_often_a_request_is_tried_is_up_to_the_sender(cli: Cli, index: RunIndex) -> None:
    sent = cli("submit", "--prompt", "hi", "--max-attempts", "5")

    manifest = index.find_manifest(sent.stdout.strip())
    assert manifest
    assert manifest.max_attempts == 5


def test_what_has_ended_cannot_be_cancelled(
    cli: Cli, index: RunIndex, server: "redis.Redis"
) -> None:
    ended(index, "01kq1", "succeeded")

    told = cli("cancel", "01kq1")

    assert (told.exit_code, told.stdout) == (0, "")
    assert told.stderr.startswith("the run has already ended. All 1,500 requests succeeded")
    assert server.llen("promptmill.jobs") == 0


def test_doctor_names_what_is_missing_and_what_mends_it(cli: Cli, index: RunIndex) -> None:
    seen = cli("doctor", "--format", "json")

    checks = {check["name"]: check for check in json.loads(seen.stdout)}
    assert seen.exit_code == 1
    assert checks["broker"]["ok"]
    assert checks["persistence"]["ok"]
    assert checks["eviction"]["ok"]
    assert checks["worker for poll"]["ok"] is False
    assert checks["worker for poll"]["remedy"] == "promptmill worker --queues poll"
    assert checks["bucket"]["remedy"] == "export PROMPTMILL_BUCKET=gs://BUCKET/promptmill"


def test_doctor_finds_a_redis_that_forgets(cli: Cli, server: "redis.Redis") -> None:
    server.config_set("maxmemory-policy", "allkeys-lru")
    try:
        text = cli("doctor").stdout
    finally:
        server.config_set("maxmemory-policy", "noeviction")

    assert "✗ eviction" in text
    assert "redis-cli config set maxmemory-policy noeviction" in text


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack whose jobs stay in Vertex's queue, and where nobody sweeps but who is asked to."""
    with running(tmp_path_factory.mktemp("slow"), (*SERVERS, "worker", "poll")) as stack:
        stack.fault("job", "queued", times=None)
        yield stack


def submitted(slow: LocalStack) -> str:
    """Send a run, and wait until its job is there."""
    sent = slow.cli(
        "submit", "--prompt", "good morning", "--prompt", "good night", "--max-attempts", "1"
    )
    run = sent.stdout.strip()
    wait_until(
        lambda: json.loads(slow.read_cli("describe", run, "--format", "json"))["jobs"],
        "the job",
    )
    return run


def test_a_run_is_cancelled(slow: LocalStack) -> None:
    run = submitted(slow)

    cancelled = slow.cli("cancel", run, "--wait")

    assert (cancelled.returncode, cancelled.stdout) == (5, "")
    assert cancelled.stderr.startswith(
        f"cancelling run {run}; completed rows are kept and delivered\n"
    )
    assert cancelled.stderr.splitlines()[-1].startswith("The run was cancelled")
    assert {row["reason"] for row in rows(slow.cli("failures", run, "--format", "jsonl"))} == {
        "JOB_CANCELLED"
    }


def test_a_sweep_brings_back_what_redis_has_lost_and_a_dry_one_only_says_so(
    slow: LocalStack,
) -> None:
    run = submitted(slow)
    with redis.Redis.from_url(slow.environment["PROMPTMILL_REDIS_URL"]) as client:
        client.flushall()

    dry = rows(slow.cli("reconcile", "--dry-run", "--format", "jsonl"))
    assert slow.cli("describe", run).returncode == 1
    wet = rows(slow.cli("reconcile", "--format", "jsonl"))
    again = slow.cli("describe", run)

    assert {"run": run, "finding": f"would send {run}.s000.a1.poll"} in dry
    assert {"run": run, "finding": "restored the run in Redis"} in wet
    assert again.stdout.startswith("1 job with 2 requests in Vertex AI's queue")
    assert slow.cli("cancel", run, "--wait").returncode == 5


def test_a_dead_letter_is_listed_until_it_is_sent_again(slow: LocalStack) -> None:
    run = submitted(slow)
    parked = f"{run}.cancel"
    with surroundings(slow.environment):
        dead_letters.park_task(
            build_services(settings.load_settings()).bucket,
            parked,
            "promptmill.cancel",
            [run],
            "the worker died 3 times",
        )

    listed = rows(slow.cli("dead-letters", "--format", "jsonl"))
    refused = slow.cli("dead-letters", "--replay", "../run.json")
    unknown = slow.cli("dead-letters", "--replay", "nobody.plan")
    replayed = slow.cli("dead-letters", "--all")

    assert [(one["step"], one["task"], one["reason"]) for one in listed] == [
        (parked, "promptmill.cancel", "the worker died 3 times")
    ]
    assert (refused.returncode, "not a step id" in refused.stderr) == (2, True)
    assert (unknown.returncode, unknown.stderr) == (
        1,
        "error: no dead letter nobody.plan; list them with promptmill dead-letters\n",
    )
    assert (replayed.stdout, replayed.stderr) == (f"{parked}\n", "1 dead letter queued again\n")
    assert slow.cli("dead-letters").stderr == "no dead letters\n"
    assert slow.cli("wait", run).returncode == 5


def rows(shown: "subprocess.CompletedProcess[str]") -> list[dict[str, str]]:
    """What a command shows as lines of JSON."""
    assert shown.returncode == 0, shown.stderr
    return [json.loads(line) for line in shown.stdout.splitlines()]


def test_a_worker_a_beat_and_a_flower_run_as_celery_has_them(
    stack: LocalStack, cli: Cli, server: "redis.Redis"
) -> None:
    with (
        reserve_ports({"flower": 0}) as ports,
        started(
            stack.directory, stack.environment, "worker", "--queues", "poll", "--name", "eye"
        ) as worker,
        started(stack.directory, stack.environment, "beat") as beat,
        started(
            stack.directory, stack.environment, "flower", "--port", str(port := ports["flower"])
        ) as flower,
    ):
        assert any(f"eye-{worker.pid}@" in line for line in lines_until(worker, " ready."))
        lines_until(beat, "beat: Starting")
        lines_until(flower, f"Visit me at http://127.0.0.1:{port}")
        assert wait_until(lambda: status(port, "/healthcheck") == 200, "Flower is healthy")
        checks = {
            check["name"]: check for check in json.loads(cli("doctor", "--format", "json").stdout)
        }

    assert checks["worker for poll"]["ok"] is True
    assert checks["worker for work"]["ok"] is False
    assert not list(stack.directory.glob("celerybeat*"))


def status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except ConnectionError:
        return 0
    finally:
        connection.close()


def test_up_runs_everything_the_demo_uses_it_and_down_stops_it(tmp_path: Path) -> None:
    def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "promptmill.cli", *arguments]
        settings = os.environ | environment
        return subprocess.run(
            command,
            env=settings,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    with started(tmp_path, QUICK, "up", "--latency", "1s", "--workers", "1") as up:
        said = lines_until(up, "all services are ready")
        exports = dict(
            line.removeprefix("export ").strip().split("=", 1)
            for line in said
            if line.startswith("export ")
        )
        demo = run("demo", "--requests", "30", "--format", "json")
        healthy = run("doctor", **exports)
        lost = run("doctor", **exports | {"PROMPTMILL_BUCKET": "gs://nowhere/at-all"})
        down = run("down")
        assert up.wait(PATIENCE) == 0

    report = json.loads(demo.stdout.splitlines()[-1])
    assert (demo.returncode, report["state"], report["succeeded"], report["unaccounted"]) == (
        0,
        "succeeded",
        30,
        0,
    )
    assert len(Path(report["answers"]).read_bytes().splitlines()) == 30
    assert "nothing is billed" in demo.stderr
    assert (healthy.returncode, healthy.stderr) == (0, "")
    assert "✗ bucket access" in lost.stdout
    assert "gcloud storage buckets create gs://nowhere" in lost.stdout
    assert (down.returncode, down.stderr) == (0, "all services stopped\n")
