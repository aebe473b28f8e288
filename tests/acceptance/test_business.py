"""Applications that have Promptmill at work for them: what beat sends every night, and a Django site."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, schedules

from promptmill.producers import Promptmill
from promptmill.producers.contract.ids import make_run_id
from support.local_stack import LocalStack, done, shows_its_price
from support.waiting import PATIENCE, wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"


@contextmanager
def celery(stack: LocalStack, folder: Path, *arguments: str) -> Iterator[Path]:
    """Run Celery's own command for the nightly example, or what is laid over it; yields the file with what it prints."""
    log = folder / f"{len(list(folder.glob('*.log')))}.log"
    command = [sys.executable, "-m", "celery", "--app", *arguments]
    path = os.pathsep.join([str(folder), str(EXAMPLES)])
    with log.open("w") as out:
        environment = stack.everything | {"PYTHONPATH": path}
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=out, stderr=out)
    try:
        yield log
    finally:
        process.terminate()
        process.wait(PATIENCE)


def test_a_night_that_comes_twice_is_one_run_whose_end_is_told(
    stack: LocalStack, mill: Promptmill, tmp_path: Path
) -> None:
    worker = [
        "nightly",
        "worker",
        "--pool",
        "solo",
        "--hostname",
        "nightly@%h",
        "--loglevel",
        "WARNING",
    ]
    with (
        celery(stack, tmp_path, *worker) as log,
        Celery(broker=stack.environment["CELERY_BROKER_URL"]) as sender,
    ):
        for _ in range(2):
            sender.send_task("nightly.submit", args=["2026-11-24"], queue="nightly")
        wait_until(
            lambda: "2026-11-24: succeeded, 2 of 2" in log.read_text(), "word of the run's end"
        )

    assert [run.id for run in mill.runs() if run.status.name == "nightly-2026-11-24"] == [
        make_run_id("nightly/2026-11-24")
    ]
    assert len(stack.jobs(make_run_id("nightly/2026-11-24"))) == 1
    assert mill.find(name="nightly-2026-11-24").id == make_run_id("nightly/2026-11-24")
    assert shows_its_price(mill.find(name="nightly-2026-11-24"))


@pytest.mark.parametrize(
    "scheduler", ["celery.beat.PersistentScheduler", "redbeat.RedBeatScheduler"]
)
def test_two_beats_that_send_the_same_day_make_one_run(
    stack: LocalStack, mill: Promptmill, tmp_path: Path, scheduler: str
) -> None:
    """The schedule of the example, every second in place of every night, on two machines at once."""
    key = f"nightly/{datetime.now(UTC).date().isoformat()}"
    (tmp_path / "soon.py").write_text(
        "from nightly import app\n"
        "app.conf.beat_schedule['nightly']['schedule'] = 1.0\n"
        f"app.conf.redbeat_key_prefix = '{tmp_path.name}:'\n"
        "app.conf.redbeat_lock_key = None\n"
        "app.conf.beat_max_loop_interval = 1\n"
    )
    beat = ["soon", "beat", "--scheduler", scheduler, "--loglevel", "INFO"]
    one, two = (
        ["--schedule", str(tmp_path / name)] if "redbeat" not in scheduler else []
        for name in ("one", "two")
    )
    worker = ["soon", "worker", "--pool", "solo", "--hostname", "soon@%h", "--loglevel", "INFO"]
    with (
        celery(stack, tmp_path, *beat, *one, "--pidfile", "") as first,
        celery(stack, tmp_path, *beat, *two, "--pidfile", "") as second,
    ):
        # A beat says that it sends before it does: what it said once before was sent.
        wait_until(
            lambda: all(log.read_text().count("nightly.submit") > 1 for log in (first, second)),
            "both beats",
        )
    with celery(stack, tmp_path, *worker) as log:
        wait_until(lambda: log.read_text().count("nightly.submit") >= 4, "both messages")
        wait_until(lambda: make_run_id(key) in {run.id for run in mill.runs()}, "the run")
        done(mill.get(make_run_id(key)))

    assert len(stack.jobs(make_run_id(key))) == 1


def test_the_schedule_of_the_example_is_due_once_a_night() -> None:
    night = schedules.crontab(hour=2, minute=0)

    assert "crontab(hour=2, minute=0)" in (EXAMPLES / "nightly.py").read_text()
    assert night.remaining_estimate(datetime.now(UTC)) <= timedelta(days=1)


def test_a_django_site_has_its_rows_classified_once_they_are_committed(
    stack: LocalStack, mill: Promptmill, tmp_path: Path
) -> None:
    environment = stack.everything | {"DATABASE": str(tmp_path / "shop.sqlite3")}

    def manage(*arguments: str) -> str:
        command: list[Any] = [sys.executable, "manage.py", *arguments]
        project = EXAMPLES / "django_project"
        made = subprocess.run(
            command,
            env=environment,
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert made.returncode == 0, made.stderr
        return made.stdout

    manage("migrate", "--verbosity", "0")
    assert manage("makemigrations", "--check", "--dry-run").strip() == "No changes detected"
    assert (
        manage("classify", f"Very good. {tmp_path}", "Never again.").strip() == "succeeded: 2 of 2"
    )
    stored = manage(
        "shell",
        "--no-imports",
        "-c",
        "from shop.models import *; print([r.sentiment for r in Review.objects.all()])",
    )

    assert shows_its_price(mill.runs(1)[0])
    assert "Never again." in stored
