import json
from pathlib import Path

import msgspec
import pytest

from promptmill.cli import report
from promptmill.cli.output import ObjectFormat
from promptmill.cli.sample_prompts import translation_prompts
from promptmill.producers import Cost, Estimate, Report

REPORT = msgspec.convert(
    {
        "run": "01kq",
        "state": "partially_succeeded",
        "name": "demo",
        "model": "publishers/google/models/gemini-3.8-flash",
        "requests": 3,
        "succeeded": 2,
        "failed": 1,
        "unaccounted": 0,
        "duplicates": 0,
        "unknown": 0,
        "unreadable": 0,
        "jobs": 1,
        "failures": {"SAFETY": 1},
        "tokens": {"promptTokenCount": 1234},
        "seconds": {"ingest": 0.5, "vertex": 20.0, "finish": 0.25, "total": 23.0},
        "vertex_seconds": 20.0,
        "overhead_seconds": 3.0,
        "results": "gs://b/m/runs/01kq/",
        "sinks": [],
    },
    Report,
)


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    path = tmp_path / "answers.jsonl"
    rows = [
        {"key": "9", "row": 9, "state": "succeeded", "text": "neuvième"},
        {"key": "2", "row": 2, "state": "failed", "error": {"reason": "SAFETY"}},
        {"key": "1", "row": 1, "state": "succeeded", "text": "premier"},
    ]
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return path


def test_the_time_of_vertex_and_ours_are_told_apart() -> None:
    assert report.stage_rows(REPORT) == [
        {"stage": "ingest", "seconds": 0.5},
        {"stage": "finish", "seconds": 0.25},
        {"stage": "Vertex AI (emulator)", "seconds": 20.0},
    ]
    assert "vertex_seconds 20.00" in report.time_summary(REPORT)
    assert "overhead_seconds 3.00" in report.time_summary(REPORT)


def test_a_few_questions_are_shown_with_their_answers_in_order(answers: Path) -> None:
    first, second = translation_prompts(2)

    assert list(report.sample_answers(answers)) == [(first, "premier"), (second, "SAFETY")]


def test_a_report_for_people_says_that_google_was_not_asked(
    answers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report.show_report(REPORT, answers, ObjectFormat.table)

    text = capsys.readouterr().out
    assert "Run 01kq partially succeeded." in text
    assert "SAFETY" in text
    assert "1,234" in text
    assert "emulated: no model was called" in text
    assert str(answers) in text


def test_a_report_for_programs_is_one_line_of_json(
    answers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report.show_report(REPORT, answers, ObjectFormat.json)

    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == msgspec.structs.asdict(REPORT) | {
        "emulated": True,
        "answers": str(answers),
    }


def test_a_report_shows_estimate_and_cost_side_by_side(
    answers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guess = Estimate(
        3, 0, 1200, 4000, 768, 9000, usd=0.5, usd_least=0.1, usd_most=2.0, online_usd=1.0
    )
    cost = Cost(
        usd=0.25,
        online_usd=0.5,
        by_kind={"output": 0.2},
        billed={"input": 1234},
        estimate=guess,
        checked="2026-10-14",
        location="eu",
    )

    report.show_report(msgspec.structs.replace(REPORT, cost=cost), answers, ObjectFormat.table)

    shown = capsys.readouterr().out
    assert [line.split()[-2:] for line in shown.splitlines() if line.startswith("price  ")] == [
        ["$0.500", "$0.250"]
    ]
    assert "days ago" in shown and "for jobs in eu" in shown
    report.show_report(msgspec.structs.replace(REPORT, cost=cost), answers, ObjectFormat.json)
    assert json.loads(capsys.readouterr().out)["cost"]["estimate"]["usd"] == 0.5
