"""The report of a live check, and the options that need it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from promptmill.cli import entry_points, live_check
from promptmill.cli.app import app
from promptmill.cli.live_check import LiveFlags
from promptmill.cli.output import ObjectFormat
from promptmill.producers.checks import Finding

HOLDS = Finding("times", "The times are in order.", True, "1, 2, 3")
FALSE = Finding("usage", "The counts add up.", False, "3 is not 4")
OPEN = Finding("thinking", "Thoughts count.", None, "no thoughts")


@pytest.mark.parametrize(
    ("findings", "code"),
    [([HOLDS], 0), ([HOLDS, OPEN], 3), ([OPEN, FALSE], 1), ([FALSE], 1)],
)
def test_the_exit_code_says_whether_all_beliefs_hold(findings: list[Finding], code: int) -> None:
    assert live_check.code_for_findings(findings) == code


def test_a_belief_that_does_not_hold_is_stated_below_its_evidence() -> None:
    lines = live_check.format_finding(FALSE).splitlines()

    assert [line.split(maxsplit=2) for line in lines] == [
        ["✗", "usage", "3 is not 4"],
        ["belief:", "The", "counts add up."],
    ]
    assert live_check.format_finding(HOLDS).split() == ["✓", "times", "1,", "2,", "3"]
    assert live_check.format_finding(OPEN).startswith("? thinking")


@pytest.mark.parametrize(
    "option", ["--model=m", "--search", "--yes", "--timeout=5m", "--capture=file"]
)
def test_options_of_the_live_check_need_it(option: str) -> None:
    result = CliRunner().invoke(app, ["doctor", option])

    assert result.exit_code == 2
    assert f"{option.partition('=')[0]} applies to the live check; add --live" in result.output


@pytest.mark.parametrize("missing", ["GOOGLE_CLOUD_PROJECT", "PROMPTMILL_BUCKET"])
def test_the_live_check_names_the_setting_that_it_needs(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "acme-project")
    monkeypatch.setenv("PROMPTMILL_BUCKET", "gs://acme")
    monkeypatch.delenv(missing)

    result = CliRunner().invoke(app, ["doctor", "--live", "--yes"])

    assert result.exit_code == 1
    assert f"error: {missing} is not set" in result.output


def test_a_model_that_embeds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "acme-project")
    monkeypatch.setenv("PROMPTMILL_BUCKET", "gs://acme")

    result = CliRunner().invoke(app, ["doctor", "--live", "--model", "gemini-embedding-001"])

    assert result.exit_code == 1
    assert "choose a model that generates text" in result.output


class FinishedCheck:
    """A live check that found ``findings``, and left one job behind."""

    def __init__(self, findings: list[Finding]) -> None:
        self._findings = findings
        self.calls: Mapping[str, int] = {"Vertex AI": 20, "Cloud Storage": 13}
        self.seconds = 300.0
        self.left = ["job j: 403"]
        self.target = "m in p"
        self.max_dollars: float | None = 0.0004
        self.failure = ""

    def run_check(self, on_progress: Callable[[str], None]) -> list[Finding]:
        on_progress("main job RUNNING")
        return self._findings

    def write_capture(self, findings: list[Finding], path: Path | None) -> Path:
        return path or Path("capture.json")


def run_finished(
    findings: list[Finding], monkeypatch: pytest.MonkeyPatch, output_format: ObjectFormat
) -> None:
    check = FinishedCheck(findings)
    monkeypatch.setattr(entry_points, "call_entry_point", lambda *_, **__: check)
    live_check.check_live(LiveFlags(yes=True), output_format)


def test_the_report_names_price_progress_time_calls_and_what_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_finished([HOLDS], monkeypatch, ObjectFormat.table)

    stdout, stderr = capsys.readouterr()
    assert stdout == "✓ times           1, 2, 3\n"
    assert "Two jobs of m in p. Price: at most $0.0004." in stderr
    assert "main job RUNNING" in stderr
    assert "not removed: job j: 403" in stderr
    assert "1 of 1 belief hold. 5 min 00 s, 33 calls (13 of Cloud Storage, 20 of V" in stderr


def test_programs_get_the_report_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_finished([HOLDS], monkeypatch, ObjectFormat.json)

    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert report["beliefs"] == [HOLDS._asdict()]
    assert report["calls"] == {"Vertex AI": 20, "Cloud Storage": 13}
    assert (report["seconds"], report["left"]) == (300.0, ["job j: 403"])
