"""The verbs as typed, as far as they need neither Redis nor anything else."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from promptmill.cli.app import app
from support.waiting import PATIENCE

PROCESSES = ["worker", "beat", "flower", "doctor"]
VERBS = [
    "demo",
    "up",
    "down",
    "submit",
    "list",
    "describe",
    "watch",
    "wait",
    "results",
    "failures",
    *PROCESSES,
]
VERBS += [
    "validate",
    "estimate",
    "costs",
    "models",
    "config",
    "cancel",
    "reconcile",
    "dead-letters",
    "lost-jobs",
]
VERBS += ["show", "retry", "gc", "enqueue", "find-pooled"]
SLOW = {
    "celery",
    "google.auth",
    "google.cloud.storage",
    "redis",
    "pydantic",
    "flower",
    "promptmill.local",
}
NOBODY = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def logging_is_left_alone() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture(autouse=True)
def nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        name
        for name in os.environ
        if name.startswith(("PROMPTMILL_", "CELERY_", "FLOWER_", "GOOGLE_"))
    ]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CELERY_BROKER_URL", NOBODY)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_examples(verb: str) -> None:
    result = CliRunner().invoke(app, [verb, "--help"], prog_name="promptmill")

    assert result.exit_code == 0
    assert f"promptmill {verb}" in result.stdout.replace("Usage: promptmill", "")


def test_the_help_names_every_verb_without_cutting_its_purpose() -> None:
    result = CliRunner().invoke(app, ["--help"])

    assert all(f"\n  {verb} " in result.stdout for verb in [*VERBS, "emulator", "storage"])
    assert "..." not in result.stdout.partition("Try it:")[2]


@pytest.mark.parametrize("verb", ["submit", "estimate"])
def test_a_template_is_for_the_rows_of_a_file(verb: str) -> None:
    result = CliRunner().invoke(
        app, [verb, "--prompt", "Say hello", "--template", "Say {{ word }}"]
    )

    assert result.exit_code == 2
    assert "needs the rows of a FILE" in " ".join(result.output.split())


def test_the_help_imports_nothing_that_takes_time() -> None:
    program = (
        "import sys; sys.argv[1:] = ['--help']\n"
        "from promptmill.cli import main\n"
        "try: main()\n"
        f"finally: print(sorted({SLOW} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )

    assert result.stdout.splitlines()[-1] == "[]"


def test_the_version_is_told() -> None:
    result = CliRunner().invoke(app, ["--version"])

    assert result.exit_code == 0
    assert result.stdout.strip()[0].isdigit()


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit"],
        ["submit", "p.txt", "--prompt", "both"],
        ["submit", "--prompt", "x", "--label", "no-value"],
        ["submit", "rows.csv", "--key", "id"],
        ["submit", "--prompt", "x", "--template", "{{ x }}"],
        ["validate", "rows.csv", "--template", "{{ x }}", "--config", "[1]"],
        ["validate"],
        ["wait", "01kq", "--timeout", "soon"],
        ["worker", "--queues", "pool"],
        ["list", "--format", "yaml"],
        ["demo", "--latency", "long"],
        ["submit", "--prompt", "x", "--max-attempts", "0"],
        ["submit", "--prompt", "x", "--deadline", "soon"],
        ["submit", "--prompt", "x", "--link", "shop.notify@"],
        ["dead-letters", "--replay", "x", "--all"],
        ["lost-jobs", "--end", "x", "--retry", "x"],
        ["nonsense"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)

    assert result.exit_code == 2
    assert result.stdout == ""


def test_an_error_is_one_line_on_stderr() -> None:
    result = CliRunner().invoke(app, ["list"])

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: Redis at redis://127.0.0.1:1/0 does not answer")
    assert result.stderr.count("\n") == 1


def test_a_run_without_a_model_is_refused_before_anything_else() -> None:
    result = CliRunner().invoke(app, ["submit", "--prompt", "hi"])

    assert (result.exit_code, result.stderr) == (
        1,
        "error: no model: pass --model (Python: model=) or set PROMPTMILL_MODEL\n",
    )


def test_a_file_that_is_not_jsonl_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "fine"}\n{oops\n')

    result = CliRunner().invoke(app, ["submit", str(path), "--model", "gemini-3.8-flash"])

    assert result.exit_code == 1
    assert result.stderr.startswith("error: rows.jsonl line 2: not valid JSON")


REVIEWS = "id,text,shop\n1,good,7\n2,,7\n3,bad,7,8\n"


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text(REVIEWS)
    return path


def test_the_rows_that_cannot_be_sent_are_listed_and_nobody_has_to_be_there(reviews: Path) -> None:
    (reviews.parent / "prompt.txt").write_text("{{ text }}\n")
    options = [
        "--template",
        f"@{reviews.parent / 'prompt.txt'}",
        "--key",
        "id",
        "--metadata",
        "shop",
    ]

    result = CliRunner().invoke(app, ["validate", str(reviews), *options, "--format", "csv"])

    assert result.exit_code == 3
    assert (
        result.stdout
        == "row,key,reason\n2,2,the prompt is empty\n3,3,reviews.csv line 4: the row has 4 values for 3 columns\n"
    )
    assert result.stderr == "2 of 3 rows invalid; submit would send the others\n"


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--template", "Is this {{ text }} good?"], 3, "1 of 3 rows invalid"),
        (["--template", "{{ txt }}"], 4, "1 problem in 1 row; submit would refuse the whole run"),
        (["--template", "{{ text }}", "--key", "shop"], 4, "submit would refuse the whole run"),
        (["--template", "{{ text"], 1, "error: the template, line 1"),
        ([], 1, "rows need a template"),
    ],
)
def test_the_exit_code_of_validate_says_how_much_is_wrong(
    reviews: Path, options: list[str], code: int, told: str
) -> None:
    result = CliRunner().invoke(app, ["validate", str(reviews), *options])

    assert result.exit_code == code
    assert told in " ".join(result.output.split())


def test_a_file_of_prompts_of_which_all_can_be_sent_is_valid(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("one\ntwo\n")

    result = CliRunner().invoke(app, ["validate", str(tmp_path / "prompts.txt")])

    assert (result.exit_code, result.stdout, result.stderr) == (
        0,
        "",
        "2 rows, all valid\n",
    )


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTMILL_BUCKET", "s3://elsewhere")

    result = CliRunner().invoke(app, ["list"])

    assert result.exit_code == 1
    assert result.stderr.startswith("error: PROMPTMILL_BUCKET: must have the form gs://")


def test_doctor_finds_a_wrong_setting_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTMILL_BUCKET", "s3://elsewhere")

    result = CliRunner().invoke(app, ["doctor"])

    assert result.exit_code == 1
    assert result.stdout.startswith("✗ settings")


def test_flower_beyond_this_machine_needs_a_login() -> None:
    result = CliRunner().invoke(app, ["flower", "--address", "0.0.0.0"])  # noqa: S104

    assert result.exit_code == 1
    assert "FLOWER_BASIC_AUTH" in result.stderr


def test_down_where_nothing_runs_says_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["down", "--data", str(tmp_path)])

    assert result.exit_code == 0
    assert "no stack runs in" in result.stderr
    assert "in the folder where you ran promptmill up" in result.stderr


def test_settings_are_shown_with_their_origin_and_without_passwords(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "rediss://me:geheim@broker:6379/0")
    monkeypatch.setenv("PROMPTMILL_MODEL", "gemini-3.8-flash")
    monkeypatch.setenv(
        "PROMPTMILL_NAMED_SINKS",
        '{"shop": {"url": "postgresql://me:geheim@db/shop", "secret": "geheim"}}',
    )

    shown = CliRunner().invoke(app, ["config", "show", "--origin", "--format", "json"])
    told = {row["variable"]: (row["value"], row["origin"]) for row in json.loads(shown.stdout)}

    assert told["CELERY_BROKER_URL"] == ("rediss://me:***@broker:6379/0", "environment")
    assert told["PROMPTMILL_MODEL"] == ("gemini-3.8-flash", "environment")
    assert told["PROMPTMILL_NAMED_SINKS"] == ("***", "environment")
    assert told["PROMPTMILL_POLL_INTERVAL"] == ("3.0", "default")
    assert "geheim" not in shown.output + CliRunner().invoke(app, ["config", "show"]).output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--system", "Be brief"], "--system applies to rows; add a --template"),
        (["--config", '{"maxOutputTokens": 10}'], "--config applies to rows; add a --template"),
        (["--template", "{{ text }}"], "--output is for complete requests in a table"),
        (["--tables", "acme.shop"], "--output is for complete requests in a table"),
        (["--prompt", "Hello"], "--output is for complete requests in a table"),
    ],
)
def test_what_a_table_of_requests_would_not_heed_is_refused(options: list[str], words: str) -> None:
    """What were passed over could cost money."""
    table = [
        "submit",
        "bq://acme.shop.requests",
        "--output",
        "bq://acme.shop",
        "--key",
        "id",
        "--metadata",
        "shop",
    ]
    told = CliRunner().invoke(app, [*table, *options])

    assert told.exit_code == 2
    assert words in " ".join(told.output.replace("│", " ").split())


def test_a_missing_file_of_an_option_is_an_error_like_a_missing_file_of_prompts() -> None:
    result = CliRunner().invoke(app, ["submit", "rows.csv", "--template", "@none.txt"])

    assert (result.exit_code, result.stderr) == (
        1,
        "error: none.txt cannot be read: No such file or directory\n",
    )


def test_a_malformed_config_is_answered_with_an_example() -> None:
    result = CliRunner().invoke(
        app, ["submit", "rows.csv", "--template", "x", "--config", "temperature=0"]
    )

    assert result.exit_code == 2
    assert '--config must be a JSON object such as {"temperature": 0}' in result.stderr


def test_submitting_to_the_default_redis_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CELERY_BROKER_URL")

    result = CliRunner().invoke(app, ["submit", "--prompt", "hi"])

    assert result.stderr.startswith(
        "CELERY_BROKER_URL is not set; using redis://127.0.0.1:6379/0\n"
    )


def test_the_doctor_notes_a_mistyped_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTMILL_PART_BYTE", "3")

    result = CliRunner().invoke(app, ["doctor"])

    message = "PROMPTMILL_PART_BYTE is unknown; did you mean PROMPTMILL_PART_BYTES?"
    assert message in result.stdout


def test_a_warning_is_one_line_on_stderr(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text\na\nb\n")
    options = [
        "--template",
        "{{ text }}",
        "--model",
        "gemini-9-flash",
        "--config",
        '{"temperature": 0}',
    ]
    result = CliRunner().invoke(app, ["estimate", str(path), *options])
    assert result.exit_code == 0, result.output
    warned = [line for line in result.stderr.splitlines() if "warning" in line]
    assert warned == [
        "warning: model gemini-9-flash is not in the table of known models, so it is not checked; "
        "did you mean gemini-3.8-flash?"
    ]
