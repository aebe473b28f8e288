"""Every shell command of the documentation, run against a stack on this machine."""

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from promptmill.local.services import BUCKET, StackOptions
from promptmill.local.stack import Stack
from support.postgres import postgres_server
from support.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
ANY_PORTS = {"redis": 0, "storage": 0, "emulator": 0, "flower": 0}
WITHOUT_PAGE = ("redis", "storage", "emulator", "worker", "poll", "beat")
MODEL = "gemini-3.8-flash"

RUN_ELSEWHERE = re.compile(
    r"""
      ^make\b                                                      # the targets run the tests
    | ^export\ |^(gcloud|docker|pip|source)\b                            # need Google, Docker, an index
    | bq://|\bSELECT\b|--tables                                    # test_bigquery.py
    | /endpoints/\d                                                # test_embeddings.py
    | \ --live\b|tools/add_capture\.py                             # test_live_check.py
    | promptmill\ (up|down|demo|worker|beat|flower|emulator|storage)\b  # tests/integration
    """,
    re.VERBOSE,
)
"""Lines that other tests run, or that need what a test cannot have. `tests/unit/test_docs.py`
parses their `promptmill` commands all the same."""

REFUSED = ("dead-letters --replay", "lost-jobs --end", "lost-jobs --retry")
"""Commands that need a fault first: a healthy deployment refuses them with a message."""

FILES = {
    "prompt.txt": "Describe {{ name | default(text) | default(uri) }}",
    "classify.txt": "Classify: {{ text }}",
    "ticket.txt": "the printer is on fire",
    "prompts.jsonl": '{"key": "p-1", "prompt": "Say hello"}\n',
    "reviews.jsonl": '{"key": "r-1", "prompt": "Classify: I love it."}\n',
    "questions.jsonl": '{"key": "q-1", "prompt": "Who won the cup?"}\n',
    "products.jsonl": '{"key": "sku-1", "prompt": "A waterproof jacket for hiking"}\n',
    "claims.jsonl": '{"key": "c-1", "prompt": "Read the letter: a pipe burst."}\n',
    "rows.jsonl": '{"key": "w-1", "prompt": "Say goodbye"}\n',
    "reviews.csv": "id,shop,text\nr-1,7,I love it.\nr-2,9,It broke.\n",
    "products.csv": "sku,shop,name\nsku-1,7,Lamp\nsku-2,7,Chair\n",
    "claims.py": "import pydantic\n\n\nclass Claim(pydantic.BaseModel):\n    cause: str\n",
    "catalogue.jsonl": (
        '{"key": "sku-1", "request": {"contents": [{"role": "user", "parts": [{"text": "Describe'
        ' this shirt in many words"}]}], "generationConfig": {"maxOutputTokens": 1}}}\n'
        '{"key": "17", "prompt": "Describe this shoe"}\n'
    ),
}
"""The files that the samples read. `catalogue.jsonl` becomes the run that they name."""

PROGRAMS = {
    "promptmill": f'exec "{sys.executable}" -m promptmill.cli "$@"',
    "generate": """echo '{"key": "g-1", "prompt": "Say hello"}'""",
    "jq": f'exec "{sys.executable}" -c "import sys; assert sys.stdin.read().startswith(chr(123))"',
}
"""The programs that the samples start."""


def list_commands() -> Iterator[tuple[str, str]]:
    """Yield the page and the text of every command in a shell sample, each command once."""
    seen = set()
    for path in DOCUMENTS:
        for block in re.findall(
            r"^```bash\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL
        ):
            for line in block.replace("\\\n", "").splitlines():
                command = re.sub(r"\s+# .*$", "", line)
                if command and not RUN_ELSEWHERE.search(command) and command not in seen:
                    seen.add(command)
                    yield path.name, command


COMMANDS = list(list_commands())


@dataclass
class Shell:
    """Runs commands in a folder, with the settings of a running stack."""

    folder: Path
    environment: dict[str, str]

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    @functools.cached_property
    def run_id(self) -> str:
        """The id of the run that the samples name."""
        return self.run(
            "promptmill submit catalogue.jsonl --idempotency-key samples"
        ).stdout.strip()


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell with the files and programs of the samples, a stack, and a finished run."""
    folder = tmp_path_factory.mktemp("samples")
    write_files(folder)
    options = StackOptions(
        tmp_path_factory.mktemp("stack"), services=WITHOUT_PAGE, latency=1, ports=ANY_PORTS
    )
    with postgres_server() as database, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMPTMILL_POLL_INTERVAL", "0.3")
        patch.setenv("PROMPTMILL_POOL_SECONDS", "1")
        patch.setenv("PROMPTMILL_NAMED_SINKS", json.dumps({"warehouse": database.url()}))
        with Stack(options) as stack:
            environment = os.environ | stack.client_environment() | {"PROMPTMILL_MODEL": MODEL}
            environment["PATH"] = f"{folder / 'bin'}:{environment['PATH']}"
            shell = Shell(folder, environment)
            prepare_runs(shell)
            yield shell


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_succeeds(page: str, command: str, shell: Shell) -> None:
    refused = any(words in command for words in REFUSED)
    if command == "promptmill watch":
        command = "timeout --signal INT 5 promptmill watch"  # it never ends on its own

    done = shell.run(adapt_command(command, shell.run_id))

    if refused:
        assert done.returncode in {1, 2}
        assert "Traceback" not in done.stderr
    elif "watch" in command or "wait" in command:
        assert done.returncode in {0, 3, 124}, done.stderr
    else:
        assert done.returncode == 0, done.stderr


def test_each_kind_of_command_is_run() -> None:
    verbs = {match[1] for _, text in COMMANDS for match in re.finditer(r"promptmill (\S+)", text)}

    assert len(COMMANDS) > 60
    assert verbs >= {"submit", "results", "retry", "show", "doctor", "reconcile", "gc", "costs"}


def test_the_prompt_file_of_the_quick_start_is_valid(shell: Shell) -> None:
    samples = re.findall(
        r"^```json\n(.*?)^```$",
        (ROOT / "docs/quick-start.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    (shell.folder / "sample.jsonl").write_text("".join(samples))

    assert shell.run("promptmill validate sample.jsonl").returncode == 0


def adapt_command(command: str, run: str) -> str:
    """Replace names of the samples by those of the stack."""
    command = command.replace('"$run"', run)
    command = re.sub(r"\b01(kq|m8)(?=[ ./]|$)", run, command)
    return command.replace("gs://acme/", f"gs://{BUCKET}/acme/")


def write_files(folder: Path) -> None:
    """Write the files that the samples read and the programs that they start."""
    for name, text in FILES.items():
        (folder / name).write_text(text)
    photos = [{"uri": "gs://cloud-samples-data/generative-ai/image/scones.jpg", "name": "Scones"}]
    parquet.write_table(pyarrow.Table.from_pylist(photos), folder / "photos.parquet")
    products = [photo | {"sku": "sku-1", "shop": 7, "photo": photo["uri"]} for photo in photos]
    parquet.write_table(pyarrow.Table.from_pylist(products), folder / "products.parquet")
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "bin").mkdir()
    for name, script in PROGRAMS.items():
        (folder / "bin" / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / "bin" / name).chmod(0o755)


def prepare_runs(shell: Shell) -> None:
    """Upload the file that a sample reads, and make the runs that samples name."""
    from google.cloud import storage

    client = storage.Client(
        project=shell.environment["GOOGLE_CLOUD_PROJECT"],
        client_options={"api_endpoint": shell.environment["STORAGE_EMULATOR_HOST"]},
        use_auth_w_custom_endpoint=False,
    )
    products = client.bucket(BUCKET).blob("acme/products.parquet")
    products.upload_from_filename(str(shell.folder / "products.parquet"))
    for command in (
        f"promptmill wait {shell.run_id}",
        "promptmill enqueue 'Classify: it broke' --pool tickets --key T-17",
        "until promptmill find-pooled T-17 --pool tickets; do sleep 0.2; done",
    ):
        assert shell.run(command).returncode in {0, 3}
