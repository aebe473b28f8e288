"""``promptmill lost-jobs``, without workers."""

import pytest
from typer.testing import CliRunner

from promptmill.cli import entry_points
from promptmill.cli.app import app
from promptmill.workers.cli_support.lost_jobs import LostJob


def test_a_lost_job_is_listed_with_the_attempt_that_options_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[object, ...]] = []

    def call(name: str, *args: object, **options: object) -> list[LostJob]:
        calls.append((name, *args, options))
        return [LostJob("01kq/0/1", "jobs/1", 1.0)]

    monkeypatch.setattr(entry_points, "call_entry_point", call)

    listed = CliRunner().invoke(app, ["lost-jobs", "--format", "csv"])
    retried = CliRunner().invoke(app, ["lost-jobs", "--retry", "01kq/0/1"])

    header, row = listed.stdout.splitlines()
    assert header == "attempt,job,since"
    assert row.startswith("01kq/0/1,jobs/1,")
    assert retried.exit_code == 0
    assert calls == [("lost_jobs", {}), ("end_lost_job", "01kq/0/1", {"retry": True})]
