import json
from pathlib import Path
from typing import Any

import pytest

from promptmill.emulator.bill import compute_bill
from promptmill.emulator.clock import format_timestamp
from promptmill.emulator.errors import ApiError
from promptmill.emulator.paging import ListQuery
from unit.emulator.stand import PARENT, START, Stand, body, row


def state(resource: dict[str, Any]) -> str:
    return str(resource["state"]).removeprefix("JOB_STATE_")


def test_a_job_is_pending_then_running_then_ends_at_its_time() -> None:
    stand = Stand(latency=60)
    stand.requests(10)

    job = stand.create()
    seen = [state(job), *(state(stand.look(job, at)) for at in (0.5, 1.5, 59, 60.1))]

    assert seen == ["PENDING", "PENDING", "RUNNING", "RUNNING", "SUCCEEDED"]
    ended = stand.look(job, 61)
    assert ended["createTime"] < ended["startTime"] < ended["endTime"] == ended["updateTime"]
    assert ended["completionStats"] == {"successfulCount": "10"}
    assert (
        ended["outputInfo"]["gcsOutputDirectory"]
        == f"gs://target/run/prediction-model-{ended['createTime']}"
    )


def test_a_job_may_wait_in_the_queue_first() -> None:
    stand = Stand(latency=60, queue=30)
    stand.requests(1)

    job = stand.create()

    assert [state(job), *(state(stand.look(job, at)) for at in (29, 30.5, 40, 61))] == [
        "PENDING", "QUEUED", "QUEUED", "RUNNING", "SUCCEEDED",
    ]  # fmt: skip


def test_a_job_does_not_end_before_its_work_is_done() -> None:
    stand = Stand(latency=60, at_once=False)
    stand.requests(3)
    job = stand.create()

    assert state(stand.look(job, 90)) == "RUNNING"
    assert stand.look(job, 90)["completionStats"] == {"incompleteCount": "-1"}
    stand.workers.run()

    assert state(stand.look(job, 91)) == "SUCCEEDED"
    assert stand.look(job, 91)["endTime"] == format_timestamp(START + 90)


def test_counts_grow_while_a_job_runs() -> None:
    stand = Stand(latency=100)
    stand.requests(100)
    job = stand.create()

    counts = [stand.look(job, at)["completionStats"] for at in (20, 60)]

    assert [sum(map(int, one.values())) for one in counts] == [100, 100]
    assert int(counts[0]["successfulCount"]) < int(counts[1]["successfulCount"]) < 100


def test_every_row_is_answered_once_out_of_order_with_its_extra_fields() -> None:
    stand = Stand()
    rows = [row(f"k{number}") | {"shop": {"id": number}} for number in range(50)]
    stand.input(*rows)
    stand.look(stand.create(), 61)

    lines = stand.output()

    assert [line["key"] for line in lines] != [one["key"] for one in rows]
    assert sorted((line["key"], line["shop"]["id"]) for line in lines) == sorted(
        (r["key"], r["shop"]["id"]) for r in rows
    )
    by_key = {line["key"]: line for line in lines}
    assert all(by_key[one["key"]]["request"] == one["request"] for one in rows)
    assert all(line["status"] == "" and line["processed_time"].endswith("+00:00") for line in lines)


def test_a_malformed_request_fails_alone_and_is_not_charged() -> None:
    stand = Stand()
    stand.input(
        row("good"),
        {"key": "bad", "request": {"contents": [{"role": "boss", "parts": [{"text": "x"}]}]}},
    )
    job = stand.look(stand.create(), 61)

    bad = next(line for line in stand.output() if line["key"] == "bad")
    assert bad["response"] == {}
    assert (
        json.loads(bad["status"].removeprefix("Bad Request: "))["error"]["status"]
        == "INVALID_ARGUMENT"
    )
    assert state(job) == "SUCCEEDED"
    assert job["completionStats"] == {"successfulCount": "1", "failedCount": "1"}
    assert compute_bill(stand.service.registry.list_jobs(), stand.clock.now())["requests"] == 1


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (
            {
                "inputConfig": {
                    "instancesFormat": "jsonl",
                    "gcsSource": {"uris": ["gs://source/none.jsonl"]},
                }
            },
            3,
            "Not found",
        ),
        (
            {"inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": ["gs://nobody/x"]}}},
            9,
            "bucket location",
        ),
        (
            {
                "outputConfig": {
                    "predictionsFormat": "jsonl",
                    "gcsDestination": {"outputUriPrefix": "gs://nobody"},
                }
            },
            9,
            "Failed to get GCS bucket location",
        ),
    ],
)
def test_a_bad_place_is_found_out_late(change: dict[str, Any], code: int, message: str) -> None:
    stand = Stand()
    stand.requests(1)

    job = stand.create(**change)
    failed = stand.look(job, 61)

    assert state(job) == "PENDING"
    assert state(failed) == "FAILED"
    assert failed["error"]["code"] == code
    assert message in failed["error"]["message"]
    assert compute_bill(stand.service.registry.list_jobs(), stand.clock.now())["requests"] == 0


def test_a_file_that_cannot_be_imported_fails_its_job_as_soon_as_it_runs() -> None:
    stand = Stand(latency=60)
    stand.input({"key": "k"})

    failed = stand.look(stand.create(), 5)

    assert state(failed) == "FAILED"
    assert failed["error"]["message"].startswith("Failed to import data.")


def test_an_output_bucket_that_refuses_writes_fails_the_job_after_inference() -> None:
    stand = Stand()
    stand.storage.read_only.add("target")
    stand.requests(2)

    failed = stand.look(stand.create(), 61)

    assert failed["error"]["code"] == 7
    assert 'sufficient permission "storage.objects.create" to write' in failed["error"]["message"]
    assert failed["completionStats"] == {"successfulCount": "2"}
    assert failed["outputInfo"]["gcsOutputDirectory"].startswith("gs://target/run/")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"displayName": ""}, 400),
        ({"displayName": "x" * 129}, 400),
        ({"model": ""}, 400),
        ({"model": "gemini-3.8-flash"}, 400),
        ({"model": "publishers/google/models/gemini-9.9-turbo"}, 404),
        ({"model": "projects/p/locations/l/models/123"}, 404),
        ({"labels": {"Run": "x"}}, 400),
        ({"labels": {"run": "a b"}}, 400),
        (
            {"inputConfig": {"instancesFormat": "csv", "gcsSource": {"uris": ["gs://source/x"]}}},
            400,
        ),
        ({"inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": []}}}, 400),
        (
            {
                "inputConfig": {
                    "instancesFormat": "jsonl",
                    "gcsSource": {"uris": ["https://source/x"]},
                }
            },
            400,
        ),
        (
            {
                "inputConfig": {
                    "instancesFormat": "jsonl",
                    "bigquerySource": {"inputUri": "bq://a.b.c"},
                }
            },
            400,
        ),
        (
            {
                "inputConfig": {
                    "instancesFormat": "bigquery",
                    "bigquerySource": {"inputUri": "bq://a.b"},
                }
            },
            400,
        ),
        (
            {
                "outputConfig": {
                    "predictionsFormat": "bigquery",
                    "bigqueryDestination": {"outputUri": "bq://a.b.c"},
                }
            },
            501,
        ),
        ({"outputConfig": {"predictionsFormat": "jsonl"}}, 400),
        ({"colour": "red"}, 400),
    ],
)
def test_an_invalid_job_is_not_created(change: dict[str, Any], code: int) -> None:
    stand = Stand()

    with pytest.raises(ApiError) as refused:
        stand.create(**change)

    assert refused.value.code == code
    assert stand.listed() == []


@pytest.mark.parametrize("name", ["gemini-3.8-flash", "gemini-3-flash-preview"])
@pytest.mark.parametrize("before", ["", "projects/p/locations/l/"])
def test_models_of_google_exist_by_either_name(name: str, before: str) -> None:
    Stand().create(model=f"{before}publishers/google/models/{name}")


def test_a_job_cancelled_before_it_starts_ends_without_output() -> None:
    stand = Stand(at_once=False)
    stand.requests(5)
    job = stand.create()

    stand.service.cancel_job(job["name"])
    stand.workers.run()

    cancelled = stand.look(job, 100)
    assert state(cancelled) == "CANCELLED"
    assert "startTime" not in cancelled
    assert "completionStats" not in cancelled
    assert "outputInfo" not in cancelled
    assert stand.files() == {}


@pytest.mark.parametrize("work_was_done", [True, False])
def test_a_running_job_that_is_cancelled_returns_and_charges_what_was_done(
    work_was_done: bool,
) -> None:
    stand = Stand(latency=60, at_once=work_was_done)
    stand.requests(100)
    job = stand.create()
    stand.look(job, 30.5)

    stand.workers.at_once = False
    stand.service.cancel_job(job["name"])
    assert state(stand.look(job, 31)) == "CANCELLING"
    stand.workers.run()

    cancelled = stand.look(job, 31)
    assert state(cancelled) == "CANCELLED"
    assert cancelled["error"]["code"] == 1
    assert cancelled["completionStats"] == {"successfulCount": "50", "incompleteCount": "50"}
    assert len(stand.output()) == 50
    assert compute_bill(stand.service.registry.list_jobs(), stand.clock.now())["requests"] == 50


def test_work_that_is_done_while_its_job_is_cancelled_does_not_count() -> None:
    stand = Stand(latency=60, at_once=False)
    stand.requests(100)
    job = stand.create()
    stand.look(job, 30.5)
    stand.storage.on_write = lambda: stand.service.cancel_job(job["name"])

    stand.workers.waiting.pop()()

    assert state(stand.look(job, 61)) == "CANCELLING"
    stand.workers.run()
    assert state(stand.look(job, 61)) == "CANCELLED"
    assert len(stand.output()) == 50


def test_a_job_that_has_ended_cannot_be_cancelled_but_deleted() -> None:
    stand = Stand()
    job = stand.finished()

    with pytest.raises(ApiError) as refused:
        stand.service.cancel_job(job["name"])
    assert (refused.value.code, refused.value.status) == (400, "FAILED_PRECONDITION")

    assert stand.service.delete_job(job["name"])["done"] is True
    assert stand.listed() == []
    with pytest.raises(ApiError) as gone:
        stand.service.get_job(job["name"])
    assert gone.value.code == 404


def test_a_job_that_runs_cannot_be_deleted_and_a_deleted_one_stays_on_the_bill() -> None:
    stand = Stand()
    stand.requests(3)
    job = stand.create()

    with pytest.raises(ApiError, match="not ended"):
        stand.service.delete_job(job["name"])
    stand.look(job, 61)
    stand.service.delete_job(job["name"])

    charged = compute_bill(stand.service.registry.list_jobs(), stand.clock.now())
    assert (charged["jobs"], charged["requests"], charged["by_label"]) == (1, 3, {"run=r1": 3})
    assert charged["jobs_detail"][0]["state"] == "JOB_STATE_SUCCEEDED"


def test_pages_hold_every_job_once_newest_first_though_new_ones_come() -> None:
    stand = Stand()
    stand.requests(1)
    names = []
    for number in range(7):
        stand.clock.at = START + number
        names.append(stand.create()["name"])

    first = stand.service.list_jobs(PARENT, ListQuery(page_size=3))
    stand.create()
    second = stand.service.list_jobs(
        PARENT, ListQuery(page_size=3, page_token=first["nextPageToken"])
    )
    third = stand.service.list_jobs(
        PARENT, ListQuery(page_size=3, page_token=second["nextPageToken"])
    )

    seen = [job["name"] for page in (first, second, third) for job in page["batchPredictionJobs"]]
    assert seen == names[::-1]
    assert "nextPageToken" not in third


@pytest.mark.parametrize(
    "query", [ListQuery(page_token="x"), ListQuery(page_token="bm8="), ListQuery(page_size=-1)]
)
def test_a_page_that_cannot_be_is_refused(query: ListQuery) -> None:
    with pytest.raises(ApiError) as refused:
        Stand().service.list_jobs(PARENT, query)

    assert refused.value.code == 400


def test_a_page_token_of_another_filter_is_refused() -> None:
    stand = Stand()
    stand.requests(1)
    stand.create()
    stand.create()
    token = stand.service.list_jobs(PARENT, ListQuery(page_size=1))["nextPageToken"]

    with pytest.raises(ApiError, match="another filter"):
        stand.service.list_jobs(PARENT, ListQuery("labels.run=r1", page_token=token))


def test_a_list_shows_only_its_own_place_and_the_fields_of_the_mask() -> None:
    stand = Stand()
    stand.requests(1)
    stand.create()

    assert (
        stand.service.list_jobs("projects/p/locations/elsewhere", ListQuery())[
            "batchPredictionJobs"
        ]
        == []
    )
    masked = stand.service.list_jobs(PARENT, ListQuery(read_mask="name,create_time"))[
        "batchPredictionJobs"
    ]
    assert set(masked[0]) == {"name", "createTime"}


def test_jobs_go_on_after_a_restart(tmp_path: Path) -> None:
    before = Stand(latency=60, at_once=False, folder=tmp_path)
    before.fault("output", "missing")
    before.requests(10)
    job, ended = before.create(), before.create()
    before.workers.waiting.pop(1)()

    after = Stand(latency=1, folder=tmp_path)
    after.requests(10)
    after.service.resume_jobs()

    assert state(after.look(job, 30)) == "RUNNING"
    assert state(after.look(job, 61)) == state(after.look(ended, 61)) == "SUCCEEDED"
    assert len(after.output()) == 9
    assert compute_bill(after.service.registry.list_jobs(), after.clock.now())["requests"] == 20


def test_the_labels_and_names_of_a_job_come_back() -> None:
    stand = Stand()
    stand.requests(1)

    job = stand.create()

    assert {name: job[name] for name in body()} == body()
    assert job["modelVersionId"] == "1"
    assert job["name"].split("/")[-1].isdecimal()


@pytest.mark.parametrize(
    ("location", "model", "factor"),
    [
        ("global", "gemini-3.8-flash", 1.0),
        ("eu", "gemini-3.8-flash", 1.1),
        ("us", "gemini-4-argon", 1.1),
        ("us", "gemini-2.5-flash-image", 1.0),
    ],
)
def test_recent_models_cost_more_outside_global(location: str, model: str, factor: float) -> None:
    stand = Stand()
    stand.requests(2)
    parent = f"projects/p/locations/{location}"
    stand.look(stand.create(parent, model=f"publishers/google/models/{model}"), 61)

    bill = compute_bill(stand.service.registry.list_jobs(), stand.clock.now())

    usages = [line["response"]["usageMetadata"] for line in stand.output()]
    (job,) = bill["jobs_detail"]
    assert job["priceFactor"] == factor
    assert job["inputTokens"] == sum(usage["promptTokenCount"] for usage in usages)
    assert job["inputTokens"] + job["outputTokens"] == sum(
        usage["totalTokenCount"] for usage in usages
    )
