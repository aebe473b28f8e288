"""The demo, from an empty directory to its report."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import psutil

from support.local_stack import keys, once, read_results
from support.waiting import PATIENCE

MARK = "PROMPTMILL_DEMO_MARK"


def test_the_demo_reports_in_its_last_line_and_leaves_answers_and_no_process(
    tmp_path: Path,
) -> None:
    mark = uuid.uuid4().hex
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PROMPTMILL_")
    }

    command = [
        sys.executable,
        "-m",
        "promptmill.cli",
        "demo",
        "--requests",
        "200",
        "--latency",
        "1s",
    ]

    demo = subprocess.run(
        [*command, "--format", "json"],
        env=environment | {MARK: mark},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert demo.returncode == 0, demo.stderr
    report = json.loads(demo.stdout.splitlines()[-1])
    told = {
        name: report[name]
        for name in ("state", "requests", "succeeded", "failed", "unaccounted", "jobs")
    }
    assert told == {
        "state": "succeeded",
        "requests": 200,
        "succeeded": 200,
        "failed": 0,
        "unaccounted": 0,
        "jobs": 1,
    }
    assert report["seconds"]["total"] >= report["vertex_seconds"] >= 1
    assert keys(read_results(Path(report["answers"]))) == once(range(1, 201))
    assert tmp_path in Path(report["answers"]).parents
    assert marked(mark) == []


def marked(mark: str) -> list[psutil.Process]:
    """The processes that have a mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                found.append(process)
        except psutil.Error:
            continue
    return found
