import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.emulator.bill import compute_bill
from promptmill.emulator.errors import ApiError
from promptmill.emulator.faults import Faults, read_rules
from promptmill.emulator.job_spec import JobSpec
from unit.emulator.stand import START, Stand, row


def keys(stand: Stand) -> list[str]:
    return sorted(line["key"] for line in stand.output())


@pytest.mark.parametrize(
    "rule",
    [
        {"on": "create", "fault": "missing"},
        {"on": "nowhere", "fault": "status"},
        {"on": "get", "fault": "status", "colour": 1},
        {"on": "get", "fault": "status", "match": {"colour": "red"}},
        [1],
    ],
)
def test_a_rule_that_means_nothing_is_refused(rule: Any) -> None:
    with pytest.raises(ApiError) as refused:
        read_rules(json.dumps(rule).encode())

    assert refused.value.code == 400


def test_a_rule_is_met_as_often_as_it_says_after_every_delay() -> None:
    faults = Faults(
        read_rules(
            b'[{"on":"get","fault":"status","status":429,"times":2},{"on":"get","fault":"delay","seconds":1},'
            b'{"on":"get","fault":"after"}]'
        )
    )

    met = [[rule.fault for rule in faults.take_call_rules("get", None)] for _ in range(4)]

    assert met == [["delay", "status"], ["delay", "status"], ["delay", "after"], ["delay", "after"]]
    assert faults.take_call_rules("list", None) == []


def test_a_rule_is_met_only_by_the_jobs_it_is_meant_for() -> None:
    faults = Faults(
        read_rules(
            b'{"on":"job","fault":"FAILED","match":{"label.run":"r*","displayName":"night?y"}}'
        )
    )

    assert faults.take_job_rules(JobSpec("nightly", labels={"run": "r7"}))
    assert not faults.take_job_rules(JobSpec("nightly", labels={"run": "x"}))
    assert not faults.take_job_rules(JobSpec("daily", labels={"run": "r7"}))


@pytest.mark.parametrize(
    ("fault", "answered", "code"),
    [("PARTIALLY_SUCCEEDED", 15, 13), ("CANCELLED", 15, 1), ("EXPIRED", 15, 4)],
)
def test_a_job_ends_as_told_with_a_share_of_its_rows(fault: str, answered: int, code: int) -> None:
    stand = Stand()
    stand.fault("job", fault, share=0.75)

    job = stand.finished(20)

    assert job["state"] == f"JOB_STATE_{fault}"
    assert job["completionStats"] == {"successfulCount": str(answered), "incompleteCount": "5"}
    assert len(stand.output()) == answered
    reasons = job["partialFailures"] if fault == "PARTIALLY_SUCCEEDED" else [job["error"]]
    assert [reason["code"] for reason in reasons] == [code]
    assert (
        compute_bill(stand.service.registry.list_jobs(), stand.clock.now())["requests"] == answered
    )


def test_a_job_fails_with_the_code_it_is_told() -> None:
    stand = Stand()
    stand.fault("job", "FAILED", code=8, message="no capacity", times=1)

    job = stand.finished()

    assert job["error"] == {"code": 8, "message": "no capacity"}
    assert "outputInfo" not in job
    assert stand.finished()["state"] == "JOB_STATE_SUCCEEDED"


def test_a_job_is_stuck_in_the_queue_for_a_while() -> None:
    stand = Stand(latency=60)
    stand.fault("job", "queued", seconds=100)
    stand.requests(1)

    job = stand.create()

    assert stand.look(job, 99)["state"] == "JOB_STATE_QUEUED"
    assert stand.look(job, 159)["state"] == "JOB_STATE_RUNNING"
    assert stand.look(job, 161)["state"] == "JOB_STATE_SUCCEEDED"


def test_a_job_that_never_starts_expires_and_can_be_cancelled() -> None:
    stand = Stand()
    stand.fault("job", "queued")
    stand.requests(1)
    stuck, cancelled = stand.create(), stand.create()

    assert stand.look(stuck, 3600 * 71)["state"] == "JOB_STATE_QUEUED"
    stand.service.cancel_job(cancelled["name"])

    assert stand.look(cancelled, 3600 * 71)["state"] == "JOB_STATE_CANCELLED"
    assert stand.look(stuck, 3600 * 73)["state"] == "JOB_STATE_EXPIRED"
    assert stand.files() == {}


def test_a_new_job_is_missing_from_lists_for_a_while() -> None:
    stand = Stand()
    stand.fault("list", "stale-list", seconds=10)
    stand.requests(1)

    job = stand.create()

    assert stand.listed() == []
    assert stand.look(job, 9)["name"] == job["name"]
    stand.look(job, 10.5)
    assert stand.listed() == [job["name"]]


@pytest.mark.parametrize("count", [1, 4])
def test_as_many_rows_as_told_are_missing_yet_charged(count: int) -> None:
    stand = Stand()
    stand.fault("output", "missing", count=count)

    stand.finished(20)

    assert len(stand.output()) == 20 - count
    assert compute_bill(stand.service.registry.list_jobs(), stand.clock.now())["requests"] == 20


def test_a_share_of_rows_is_chosen_by_their_keys_alone() -> None:
    chosen = []
    for _ in range(2):
        stand = Stand()
        stand.fault("output", "missing", share=0.3)
        stand.finished(400)
        chosen.append(keys(stand))

    assert chosen[0] == chosen[1]
    assert 80 < 400 - len(chosen[0]) < 160


def test_named_rows_are_hit() -> None:
    stand = Stand()
    stand.fault("output", "error", keys=["k3", "k5"], code=429)

    stand.finished(10)

    failed = {line["key"]: line["status"] for line in stand.output() if line["status"]}
    assert set(failed) == {"k3", "k5"}
    assert failed["k3"].startswith('Too Many Requests: {"error":{"code":429')


@pytest.mark.parametrize(("where", "files"), [("same", 1), ("other", 2)])
def test_rows_are_doubled_in_the_same_or_in_another_file(where: str, files: int) -> None:
    stand = Stand()
    stand.fault("output", "duplicated", count=3, where=where)

    stand.finished(10)

    assert len(stand.files()) == files
    lines = [
        json.loads(line)["key"]
        for content in stand.files().values()
        for line in content.splitlines()
    ]
    assert len(lines) == 13
    assert len(set(lines)) == 10


def test_rows_that_nobody_sent_are_added() -> None:
    stand = Stand()
    stand.fault("output", "unknown", count=2)

    stand.finished(5)

    assert [key for key in keys(stand) if key.startswith("foreign-")] == keys(stand)[:2]
    assert len(stand.output()) == 7


def test_the_last_line_is_cut() -> None:
    stand = Stand()
    stand.fault("output", "truncated")

    stand.finished(5)

    *whole, last = stand.files()["predictions.jsonl"].split(b"\n")
    assert len([json.loads(line) for line in whole]) == 4
    with pytest.raises(json.JSONDecodeError):
        json.loads(last)


def test_a_line_is_no_json_while_the_others_are() -> None:
    stand = Stand()
    stand.fault("output", "invalid", count=1)

    stand.finished(5)

    broken = [
        line for line in stand.files()["predictions.jsonl"].splitlines() if not line.endswith(b"}")
    ]
    assert len(broken) == 1


def test_keys_are_not_echoed() -> None:
    stand = Stand()
    stand.fault("output", "keyless", share=0.5)

    stand.finished(40)

    with_key = sum("key" in line for line in stand.output())
    assert 5 < with_key < 35
    assert len(stand.output()) == 40


def test_requests_are_echoed_with_nulls() -> None:
    stand = Stand()
    stand.fault("output", "nulls")

    stand.finished(1)

    assert stand.output()[0]["request"]["contents"][0]["parts"][0]["fileData"] is None


def test_the_output_is_spread_over_files() -> None:
    stand = Stand()
    stand.fault("output", "files", count=3)

    stand.finished(10)

    counts = {name: len(content.splitlines()) for name, content in stand.files().items()}
    assert counts == {
        "predictions_0001.jsonl": 4,
        "predictions_0002.jsonl": 3,
        "predictions_0003.jsonl": 3,
    }


def test_a_half_of_the_rows_lies_in_the_incremental_folder_too() -> None:
    stand = Stand()
    stand.fault("output", "incremental")

    stand.finished(10)

    assert len(stand.output()) == 10
    assert len(stand.files()["incremental_predictions/predictions.jsonl"].splitlines()) == 5


def test_the_output_is_an_empty_file() -> None:
    stand = Stand()
    stand.fault("output", "empty")

    stand.finished(10)

    assert stand.files() == {"predictions.jsonl": b""}


def test_the_output_comes_after_the_end() -> None:
    stand = Stand(latency=60, at_once=False)
    stand.fault("output", "late", seconds=5)
    stand.requests(3)
    job, before = stand.create(), []
    stand.clock.on_wait = lambda: before.append((stand.look(job, 61)["state"], stand.files()))

    stand.workers.run()

    assert before == [("JOB_STATE_SUCCEEDED", {})]
    assert stand.clock.now() == START + 65
    assert len(stand.output()) == 3


@pytest.mark.parametrize(
    ("fault", "more", "expected"),
    [
        ("blocked", {}, {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}),
        ("blocked", {"reason": "SAFETY"}, {"promptFeedback": {"blockReason": "SAFETY"}}),
        ("finish", {}, {"candidates": [{"finishReason": "SAFETY"}]}),
        ("no-candidates", {}, {}),
    ],
)
def test_an_answer_is_withheld(fault: str, more: dict[str, Any], expected: dict[str, Any]) -> None:
    stand = Stand()
    stand.fault("output", fault, **more)

    stand.finished(1)

    response = stand.output()[0]["response"]
    assert {
        name: response[name] for name in ("candidates", "promptFeedback") if name in response
    } == expected


def test_an_answer_is_cut_at_its_token_limit() -> None:
    stand = Stand()
    stand.input(row("k", "a long question"))
    stand.fault("output", "finish", reason="MAX_TOKENS")

    stand.look(stand.create(), 61)

    candidate = stand.output()[0]["response"]["candidates"][0]
    assert candidate["finishReason"] == "MAX_TOKENS"
    assert candidate["content"]["parts"][0]["text"].startswith("[emulated")


@given(
    st.lists(
        st.sampled_from(["missing", "duplicated", "unknown", "keyless", "invalid"]), unique=True
    ),
    st.integers(1, 9),
)
def test_rows_are_neither_invented_nor_lost_beyond_the_faults(
    faults: list[str], count: int
) -> None:
    stand = Stand()
    for fault in faults:
        stand.fault("output", fault, count=count)

    stand.finished(30)

    lines = len(stand.files()["predictions.jsonl"].splitlines())
    gained = count * (("duplicated" in faults) + ("unknown" in faults))
    assert lines == 30 + gained - count * ("missing" in faults)


def test_an_answer_may_not_fit_its_schema() -> None:
    stand = Stand()
    stand.fault("output", "off-schema", keys=["k1", "k2"])
    schema = {
        "type": "OBJECT",
        "properties": {"name": {"type": "STRING"}, "count": {"type": "INTEGER"}},
    }
    stand.input(row("k0", responseSchema=schema), row("k1", responseSchema=schema), row("k2"))

    stand.look(stand.create(), at=3600)

    texts = {
        line["key"]: line["response"]["candidates"][0]["content"]["parts"][0]["text"]
        for line in stand.output()
    }
    fitting, unfitting = json.loads(texts["k0"]), json.loads(texts["k1"])
    assert (type(fitting["name"]), type(fitting["count"])) == (str, int)
    assert unfitting == {"name": 7, "count": "off schema"}
    assert texts["k2"].endswith("You said: hello k2")


def test_raw_lines_replace_the_lines_of_the_first_rows() -> None:
    stand = Stand()
    lines = ['{"prediction": 1, "request": $REQUEST, "key": $KEY}', "\ufeff{broken"]
    stand.fault("output", "raw", lines=lines)

    stand.finished(3)

    request = json.dumps(row("k0")["request"], separators=(",", ":"))
    first = f'{{"prediction": 1, "request": {request}, "key": "k0"}}'
    written = stand.files()["predictions.jsonl"].decode().splitlines()
    assert set(written) > {first, "\ufeff{broken"}
    assert [json.loads(line)["key"] for line in written if line.startswith('{"status"')] == ["k2"]


def media_row(key: str) -> dict[str, Any]:
    file = {"fileData": {"fileUri": "gs://source/a.pdf", "mimeType": "application/pdf"}}
    return {"key": key, "request": {"contents": [{"role": "user", "parts": [file]}]}}


def test_rows_with_files_fail_while_service_agents_are_provisioned() -> None:
    stand = Stand(latency=60)
    stand.fault("output", "provisioning", seconds=300)
    stand.input(media_row("file"), row("text"))
    statuses = []
    for created in (0, 200, 301):
        stand.clock.at = START + created
        stand.look(stand.create(outputConfig=output_at(f"out{created}")), at=created + 61)
        lines = stand.storage.objects
        (name,) = [uri for uri in lines if uri.startswith(f"gs://target/out{created}/")]
        by_key = {line["key"]: line for line in map(json.loads, lines[name].splitlines())}
        assert by_key["text"]["status"] == ""
        statuses.append(by_key["file"]["status"])

    assert statuses[0] == statuses[1]
    error = json.loads(statuses[0].removeprefix("Bad Request: "))["error"]
    assert (error["code"], error["status"]) == (400, "FAILED_PRECONDITION")
    assert error["message"].startswith("Service agents are being provisioned (https://cloud.")
    assert statuses[2] == ""
    assert stand.service.faults.list_rules() == []


def output_at(folder: str) -> dict[str, Any]:
    return {
        "predictionsFormat": "jsonl",
        "gcsDestination": {"outputUriPrefix": f"gs://target/{folder}"},
    }


def test_googles_own_dataset_may_be_missing() -> None:
    stand = Stand(latency=60)
    stand.fault("job", "dataset", times=1)
    stand.requests(3)

    failed = stand.look(stand.create(), at=5)

    assert (failed["state"], failed["error"]["code"]) == ("JOB_STATE_FAILED", 3)
    assert "-tp:llm_bp_tenant_dataset_" in failed["error"]["message"]
    assert stand.files() == {}
    assert stand.finished(3)["state"] == "JOB_STATE_SUCCEEDED"


@pytest.mark.parametrize(
    ("options", "lines", "has_info"),
    [({}, 0, True), ({"share": 0.4}, 4, True), ({"share": 0.4, "where": "other"}, 4, False)],
)
def test_an_export_fails_after_all_rows_are_answered(
    options: dict[str, Any], lines: int, has_info: bool
) -> None:
    stand = Stand()
    stand.fault("job", "export", **options)

    failed = stand.finished(10)

    assert failed["error"]["code"] == 13
    assert failed["error"]["message"].startswith("Failed to export data.")
    assert failed["completionStats"] == {"successfulCount": "10"}
    assert ("outputInfo" in failed) == has_info
    assert sum(len(content.splitlines()) for content in stand.files().values()) == lines
    assert compute_bill(stand.service.registry.list_jobs(), stand.clock.now())["requests"] == 10
