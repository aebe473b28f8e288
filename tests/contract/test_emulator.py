"""The emulator as a process, through the real clients: JobServiceClient over REST, and Cloud Storage's over sockets."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud.aiplatform_v1 import JobServiceClient
from google.cloud.aiplatform_v1.types import BatchPredictionJob
from google.cloud.storage import Bucket, Client

from contract.own import running_storage
from support.calibration import stopwatch
from support.http_server import HttpAnswer, HttpCall, serve_http
from support.waiting import PATIENCE, wait_until

PARENT = "projects/p/locations/global"


class Emulator:
    """A running emulator with the clients of its API."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "promptmill.emulator", "--port", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.greeting = self.process.stdout.readline()
        self.url = self.greeting.split()[-1]
        options_ = ClientOptions(api_endpoint=self.url)
        credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
        self.jobs = JobServiceClient(
            transport="rest", client_options=options_, credentials=credentials
        )

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        printed, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, printed

    def admin(self, path: str, method: str = "GET", body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        call = urllib.request.Request(f"{self.url}/{path}", data, method=method)
        with urllib.request.urlopen(call, timeout=PATIENCE) as answer:
            return json.load(answer)

    def fault(self, on: str, fault: str, **more: Any) -> None:
        self.admin("admin/faults", "POST", {"on": on, "fault": fault, "times": 1} | more)

    def create(self, parent: str = PARENT, **more: Any) -> BatchPredictionJob:
        return self.jobs.create_batch_prediction_job(
            parent=parent,
            batch_prediction_job=BatchPredictionJob(description(**more)),
            timeout=PATIENCE,
        )

    def get(self, name: str, timeout: float = PATIENCE) -> BatchPredictionJob:
        return self.jobs.get_batch_prediction_job(name=name, timeout=timeout)

    def list(self, filter_text: str = "", page_size: int = 0) -> list[str]:
        request = {"parent": PARENT, "filter": filter_text, "page_size": page_size}
        return [
            job.name
            for job in self.jobs.list_batch_prediction_jobs(request=request, timeout=PATIENCE)
        ]

    def ended(self, name: str) -> BatchPredictionJob:
        job = wait_until(lambda: self._if_ended(name), f"the end of {name}")
        assert job
        return job

    def _if_ended(self, name: str) -> BatchPredictionJob | None:
        job = self.get(name)
        return (
            job
            if job.state.name.removeprefix("JOB_STATE_") in {"SUCCEEDED", "FAILED", "CANCELLED"}
            else None
        )


def description(**more: Any) -> dict[str, Any]:
    return {
        "display_name": "nightly",
        "model": "publishers/google/models/gemini-3.8-flash",
        "input_config": {
            "instances_format": "jsonl",
            "gcs_source": {"uris": ["gs://mill/in.jsonl"]},
        },
        "output_config": {
            "predictions_format": "jsonl",
            "gcs_destination": {"output_uri_prefix": "gs://mill/out"},
        },
        "labels": {"run": "r1"},
    } | more


def row(number: int, text: str = "Translate to Spanish: good morning") -> bytes:
    request = {"contents": [{"role": "user", "parts": [{"text": f"{text} {number}"}]}]}
    return json.dumps({"key": f"k{number}", "request": request}).encode() + b"\n"


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with (
        running_storage(tmp_path_factory.mktemp("storage")) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("STORAGE_EMULATOR_HOST", server.url)
        patch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "1")
        credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
        client = Client(project="p", credentials=credentials)
        yield client.create_bucket("mill")
        client.close()


@pytest.fixture(scope="module")
def rows(bucket: Bucket) -> int:
    bucket.blob("in.jsonl").upload_from_string(b"".join(row(number) for number in range(200)))
    return 200


@contextlib.contextmanager
def running(*options: str) -> Iterator[Emulator]:
    emulator = Emulator(*options)
    try:
        yield emulator
    finally:
        if emulator.process.poll() is None:
            emulator.stop()
        assert emulator.process.stdout
        emulator.process.stdout.close()
        emulator.jobs.transport.close()  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def shared(bucket: Bucket, rows: int) -> Iterator[Emulator]:
    with running("--latency", "600ms") as emulator:
        yield emulator


@pytest.fixture
def emulator(shared: Emulator) -> Iterator[Emulator]:
    yield shared
    shared.admin("admin/faults", "DELETE")


def lines(bucket: Bucket, job: BatchPredictionJob) -> list[dict[str, Any]]:
    directory = job.output_info.gcs_output_directory.removeprefix("gs://mill/")
    return [
        json.loads(line)
        for line in bucket.blob(f"{directory}/predictions.jsonl").download_as_bytes().splitlines()
    ]


def test_a_job_goes_from_creation_to_its_output(
    emulator: Emulator, bucket: Bucket, rows: int
) -> None:
    created = emulator.create()

    ended: Any = emulator.ended(created.name)

    assert created.state.name == "JOB_STATE_PENDING"
    assert ended.state.name == "JOB_STATE_SUCCEEDED"
    assert ended.completion_stats.successful_count == rows
    assert 0.6 <= (ended.end_time - ended.create_time).total_seconds() < 5
    answered = lines(bucket, ended)
    assert sorted(line["key"] for line in answered) == sorted(
        f"k{number}" for number in range(rows)
    )
    assert answered[0]["response"]["candidates"][0]["content"]["parts"][0]["text"].startswith(
        "[emulated"
    )


def test_a_model_that_does_not_exist_is_not_found(emulator: Emulator) -> None:
    with pytest.raises(exceptions.NotFound, match="gemini-0-nothing"):
        emulator.create(model="publishers/google/models/gemini-0-nothing")


def test_a_region_has_no_jobs_of_current_models(emulator: Emulator) -> None:
    with pytest.raises(exceptions.NotFound, match="MODEL_NOT_SUPPORTED_FOR_BATCH"):
        emulator.create("projects/p/locations/us-central1")
    assert emulator.create("projects/p/locations/eu").name.startswith("projects/p/locations/eu/")


@pytest.mark.parametrize(
    ("host", "status"),
    [("us-aiplatform.googleapis.com", 400), ("aiplatform.us.rep.googleapis.com", 404)],
)
def test_a_multi_region_is_called_at_a_host_of_its_own(
    emulator: Emulator, host: str, status: int
) -> None:
    path = "v1/projects/p/locations/us/batchPredictionJobs"
    body = json.dumps(
        {
            "displayName": "nightly",
            "model": "publishers/google/models/gemini-0-nothing",
            "inputConfig": {
                "instancesFormat": "jsonl",
                "gcsSource": {"uris": ["gs://mill/in.jsonl"]},
            },
            "outputConfig": {
                "predictionsFormat": "jsonl",
                "gcsDestination": {"outputUriPrefix": "gs://mill/out"},
            },
        }
    )

    answer = requests.post(f"{emulator.url}/{path}", body, headers={"Host": host}, timeout=PATIENCE)

    assert answer.status_code == status
    assert (answer.json()["error"]["message"] == "Invalid hostname") == (status == 400)


def test_a_date_decides_which_models_are_retired(bucket: Bucket, rows: int) -> None:
    with running("--today", "2030-01-01") as emulator, pytest.raises(exceptions.NotFound):
        emulator.create()


def test_texts_are_embedded(emulator: Emulator, bucket: Bucket) -> None:
    request = {
        "content": {"parts": [{"text": "Hello World"}]},
        "embed_content_config": {"output_dimensionality": 768},
    }
    bucket.blob("texts.jsonl").upload_from_string(json.dumps({"key": "id_1", "request": request}))
    source = {"instances_format": "jsonl", "gcs_source": {"uris": ["gs://mill/texts.jsonl"]}}

    model = "publishers/google/models/gemini-embedding-2"
    ended = emulator.ended(emulator.create(model=model, input_config=source).name)

    (line,) = lines(bucket, ended)
    assert (line["key"], line["request"]) == ("id_1", request)
    assert len(line["response"]["embedding"]["values"]) == 768


def test_an_invalid_job_is_an_invalid_argument(emulator: Emulator) -> None:
    with pytest.raises(exceptions.BadRequest, match="display_name"):
        emulator.create(display_name="")


def test_a_bucket_that_does_not_exist_fails_the_job_late(emulator: Emulator) -> None:
    destination = {
        "predictions_format": "jsonl",
        "gcs_destination": {"output_uri_prefix": "gs://nobody/out"},
    }

    failed = emulator.ended(emulator.create(output_config=destination).name)

    assert failed.state.name == "JOB_STATE_FAILED"
    assert failed.error.code == 9
    assert failed.error.message.startswith("Failed to get GCS bucket location")


def test_a_file_that_cannot_be_imported_fails_the_job(emulator: Emulator, bucket: Bucket) -> None:
    bucket.blob("bad/1.jsonl").upload_from_string(
        row(1) + b'{"key": "k2", "request": {"tools": [{"search": {}}]}}\n'
    )
    source = {"instances_format": "jsonl", "gcs_source": {"uris": ["gs://mill/bad/*.jsonl"]}}

    failed = emulator.ended(emulator.create(input_config=source).name)

    assert failed.error.code == 3
    assert "Cannot store struct" in failed.error.message


def test_jobs_are_listed_by_label_and_state_over_several_pages(emulator: Emulator) -> None:
    names = [
        emulator.create(labels={"run": "paged", "shard": str(number)}).name for number in range(5)
    ]
    for name in names:
        emulator.ended(name)

    assert (
        emulator.list('labels.run=paged AND state="JOB_STATE_SUCCEEDED"', page_size=2)
        == names[::-1]
    )
    assert emulator.list("labels.run=paged AND labels.shard=3") == [names[3]]
    with pytest.raises(exceptions.BadRequest, match="colour"):
        emulator.list("colour=red")


def test_a_job_is_cancelled_once_and_deleted_after_its_end(emulator: Emulator) -> None:
    name = emulator.create().name

    emulator.jobs.cancel_batch_prediction_job(name=name, timeout=PATIENCE)
    assert emulator.ended(name).state.name == "JOB_STATE_CANCELLED"
    with pytest.raises(exceptions.BadRequest, match="cannot be cancelled"):
        emulator.jobs.cancel_batch_prediction_job(name=name, timeout=PATIENCE)

    deletion: Any = emulator.jobs.delete_batch_prediction_job(name=name, timeout=PATIENCE)
    assert deletion.done()
    with pytest.raises(exceptions.NotFound):
        emulator.get(name)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, exceptions.TooManyRequests),
        (500, exceptions.InternalServerError),
        (503, exceptions.ServiceUnavailable),
        (403, exceptions.Forbidden),
    ],
)
def test_a_call_fails_before_its_effect(
    emulator: Emulator, status: int, error: type[Exception]
) -> None:
    emulator.fault("create", "status", status=status)

    with pytest.raises(error):
        emulator.create(labels={"run": f"before-{status}"})

    assert emulator.list(f"labels.run=before-{status}") == []


def test_the_answer_to_a_create_is_lost_but_the_job_exists(emulator: Emulator) -> None:
    emulator.fault("create", "after")
    with pytest.raises(requests.ConnectionError):
        emulator.create(labels={"run": "lost"})

    emulator.fault("create", "after", status=503)
    with pytest.raises(exceptions.ServiceUnavailable):
        emulator.create(labels={"run": "lost"})

    assert len(emulator.list("labels.run=lost")) == 2


def test_a_call_is_slow(emulator: Emulator) -> None:
    name = emulator.create().name
    emulator.fault("get", "delay", seconds=20)

    with pytest.raises(requests.ReadTimeout):
        emulator.get(name, timeout=0.2)


def test_a_new_job_is_not_listed_at_once(bucket: Bucket, rows: int) -> None:
    with running("--latency", "600ms") as emulator:
        emulator.fault("list", "stale-list", seconds=PATIENCE)
        name = emulator.create().name

        assert emulator.list() == []
        emulator.admin("admin/clock", "POST", {"speed": 3600})
        assert wait_until(emulator.list) == [name]


def test_faults_come_from_a_file_too(bucket: Bucket, rows: int, tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    file.write_text(
        '[{"on": "output", "fault": "missing", "count": 3}, {"on": "job", "fault": "FAILED", "times": 1}]'
    )

    with running("--latency", "0s", "--faults", str(file)) as emulator:
        states = [emulator.ended(emulator.create().name) for _ in range(2)]

        assert [job.state.name for job in states] == ["JOB_STATE_FAILED", "JOB_STATE_SUCCEEDED"]
        assert len(lines(bucket, states[1])) == rows - 3


def test_the_emulator_speaks_v1beta1_and_answers_errors_as_google_does(emulator: Emulator) -> None:
    name = emulator.create(labels={"run": "beta"}).name

    assert emulator.admin(f"v1beta1/{name}")["name"] == name
    for path in (f"v2/{name}", "v1/nothing", f"v1/{PARENT}/batchPredictionJobs/1"):
        answer = requests.get(f"{emulator.url}/{path}", timeout=PATIENCE)
        assert answer.json()["error"] | {"message": ""} == {
            "code": 404,
            "message": "",
            "status": "NOT_FOUND",
            "details": [],
        }


def test_the_clock_can_be_sped_up_while_a_job_runs(bucket: Bucket, rows: int) -> None:
    with running("--latency", "1h") as emulator:
        name = emulator.create().name

        assert emulator.get(name).state.name in {"JOB_STATE_PENDING", "JOB_STATE_RUNNING"}
        emulator.admin("admin/clock", "POST", {"speed": 3600})

        assert emulator.ended(name).state.name == "JOB_STATE_SUCCEEDED"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_emulator_ends_cleanly_and_prints_its_bill(
    bucket: Bucket, rows: int, number: int
) -> None:
    with running("--latency", "0s") as emulator:
        emulator.ended(emulator.create().name)
        assert emulator.admin("healthz")["status"] == "ok"
        charged = emulator.admin("admin/bill")
        code, printed = emulator.stop(number)

    assert emulator.greeting.startswith("promptmill emulator (not Google): http://127.0.0.1:")
    assert (charged["jobs"], charged["requests"], charged["by_label"]) == (
        1,
        rows,
        {"run=r1": rows},
    )
    assert code == 0
    assert f"1 jobs created, {rows} requests billed" in printed


def test_jobs_survive_the_death_of_the_emulator(bucket: Bucket, rows: int, tmp_path: Path) -> None:
    options = ("--state-dir", str(tmp_path), "--latency", "1s")
    with running(*options) as first:
        name = first.create().name
        first.stop(signal.SIGKILL)

    with running(*options) as second:
        ended = second.ended(name)

        assert ended.completion_stats.successful_count == rows
        assert len(lines(bucket, ended)) == rows
        assert second.admin("admin/bill")["jobs"] == 1


def answer_chat(call: HttpCall) -> HttpAnswer:
    """Answer as a chat server that repeats the prompt in capitals and refuses number 7."""
    text = json.loads(call.body)["messages"][-1]["content"].upper()
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 3}}).encode()
    return HttpAnswer(body, 429 if text.endswith(" 7") else 200)


def test_a_model_server_answers_for_real(bucket: Bucket, rows: int) -> None:
    with (
        serve_http(answer_chat) as server,
        running("--latency", "0s", "--responder", f"openai:{server.url}#tiny") as emulator,
    ):
        ended = emulator.ended(emulator.create().name)
        answered = {line["key"]: line for line in lines(bucket, ended)}

    said = answered["k5"]["response"]["candidates"][0]["content"]["parts"][0]["text"]
    assert said == "TRANSLATE TO SPANISH: GOOD MORNING 5"
    assert answered["k5"]["response"]["usageMetadata"]["promptTokenCount"] == 3
    assert answered["k7"]["status"].startswith("Too Many Requests: ")
    assert (ended.completion_stats.successful_count, ended.completion_stats.failed_count) == (
        rows - 1,
        1,
    )


def test_memory_stays_flat_over_the_size_of_a_job(bucket: Bucket) -> None:
    peaks = []
    for count in (5_500, 20_000):
        bucket.blob("large.jsonl").upload_from_string(
            b"".join(row(number, "x" * 500) for number in range(count))
        )
        source = {"instances_format": "jsonl", "gcs_source": {"uris": ["gs://mill/large.jsonl"]}}
        with running("--latency", "0s") as emulator:
            assert (
                emulator.ended(
                    emulator.create(input_config=source).name
                ).completion_stats.successful_count
                == count
            )
            peaks.append(_peak_megabytes(emulator.process.pid))

    assert peaks[1] < 180
    assert peaks[1] - peaks[0] < 20


def _peak_megabytes(pid: int) -> float:
    if not Path(f"/proc/{pid}/status").exists():
        return float(psutil.Process(pid).memory_info().rss) / 1e6
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) / 1000


def test_without_a_storage_emulator_jobs_fail_and_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    with running("--latency", "0s") as emulator:
        failed = emulator.ended(emulator.create().name)

    assert failed.error.code == 13
    assert "STORAGE_EMULATOR_HOST" in failed.error.message


def test_a_port_that_is_taken_is_said_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "promptmill.emulator", "--port", port]

        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)

    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr


@pytest.mark.parametrize(
    "options",
    [["--latency", "soon"], ["--responder", "oracle"], ["--speed", "0"], ["--today", "soon"]],
)
def test_a_wrong_option_is_named(options: list[str]) -> None:
    command = [sys.executable, "-m", "promptmill.emulator", *options]

    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=os.environ | {"NO_COLOR": "1"},
        timeout=PATIENCE,
    )

    assert done.returncode == 2
    assert options[1].lstrip("0") in done.stderr


@pytest.mark.alone
def test_a_poll_takes_a_few_milliseconds(emulator: Emulator) -> None:
    with requests.Session() as session, stopwatch() as watch:
        times = [
            session.get(f"{emulator.url}/healthz", timeout=PATIENCE).elapsed.total_seconds()
            for _ in range(20)
        ]

    assert min(times) < 0.03 * watch.slowness
