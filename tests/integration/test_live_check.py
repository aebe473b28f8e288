"""`promptmill doctor --live` against an emulator that keeps each belief, and one that breaks it."""

import json
import re
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from promptmill.config.settings import Settings, load_settings
from promptmill.local.services import BUCKET
from promptmill.workers.cli_support.live_check import LiveCheck, open_live_check
from promptmill.workers.live import beliefs
from support.editing_proxy import EditingProxy, Edits, Json, edit_json, edit_lines
from support.local_stack import LocalStack, ask, running, surroundings
from support.proxy import Answer
from support.waiting import wait_until

OUTPUT = re.compile(r"/download/.*main-output.*")
JOB = re.compile(r".*/batchPredictionJobs/\d+(\?.*)?")
JOBS = re.compile(r".*/batchPredictionJobs(\?.*)?")


@dataclass(frozen=True)
class Place:
    """The emulators, and a project of its own: other tests may leave jobs in theirs."""

    stack: LocalStack
    project: str
    location: str = "global"

    @property
    def bucket(self) -> str:
        return f"gs://{BUCKET}/{self.project}"

    @property
    def jobs_path(self) -> str:
        return f"/v1/projects/{self.project}/locations/{self.location}/batchPredictionJobs"


@pytest.fixture(scope="module")
def running_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """The emulators of Cloud Storage and Vertex AI. No Redis, no workers."""
    folder = tmp_path_factory.mktemp("live")
    with running(folder, ("storage", "emulator"), latency=0.3, settings={}) as started:
        # On a slow machine, the second job could otherwise end before it is cancelled.
        started.fault("job", "queued", seconds=60, match={"label.attempt": "2"}, times=None)
        yield started


@pytest.fixture
def place(running_stack: LocalStack) -> Place:
    return Place(running_stack, f"project-{uuid.uuid4().hex[:8]}")


@pytest.mark.parametrize("location", ["global", "eu"])
def test_every_belief_holds_for_the_emulator(place: Place, tmp_path: Path, location: str) -> None:
    place = replace(place, location=location)

    done = run_doctor(place, tmp_path, "--yes", "--search", "--capture", "capture.json")

    lines = done.stdout.splitlines()
    assert [line for line in lines if not line.startswith("✓ ")] == []
    assert len(lines) == len(beliefs.BELIEFS) + 1
    assert re.search(r"beliefs hold\. [\d.]+ s, \d+ calls \(\d+ of Cloud Storage, ", done.stderr)
    assert done.returncode == 0
    assert_nothing_left(place)


def test_a_capture_names_no_customer_and_becomes_a_test(place: Place, tmp_path: Path) -> None:
    run_doctor(place, tmp_path, "--yes")
    (file,) = tmp_path.glob("promptmill-live-emulator-*-global-gemini-3.5-flash-lite.json")
    added = add_capture(file, tmp_path / "live")
    repeated = add_capture(file, tmp_path / "live")

    assert added.returncode == 0, added.stderr
    data = Path(added.stdout.strip()).read_text()
    assert [name for name in (place.project, BUCKET) if name in data + file.read_text()] == []
    assert repeated.returncode == 1
    assert "exists; rename one of the two captures" in repeated.stderr


def add_capture(file: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    tool = Path(__file__).parents[2] / "tools" / "add_capture.py"
    command = [sys.executable, str(tool), str(file), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@dataclass(frozen=True)
class Broken:
    """A Google of which exactly the belief ``belief`` is false."""

    belief: str
    vertex: Edits = field(default_factory=Edits)
    storage: Edits = field(default_factory=Edits)
    visibility: float = 3.0


def test_exactly_the_broken_belief_is_reported(
    place: Place, tmp_path: Path, broken: Callable[[], Broken]
) -> None:
    google = broken()
    with checked(place, google) as check:
        findings = check.run_check(lambda _: None)
        capture = check.write_capture(findings, tmp_path / "capture.json")

    assert {each.name: each.evidence for each in findings if each.holds is None} == {}
    assert [each.name for each in findings if not each.holds] == [google.belief]
    assert json.loads(capture.read_bytes())["evidence"]["service"] == "emulator"


@contextmanager
def checked(place: Place, google: Broken, drop: int = 0) -> Iterator[LiveCheck]:
    """Open a check that reaches the emulators through proxies with the edits of ``google``.

    The first ``drop`` creations of jobs get no answer.
    """
    storage_url = place.stack.environment["STORAGE_EMULATOR_HOST"]
    with (
        EditingProxy(place.stack.emulator, google.vertex) as vertex,
        EditingProxy(storage_url, google.storage) as storage,
        surroundings({"STORAGE_EMULATOR_HOST": storage.url}),
    ):
        vertex.drop_answer("POST", JOBS.pattern, times=drop)
        settings = live_settings(place, vertex.url, google.visibility)
        check = open_live_check(settings, "", search=True, timeout=120)
        try:
            yield check
        finally:
            check.close()


def live_settings(place: Place, vertex_url: str, visibility: float) -> Settings:
    return load_settings(
        project=place.project,
        bucket=place.bucket,
        location="global",
        vertex_endpoint=vertex_url,
        poll_interval=0.1,
        creation_visibility_seconds=visibility,
    )


def edit_output(change: Callable[[Json], list[Json]]) -> Edits:
    """Change each line of the main job's output."""

    def change_answer(_method: str, path: str, answer: Answer) -> Answer:
        return edit_lines(answer, change) if OUTPUT.fullmatch(path) else answer

    return Edits(answer=change_answer)


def edit_row(name: str, change: Callable[[Json], object]) -> Edits:
    """Change the output line of one row in place."""

    def change_line(line: Json) -> list[Json]:
        if line["key"].endswith(f"-{name}"):
            change(line)
        return [line]

    return edit_output(change_line)


def edit_jobs(change: Callable[[Json], object], job: str = "a1") -> Edits:
    """Change the resources of the main job, or of the second one, in place."""

    def change_resource(resource: Json) -> None:
        if resource.get("displayName", "").endswith(job):
            change(resource)

    def change_answer(_method: str, path: str, answer: Answer) -> Answer:
        is_job = JOB.fullmatch(path) or JOBS.fullmatch(path)
        return edit_json(answer, change_resource) if is_job else answer

    return Edits(answer=change_answer)


def edit_ended(change: Callable[[Json], object], job: str = "a1") -> Edits:
    """Change the resources of a job that has ended."""
    return edit_jobs(lambda resource: change(resource) if "endTime" in resource else None, job)


def set_values(*path: str | int, value: Any) -> Callable[[Json], None]:
    """Return a function that sets a value at a path."""

    def change(line: Any) -> None:
        for step in path[:-1]:
            line = line[step]
        line[path[-1]] = value

    return change


def shift_counts(successful: int) -> Edits:
    """Count some refused rows as successful, or the reverse."""

    def change(resource: Json) -> None:
        stats = resource["completionStats"]
        stats["successfulCount"] = str(int(stats.get("successfulCount", 0)) + successful)
        stats["failedCount"] = str(int(stats.get("failedCount", 0)) - successful)

    return edit_ended(change)


def answer_row(name: str, *path: str | int, value: Any = None) -> tuple[Edits, Edits]:
    """Answer a refused row, and echo a value as it was sent."""

    def change(line: Json) -> None:
        usage = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
        line["status"] = ""
        line["response"] = {"usageMetadata": usage, "modelVersion": "gemini-3.5-flash-lite"}
        if path:
            set_values("request", *path, value=value)(line)

    return edit_row(name, change), shift_counts(1)


STATUS = 'Bad Request: {"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}'
SCHEMA = ("generationConfig", "responseSchema")
"""Where a request has its schema."""


def break_answered(belief: str, name: str, *path: str | int, value: Any = None) -> Broken:
    lines, counts = answer_row(name, *path, value=value)
    return Broken(belief, vertex=counts, storage=lines)


def refuse_second_writes() -> Broken:
    def change_call(method: str, path: str) -> tuple[str, str]:
        return method, path.replace("ifGenerationMatch=0", "")

    return Broken("create-once", storage=Edits(call=change_call))


def hide_new_object() -> Broken:
    lists: list[str] = []

    def change_answer(method: str, path: str, answer: Answer) -> Answer:
        if method != "GET" or not re.search(r"/o\?", path):
            return answer
        lists.append(path)
        return edit_json(answer, lambda body: body.pop("items", None) if len(lists) == 1 else None)

    return Broken("listing", storage=Edits(answer=change_answer))


def hide_new_job() -> Broken:
    created: list[str] = []

    def change_answer(method: str, path: str, answer: Answer) -> Answer:
        if method == "POST" and JOBS.fullmatch(path):
            created.append(path)
        if method == "GET" and JOBS.fullmatch(path) and len(created) < 2:
            return edit_json(answer, lambda body: body.pop("batchPredictionJobs", None))
        return answer

    return Broken("adoption", vertex=Edits(answer=change_answer), visibility=0.3)


def ignore_filter(belief: str, field: str) -> Broken:
    def change_call(method: str, path: str) -> tuple[str, str]:
        return method, re.sub(rf"filter={field}[^&]*", "", path)

    return Broken(belief, vertex=Edits(call=change_call))


def rename_file() -> Broken:
    def change_call(method: str, path: str) -> tuple[str, str]:
        return method, path.replace("part-0.jsonl", "predictions.jsonl")

    def change_answer(method: str, path: str, answer: Answer) -> Answer:
        is_list = method == "GET" and re.search(r"/o\?", path)
        body = answer.body.replace(b"predictions.jsonl", b"part-0.jsonl")
        return Answer(answer.status, answer.headers, body) if is_list else answer

    return Broken("file-name", storage=Edits(change_call, change_answer))


def keep_deleted_jobs() -> Broken:
    """Answer a deletion as done, and do nothing."""

    def change_call(method: str, path: str) -> tuple[str, str]:
        return ("GET" if method == "DELETE" else method), path

    def change_answer(method: str, _path: str, answer: Answer) -> Answer:
        empty = {"@type": "type.googleapis.com/google.protobuf.Empty"}
        done = {"name": "projects/p/locations/global/operations/1", "done": True, "response": empty}
        if method != "DELETE":
            return answer
        return Answer(200, answer.headers, json.dumps(done).encode())

    return Broken("deletion", vertex=Edits(change_call, change_answer))


def repeat_line() -> Broken:
    def change_line(line: Json) -> list[Json]:
        return [line] * (2 if line["key"].endswith("-plain") else 1)

    return Broken("rows", storage=edit_output(change_line))


def drop_field(belief: str, field: str, *, refused: bool | None = None) -> Broken:
    """Do not echo a field: of refused rows, of answered ones, or of all."""

    def change_line(line: Json) -> list[Json]:
        is_affected = refused is None or bool(line["status"]) is refused
        return [{name: line[name] for name in line if name != field or not is_affected}]

    return Broken(belief, storage=edit_output(change_line))


def miscount_thoughts() -> Broken:
    """Report 500 tokens of thoughts in spite of the limit, in a total that adds up."""

    def change(line: Json) -> None:
        usage = line["response"]["usageMetadata"]
        usage["totalTokenCount"] += 500 - usage["thoughtsTokenCount"]
        usage["thoughtsTokenCount"] = 500

    return Broken("thinking", storage=edit_row("thinking", change))


def refuse_object() -> Broken:
    def change(line: Json) -> None:
        line["status"], line["response"] = STATUS, {}

    return Broken("object", vertex=shift_counts(-1), storage=edit_row("object", change))


def break_job(belief: str, *path: str, value: object, job: str = "a1") -> Broken:
    """Set a field of a job that has ended."""
    return Broken(belief, vertex=edit_ended(set_values(*path, value=value), job))


def fail_job() -> Broken:
    error = {"code": 13, "message": "System error. Please try this operation again."}

    def change(resource: Json) -> None:
        resource |= {"state": "JOB_STATE_FAILED", "error": error}

    return Broken("success", vertex=edit_ended(change))


def rename_folder() -> Broken:
    def change(resource: Json) -> None:
        info = resource["outputInfo"]
        info["gcsOutputDirectory"] = info["gcsOutputDirectory"].replace("prediction-model", "out")

    return Broken("folder-name", vertex=edit_ended(change))


def move_folder() -> Broken:
    def change(resource: Json) -> None:
        info = resource["outputInfo"]
        name = info["gcsOutputDirectory"].rpartition("/")[2]
        info["gcsOutputDirectory"] = f"gs://elsewhere/{name}"

    return Broken("output-info", vertex=edit_ended(change))


def use_unknown_state() -> Broken:
    def change(resource: Json) -> None:
        if resource["state"] == "JOB_STATE_PENDING":
            resource["state"] = "JOB_STATE_DREAMING"

    return Broken("states", vertex=edit_jobs(change))


def add_to_total(line: Json) -> None:
    line["response"]["usageMetadata"]["totalTokenCount"] += 1


def drop_grounding(line: Json) -> None:
    del line["response"]["candidates"][0]["groundingMetadata"]


PROMPT = ("request", "contents", 0, "parts", 0, "text")
BROKEN: dict[str, Callable[[], Broken]] = {
    "a second write replaces an object": refuse_second_writes,
    "a new object is not listed": hide_new_object,
    "a new job is not listed": hide_new_job,
    "the filter by labels is ignored": lambda: ignore_filter("labels-filter", "labels"),
    "the filter by name is ignored": lambda: ignore_filter("name-filter", "display_name"),
    "a job with refused rows fails": fail_job,
    "a job has an unknown state": use_unknown_state,
    "a job starts after its end": lambda: break_job(
        "times", "startTime", value="2100-01-01T00:00:00Z"
    ),
    "the counts are too high": lambda: Broken("counts", vertex=shift_counts(1)),
    "the output is elsewhere": move_folder,
    "the output folder has another name": rename_folder,
    "the output file has another name": rename_file,
    "a cancelled job has another code": lambda: break_job(
        "cancellation", "error", "code", value=13, job="a2"
    ),
    "a deleted job stays": keep_deleted_jobs,
    "a line is repeated": repeat_line,
    "answered rows have no key": lambda: drop_field("key-on-success", "key", refused=False),
    "refused rows have no key": lambda: drop_field("key-on-failure", "key", refused=True),
    "rows have no metadata": lambda: drop_field("metadata", "metadata"),
    "a status has an unknown form": lambda: Broken(
        "status", storage=edit_row("role", set_values("status", value="It failed."))
    ),
    "the total is wrong": lambda: Broken("usage", storage=edit_row("plain", add_to_total)),
    "thoughts do not count": miscount_thoughts,
    "another model answers": lambda: Broken(
        "model",
        storage=edit_row("plain", set_values("response", "modelVersion", value="gemini-3.6-flash")),
    ),
    "an unknown role is answered": lambda: break_answered("role", "role"),
    "an enum stays text": lambda: break_answered("enum", "enum", *SCHEMA, "enum", value=["1", "2"]),
    "a property stays text": lambda: break_answered(
        "property", "property", *SCHEMA, "required", value=["y"]
    ),
    "a prompt becomes a number": lambda: Broken(
        "number", storage=edit_row("number", set_values(*PROMPT, value=42))
    ),
    "an object for a list is refused": refuse_object,
    "a number becomes text": lambda: Broken(
        "float",
        storage=edit_row(
            "plain", set_values("request", "generationConfig", "temperature", value="1.0")
        ),
    ),
    "a search has no sources": lambda: Broken("search", storage=edit_row("search", drop_grounding)),
}
"""One way to break each belief."""


@pytest.fixture(params=list(BROKEN))
def broken(request: pytest.FixtureRequest) -> Callable[[], Broken]:
    return BROKEN[str(request.param)]


def test_every_belief_is_broken_once() -> None:
    names = [belief.name for belief in (*beliefs.BELIEFS, beliefs.SEARCH_BELIEF)]

    assert sorted(google().belief for google in BROKEN.values()) == sorted(names)


def test_a_job_whose_creation_was_not_answered_is_found_and_removed(
    place: Place,
) -> None:
    with checked(place, Broken("none"), drop=1) as check:
        findings = check.run_check(lambda _: None)

    assert [each for each in findings if not each.holds] == []
    assert check.left == []
    assert_nothing_left(place)


def test_jobs_of_others_survive_the_cleanup_where_filters_are_ignored(place: Place) -> None:
    foreign = create_foreign_job(place)

    with checked(place, ignore_filter("labels-filter", "(labels|display_name)"), drop=1) as check:
        check.run_check(lambda _: None)

    assert list_jobs(place) == [foreign]
    delete_job(place, foreign)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_check_leaves_no_job_and_no_object(
    place: Place, tmp_path: Path, number: signal.Signals
) -> None:
    with place.stack.standing_clock(), start_doctor(place, tmp_path, "--yes") as process:
        wait_until(lambda: len(list_jobs(place)) == 2, "both jobs")
        process.send_signal(number)
        _, messages = process.communicate()

    assert process.returncode == 130
    assert "interrupted; the jobs and objects of the check were removed" in messages
    assert list(tmp_path.iterdir()) == []
    assert_nothing_left(place)


class InterruptingCounter(Counter[str]):
    """Counts calls, and interrupts after one of them, before its response is read."""

    def __init__(self, interrupted_call: int) -> None:
        self._interrupted_call = interrupted_call
        super().__init__()

    def update(self, *args: Any, **kwargs: Any) -> None:
        super().update(*args, **kwargs)
        if self.total() == self._interrupted_call:
            raise KeyboardInterrupt


@pytest.mark.parametrize("start", range(4))
def test_a_check_that_is_interrupted_at_any_call_leaves_nothing(place: Place, start: int) -> None:
    last_call, calls = 0, range(1 + start, 100, 4)
    for last_call in calls:
        with checked(place, Broken("none")) as check:
            check.calls = InterruptingCounter(last_call)
            if not is_interrupted(check):
                break
        assert check.left == []
        assert_nothing_left(place)
    assert last_call > 25


def is_interrupted(check: LiveCheck) -> bool:
    try:
        check.run_check(lambda _: None)
    except KeyboardInterrupt:
        return True
    return False


def test_a_failed_job_leaves_beliefs_about_rows_undecided(place: Place, tmp_path: Path) -> None:
    match = {"label.attempt": "1"}
    place.stack.fault("job", "FAILED", code=7, message="no access to write", match=match)

    done = run_doctor(place, tmp_path, "--yes", "--format", "json")

    beliefs_by_name = {each["name"]: each for each in json.loads(done.stdout)["beliefs"]}
    assert beliefs_by_name["success"]["holds"] is False
    assert beliefs_by_name["success"]["evidence"] == "FAILED: no access to write"
    assert beliefs_by_name["usage"]["holds"] is None
    assert done.returncode == 1
    assert_nothing_left(place)


def test_a_job_that_stays_in_the_queue_is_cancelled_after_the_timeout(
    place: Place, tmp_path: Path
) -> None:
    place.stack.fault("job", "queued", match={"label.attempt": "1"})

    done = run_doctor(place, tmp_path, "--yes", "--timeout", "1s")

    assert done.returncode == 3
    assert re.search(r"^\? success +the job did not end: ", done.stdout, re.MULTILINE)
    assert_nothing_left(place)


def test_an_outage_of_vertex_ai_is_waited_out(place: Place, tmp_path: Path) -> None:
    for call in ("get", "list"):
        place.stack.fault(call, "status", status=503, times=2)

    done = run_doctor(place, tmp_path, "--yes")

    assert done.returncode == 0, done.stdout + done.stderr


def test_what_was_observed_before_an_error_is_reported(place: Place, tmp_path: Path) -> None:
    place.stack.fault("list", "status", status=403, message="no permission to list")

    done = run_doctor(place, tmp_path, "--yes", "--format", "json")

    report = json.loads(done.stdout)
    assert "no permission to list" in report["failure"]
    assert "error: the check ended early: " in done.stderr
    assert {each["name"]: each["holds"] for each in report["beliefs"]}["create-once"] is True
    assert (tmp_path / report["capture"]).exists()
    assert done.returncode == 1
    assert_nothing_left(place)


def test_a_capture_is_never_overwritten_and_its_folder_is_checked_first(
    place: Place, tmp_path: Path
) -> None:
    for _ in range(2):
        run_doctor(place, tmp_path, "--yes")
    refused = run_doctor(place, tmp_path, "--yes", "--capture", "nowhere/capture.json")

    assert len(list(tmp_path.iterdir())) == 2
    assert refused.returncode == 2
    assert "nowhere is no folder that can be written to" in refused.stderr


def test_a_refused_model_is_an_error_and_leaves_nothing(place: Place, tmp_path: Path) -> None:
    done = run_doctor(place, tmp_path, "--yes", "--model", "gemini-nonsense")

    assert done.returncode == 1
    assert "error: Vertex: 404" in done.stderr
    assert_nothing_left(place)


def test_a_location_without_the_model_is_an_error(place: Place, tmp_path: Path) -> None:
    done = run_doctor(replace(place, location="us-central1"), tmp_path, "--yes")

    assert done.returncode == 1
    assert "MODEL_NOT_SUPPORTED_FOR_BATCH; this location has no batch jobs of" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_a_terminal_the_check_needs_a_yes(place: Place, tmp_path: Path) -> None:
    done = run_doctor(place, tmp_path)

    assert done.returncode == 2
    assert re.search(r"Price: at most \$0\.000\d\.", done.stderr)
    assert "add --yes" in done.stderr
    assert_nothing_left(place)


def run_doctor(place: Place, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    with start_doctor(place, folder, *options) as process:
        stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(options, process.returncode, stdout, stderr)


def start_doctor(place: Place, folder: Path, *options: str) -> "subprocess.Popen[str]":
    environment = place.stack.everything | {
        "GOOGLE_CLOUD_LOCATION": place.location,
        "GOOGLE_CLOUD_PROJECT": place.project,
        "PROMPTMILL_BUCKET": place.bucket,
        "PROMPTMILL_POLL_INTERVAL": "0.1",
        "CELERY_BROKER_URL": "redis://127.0.0.1:1/0",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "promptmill.cli", "doctor", "--live", *options],
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def list_jobs(place: Place) -> list[str]:
    listed = ask(place.stack.emulator, "GET", place.jobs_path).get("batchPredictionJobs", [])
    return [job["name"] for job in listed]


def create_foreign_job(place: Place) -> str:
    body = {
        "displayName": "of somebody else",
        "model": "publishers/google/models/gemini-3.5-flash-lite",
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [f"gs://{BUCKET}/x"]}},
        "outputConfig": {
            "predictionsFormat": "jsonl",
            "gcsDestination": {"outputUriPrefix": f"gs://{BUCKET}/y"},
        },
        "labels": {"promptmill": "live-0", "run": "0", "shard": "0", "attempt": "1"},
    }
    created = ask(place.stack.emulator, "POST", place.jobs_path, json.dumps(body).encode())
    return str(created["name"])


def delete_job(place: Place, name: str) -> None:
    path = f"/v1/{name}"
    wait_until(lambda: "endTime" in ask(place.stack.emulator, "GET", path), "the end of the job")
    ask(place.stack.emulator, "DELETE", path)


def assert_nothing_left(place: Place) -> None:
    storage = place.stack.environment["STORAGE_EMULATOR_HOST"]
    listed = ask(storage, "GET", f"/storage/v1/b/{BUCKET}/o?prefix={place.project}/")
    assert listed.get("items", []) == []
    assert list_jobs(place) == []
