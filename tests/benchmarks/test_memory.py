"""The peak memory of every process, in a run of 5,500 requests and in one of 200,000 of different kinds."""

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import msgspec
import psutil
import pytest

from promptmill.cli.sample_prompts import translation_prompts
from support.local_stack import EVERYTHING, LocalStack, running
from support.measurement import Tell
from support.waiting import wait_until

SMALL, LARGE = 5_500, 200_000
MOST_GROWTH, MOST = 20, 200
MOST_GROWTH_OF_COPIES = 50
"""Two numbers are held of each request that has the answer of another, or of an earlier run, and there are many of those."""
SCHEMA = {
    "type": "object",
    "properties": {
        "language": {"type": "string", "enum": ["de", "es", "fr"]},
        "text": {"type": "string"},
    },
    "required": ["language", "text"],
}


@pytest.mark.parametrize(
    ("runs", "most_growth"),
    [
        ([["--repeat-identical"]], MOST_GROWTH),
        ([["--repeat-identical", "--response-schema", "schema.json"]], MOST_GROWTH),
        ([[]], MOST_GROWTH_OF_COPIES),
        ([["--repeat-identical"], ["--reuse-answers"]], MOST_GROWTH_OF_COPIES),
    ],
    ids=[
        "all sent",
        "a response schema",
        "identical requests sent once",
        "answers of an earlier run",
    ],
)
def test_no_process_takes_more_memory_for_200000_requests_than_for_5500(
    tmp_path: Path,
    tell: Tell,
    monkeypatch: pytest.MonkeyPatch,
    runs: list[list[str]],
    most_growth: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("schema.json").write_bytes(msgspec.json.encode(SCHEMA))
    small, large = (peaks(tmp_path / str(requests), requests, runs) for requests in (SMALL, LARGE))
    tell(
        f"peak memory in MB, submitted with {runs}",
        [
            {
                "process": name,
                f"{SMALL:,}": small[name],
                f"{LARGE:,}": large[name],
                "growth": large[name] - small[name],
            }
            for name in small
        ],
    )

    assert {name: peak for name, peak in large.items() if peak >= MOST} == {}
    assert {
        name: large[name] - small[name] for name in small if large[name] - small[name] > most_growth
    } == {}


def peaks(directory: Path, requests: int, runs: list[list[str]]) -> dict[str, int]:
    """Do a run with each of these options, in a new stack; the peak of each kind of process in MB."""
    directory.mkdir()
    file = directory / "prompts.jsonl"
    with file.open("wb") as out:
        out.writelines(
            msgspec.json.encode({"prompt": prompt}) + b"\n"
            for prompt in translation_prompts(requests)
        )
    with running(directory, settings={}) as stack:
        found = {"producer": max(produce(stack, file, requests, options) for options in runs)}
        for service in EVERYTHING:
            found |= of_service(stack, service)
    return found


def produce(stack: LocalStack, file: Path, requests: int, options: list[str]) -> int:
    """Send the file with `promptmill submit --wait`; returns the peak of that process, which grows until it ends."""
    answers = file.with_name("answers.jsonl")
    command = [sys.executable, "-m", "promptmill.cli", "submit", str(file), "--wait"]
    sink = ["--sink", str(answers), "--sink", "gs://promptmill-local/answers/"]
    seen = watched(
        [*command, *sink, *options], stack.everything, 900, f"the end of a run of {requests:,}"
    )
    with answers.open("rb") as lines:
        assert sum(1 for _ in lines) == requests
    return seen


def watched(command: list[str], environment: dict[str, str], seconds: float, what: str) -> int:
    """Run a command, which must end well; returns the peak of its process in MB, which grows until it ends."""
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        seen = 0

        def ended() -> bool:
            nonlocal seen
            seen = max(seen, peak(process.pid))
            return process.poll() is not None

        wait_until(ended, what, seconds=seconds)
        assert process.returncode == 0
    return seen


def of_service(stack: LocalStack, service: str) -> dict[str, int]:
    """The peaks of a service's first process, of the largest of its pool, and of its guard."""
    first, *pool = stack.processes(service)
    found = defaultdict(int, {service: peak(first.pid)})
    for child in pool:
        found[f"{service} pool"] = max(found[f"{service} pool"], peak(child.pid))
    guard = psutil.Process(first.pid).parent()
    if guard:
        found[f"{service} guard"] = peak(guard.pid)
    return dict(found)


def peak(pid: int) -> int:
    """The high-water mark of a process's memory in MB; 0 when there is none any more."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next(
        (int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM:")),
        0,
    )
