"""Bad input ends in a clear error that names the row or the setting, before anything is paid for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from promptmill.config.errors import ConfigurationError, DuplicateKey, EmptyRun, InvalidRequest
from promptmill.producers import Promptmill
from promptmill.producers.contract import sink_specs
from promptmill.producers.requests import schemas
from support.local_stack import LocalStack, done, keys, once, read_results, running, surroundings


@pytest.fixture
def unpaid(stack: LocalStack) -> Iterator[None]:
    """Nothing that the test does appears on the bill."""
    before = stack.billed()
    yield
    assert stack.billed() == before


@pytest.mark.usefixtures("unpaid")
def test_a_run_without_a_prompt_is_refused(mill: Promptmill) -> None:
    with pytest.raises(EmptyRun, match="the run has no prompts"):
        mill.submit([])


@pytest.mark.usefixtures("unpaid")
def test_a_run_of_nothing_but_empty_prompts_is_refused(mill: Promptmill) -> None:
    with pytest.raises(EmptyRun, match="no prompt can be sent: row 1: "):
        mill.submit(["", "  \n"])


@pytest.mark.usefixtures("unpaid")
def test_a_run_whose_texts_would_all_become_numbers_is_refused(mill: Promptmill) -> None:
    with pytest.raises(EmptyRun, match=r"row 1: request\.contents.*add a word to the prompt"):
        mill.submit(["42", "yes", "1e5"])


def test_numbers_are_answered_in_a_run_with_a_text(mill: Promptmill) -> None:
    run = mill.submit(["42", "yes", "a text", {"prompt": "000000"}])

    assert (done(run).state, run.report().succeeded) == ("succeeded", 4)


@pytest.mark.usefixtures("unpaid")
@pytest.mark.parametrize("rows_between", [1, 30_000])
def test_a_key_that_comes_twice_is_refused_however_far_apart(
    mill: Promptmill, rows_between: int
) -> None:
    """Of the longer run a part is sent before the second row is seen; it is given up."""
    between = ({"key": f"other-{number}", "prompt": "x"} for number in range(rows_between))
    rows = [{"key": "same", "prompt": "one"}, *between, {"key": "same", "prompt": "two"}]

    with pytest.raises(DuplicateKey, match=rf"row {rows_between + 2} has the same key as row 1"):
        mill.submit(rows, name="same key twice")

    for run in mill.runs():
        if run.status.name == "same key twice":
            assert done(run).state == "cancelled"


@pytest.mark.usefixtures("unpaid")
def test_a_schema_that_only_a_worker_finds_wrong_ends_the_run(
    mill: Promptmill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the producer has not the workers' validator, or somebody else wrote the message."""
    monkeypatch.setattr(schemas, "_check_compiles", lambda schema: None)

    run = mill.submit(["a"], response_schema={"type": "string", "pattern": "("})

    assert done(run).state == "failed"
    assert run.status.error.startswith("response_schema is not a JSON schema: ")


def test_rows_that_cannot_be_sent_fail_alone_and_say_where_and_why(
    stack: LocalStack, mill: Promptmill, answers: Path
) -> None:
    bad: dict[str, Any] = {
        "empty": {"prompt": "   "},
        "nothing": {},
        "no contents": {"request": {"generationConfig": {"temperature": 0}}},
        "no parts": {"request": {"contents": [{"role": "user"}]}},
        "misspelt": {"reqest": {"contents": []}},
        "strange field": {"request": {"contents": [{"parts": [{"text": "x"}]}], "prompt": "y"}},
        "empty object": {
            "request": {"contents": [{"parts": [{"text": "x"}]}], "tools": [{"urlContext": {}}]}
        },
        "too long": {"prompt": "x" * (10 << 20)},
    }
    rows = [{"key": key, **row} for key, row in bad.items()]
    good = [{"key": f"good-{number}", "prompt": f"x{number}"} for number in range(5)]
    refused = []

    run = mill.submit(
        [*rows, *good],
        sinks=[sink_specs.jsonl(answers)],
        on_refused=lambda line: refused.append(line.key),
    )
    done(run)

    report, results = run.report(), {result.key: result for result in read_results(answers)}
    assert refused == list(bad)
    assert (report.state, report.succeeded, report.failures) == (
        "partially_succeeded",
        5,
        {"INVALID_REQUEST": 8},
    )
    assert keys(list(results.values())) == once([*bad, *(row["key"] for row in good)])
    messages = {key: result.error.message for key, result in results.items() if result.error}
    assert all(messages[key].startswith(f"row {row}: ") for row, key in enumerate(bad, 1))
    assert "PROMPTMILL_MAX_REQUEST_BYTES" in messages["too long"]
    [job] = stack.jobs(run.id)
    assert job["requests"] == 5


@pytest.mark.usefixtures("unpaid")
@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (
            "rows.jsonl",
            '{"prompt": "one"}\nplain words\n',
            "rows.jsonl line 2: not valid JSON",
        ),
        (
            "rows.jsonl",
            '{"prompt": "one"}\n[1, 2]\n',
            "rows.jsonl line 2: a line must be a JSON object",
        ),
        ("rows.csv", "key,prompt\na,b\n", "rows.csv: a file of prompts must be .jsonl"),
        ("empty.jsonl", "\n\n", "the run has no prompts"),
    ],
)
def test_a_file_that_is_not_jsonl_is_refused_by_its_line(
    stack: LocalStack, tmp_path: Path, name: str, content: str, told: str
) -> None:
    (tmp_path / name).write_text(content)

    sent = stack.cli("submit", str(tmp_path / name), "--wait")

    assert (sent.returncode, sent.stdout) == (1, "")
    assert told in sent.stderr
    assert "Traceback" not in sent.stderr


@pytest.mark.usefixtures("unpaid")
def test_a_row_that_is_neither_text_nor_a_mapping_is_refused_by_its_number(
    mill: Promptmill,
) -> None:
    with pytest.raises(InvalidRequest, match="row 2"):
        mill.submit(["one", 2])  # type: ignore[list-item]


@pytest.mark.usefixtures("unpaid")
def test_a_model_that_does_not_exist_fails_the_run_and_is_named(mill: Promptmill) -> None:
    run = mill.submit(["one", "two"], model="gemini-99-flash")
    status = done(run)

    report = run.report()
    assert (status.state, report.state) == ("failed", "failed")
    assert "gemini-99-flash" in report.error
    assert (report.jobs, report.failed, report.unaccounted) == (0, 2, 0)
    assert all(
        "gemini-99-flash" in (result.error.message if result.error else "")
        for result in run.results()
    )


@pytest.mark.usefixtures("unpaid")
def test_what_is_no_name_of_a_model_is_refused(mill: Promptmill) -> None:
    with pytest.raises(ConfigurationError, match="gemini flash!"):
        mill.submit(["one"], model="gemini flash!")


@pytest.mark.usefixtures("unpaid")
def test_no_model_at_all_is_refused_by_the_name_of_the_setting(mill: Promptmill) -> None:
    with (
        surroundings({"PROMPTMILL_MODEL": ""}),
        pytest.raises(ConfigurationError, match="PROMPTMILL_MODEL"),
    ):
        Promptmill().submit(["one"])


@pytest.mark.usefixtures("unpaid", "mill")
def test_a_bucket_that_does_not_exist_fails_the_run_and_names_the_setting(
    stack: LocalStack, tmp_path: Path
) -> None:
    """The bucket is the workers' affair, so a worker with that mistake, and a Redis database of its own, is started."""
    other = stack.environment["CELERY_BROKER_URL"].removesuffix("/0") + "/7"
    lost = {
        "CELERY_BROKER_URL": other,
        "PROMPTMILL_REDIS_URL": other,
        "PROMPTMILL_BUCKET": "gs://no-such-bucket/mill",
    }

    with surroundings(lost), running(tmp_path, ("worker",), settings={}):
        status = done(Promptmill().submit(["one"]))

    assert status.state == "failed"
    assert "gs://no-such-bucket" in status.error
    assert "PROMPTMILL_BUCKET" in status.error


@pytest.mark.usefixtures("unpaid")
def test_a_sink_that_cannot_be_written_fails_the_run_before_its_job_is_created(
    mill: Promptmill,
) -> None:
    run = mill.submit(["one"], sinks=[sink_specs.jsonl("gs://no-such-bucket/answers")])
    status = done(run)

    assert status.state == "failed"
    assert "gs://no-such-bucket" in status.error
