"""What the documents say, held against the code."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import SecretStr

from promptmill.cli import exit_codes
from promptmill.cli.app import app
from promptmill.config import names, queues
from promptmill.config.settings import Settings, load_settings, variable_name
from promptmill.producers.contract.status import END_STATES, OPEN_STATES

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
ALL_TEXT = [
    *DOCUMENTS,
    *ROOT.glob("examples/*.py"),
    *ROOT.glob("*compose*.yml"),
    ROOT / "Dockerfile",
]
EACH_DOCUMENT = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
SHELL_OPERATORS = {"|", ">", "&&", ";"}


def test_the_documents_are_there() -> None:
    assert {path.name for path in DOCUMENTS} >= {
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    }


def test_the_readme_is_short() -> None:
    assert len(readme().splitlines()) <= 160


@EACH_DOCUMENT
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text())

    assert [target for target in targets if not (path.parent / target).exists()] == []


@EACH_DOCUMENT
def test_every_block_of_python_compiles(path: Path) -> None:
    for block in blocks(path.read_text(), "python"):
        compile(block, str(path), "exec")


def test_the_first_code_of_the_readme_is_an_example_that_is_run() -> None:
    code = next(blocks(readme(), "python"))

    assert (ROOT / "examples" / "translate.py").read_text().endswith(f'"""\n\n{code}')


def test_the_code_on_sinks_runs_and_the_settings_beside_it_are_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = (ROOT / "docs" / "sinks.md").read_text()
    for name, value in re.findall(r"^export (\w+)='(.*)'$", page, re.MULTILINE):
        monkeypatch.setenv(name, value)

    assert {
        load_settings().get_named_sink(name).url.partition(":")[0] for name in ("warehouse", "crm")
    } == {
        "postgresql",
        "https",
    }
    for block in blocks(page, "python"):
        exec(compile(block, "sinks.md", "exec"), {})  # noqa: S102 - it is ours


@EACH_DOCUMENT
def test_every_command_is_one_that_promptmill_has(path: Path) -> None:
    for command in promptmill_commands(path.read_text()):
        parse(command)


def test_the_readme_shows_commands_at_all() -> None:
    assert len(list(promptmill_commands(readme()))) >= 8


def test_a_command_that_promptmill_does_not_have_is_noticed() -> None:
    with pytest.raises(AssertionError, match="latency"):
        parse(["beat", "--latency", "5s"])


def test_every_verb_of_the_command_line_is_in_the_readme() -> None:
    listed = {
        verb for row in table(readme(), "command") for verb in re.findall(r"`([\w-]+)`", row[0])
    }

    assert listed == set(command_line().commands)


def test_every_target_of_make_that_a_document_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        name
        for path in DOCUMENTS
        for name in re.findall(r"(?:^|`)make ([a-z-]+)", path.read_text(), re.MULTILINE)
    }

    assert {"demo", "test"} <= named <= targets


def test_every_exit_code_of_a_run_is_in_the_readme() -> None:
    (line,) = re.findall(r"Exit codes: (.*?)\.\n", readme(), re.DOTALL)
    told = {
        words.split(maxsplit=1)[1]: int(words.split()[0])
        for words in line.replace("\n", " ").split(" · ")
    }
    words = {"succeeded": "all succeeded", "partially_succeeded": "partly succeeded"}

    for state in END_STATES:
        assert told[words.get(state, state)] == exit_codes.code_for_state(state)
    assert told["the wait timed out"] == exit_codes.WAIT_TIMED_OUT
    assert told["Ctrl-C"] == exit_codes.INTERRUPTED


def test_the_table_of_settings_is_complete_and_right() -> None:
    told = {row[0].strip("`"): row[1].strip("`") for row in table(settings_page(), "variable")}

    assert told == {
        variable_name(name): shown(name, field.default)
        for name, field in Settings.model_fields.items()
    }


def test_the_settings_in_the_readme_are_those_of_the_table() -> None:
    most_needed = table(readme(), "variable")

    assert len(most_needed) == 5
    assert all(row in table(settings_page(), "variable") for row in most_needed)


def test_every_permission_that_workers_need_is_granted_by_the_page_on_iam() -> None:
    page = (ROOT / "docs" / "iam.md").read_text()
    rows = {row[0]: row[1] for row in table(page, "process")}
    of_work, of_jobs = (
        next(rows[name] for name in rows if queue in name) for queue in ("`work`", "`poll`")
    )

    assert set(re.findall(r"[a-z]+", of_work)) >= {"create", "get", "list", "delete"}
    assert [
        name
        for name in ("create", "get", "list", "cancel")
        if f"batchPredictionJobs.{name}" not in page
    ] == []
    assert "the same" in of_jobs
    assert rows["beat, Flower"] == "none"


def test_the_layout_of_the_bucket_is_that_of_the_code() -> None:
    (layout,) = blocks((ROOT / "ARCHITECTURE.md").read_text(), "text")

    assert layout.strip() in str(names.__doc__)


def test_every_task_and_its_queue_are_in_the_table_of_tasks() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (\w+) \|", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE
    )

    assert {
        f"promptmill.{task}": f"promptmill.{queue}" for task, queue in rows
    } == queues.TASK_QUEUES


def test_every_state_of_a_run_is_in_the_picture_of_its_states() -> None:
    pictures = "".join(blocks((ROOT / "ARCHITECTURE.md").read_text(), "mermaid"))

    assert {state for state in (*OPEN_STATES, *END_STATES) if state not in pictures} == set()


@pytest.mark.parametrize("path", ALL_TEXT, ids=lambda path: path.name)
def test_nothing_names_a_machine_or_a_package_index(path: Path) -> None:
    text = path.read_text()

    assert not re.search(
        r"/work/|/home/(?!promptmill)|/tmp/|pypi|pythonhosted|artifactory|nexus",
        text,
        re.IGNORECASE,
    )


def readme() -> str:
    """Return the README."""
    return (ROOT / "README.md").read_text()


def settings_page() -> str:
    """Return the page of all settings."""
    return (ROOT / "docs" / "settings.md").read_text()


def blocks(markdown: str, language: str) -> Iterator[str]:
    """Yield the code blocks of a language."""
    yield from re.findall(rf"^```{language}\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL)


def table(markdown: str, first_column: str) -> list[list[str]]:
    """Return the rows of the table whose first column is called so."""
    _, _, rest = markdown.partition(f"| {first_column} |")
    rows = rest.partition("\n\n")[0].splitlines()[2:]
    assert rows, f"there is no table of {first_column}"
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def shown(name: str, default: object) -> str:
    """Return how the page shows the default of a setting."""
    if name in {"redis_url", "callback_broker_url"}:
        return "the broker's"
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    return f"{default:.10g}" if isinstance(default, int | float) else str(default)


def promptmill_commands(markdown: str) -> Iterator[list[str]]:
    """Yield the arguments of every ``promptmill …`` in blocks and in lines of code."""
    lines = [line for block in blocks(markdown, "bash") for line in block.splitlines()]
    for line in [*lines, *re.findall(r"`([^`\n]*promptmill [^`]+)`", markdown)]:
        words = shlex.split(line.replace("\n", " "), comments=True)
        if "promptmill" in words and words[0] not in {"pip", "from"}:
            arguments = words[words.index("promptmill") + 1 :]
            ends = [place for place, word in enumerate(arguments) if word in SHELL_OPERATORS]
            yield arguments[: ends[0]] if ends else arguments


def parse(arguments: list[str]) -> None:
    """Parse a command as the command line would; what it would hand on to Celery counts as unknown."""
    verb, *rest = arguments
    command = command_line()
    while hasattr(command, "commands"):
        assert verb in command.commands, verb
        command = command.commands[verb]
        if hasattr(command, "commands"):
            verb, *rest = rest
    context = command.make_context(verb, list(rest))
    assert not context.args, context.args


def command_line() -> Any:
    """Return the command line, as a group of verbs."""
    return typer.main.get_command(app)
