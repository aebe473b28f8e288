"""The documents, compared with the code."""

import ast
import functools
import re
import runpy
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from promptmill import producers
from promptmill.cli import exit_codes
from promptmill.cli.app import app
from promptmill.config import errors, queues
from promptmill.config.settings import Settings, load_settings, variable_name
from promptmill.producers.contract.sink_kinds import SINK_KINDS, SinkKind
from promptmill.producers.contract.status import END_STATES, OPEN_STATES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
GENERATED = ("bucket.md", "cli.md", "failure-reasons.md", "models.md", "settings.md")
ALL_TEXT = [
    *DOCUMENTS,
    *ROOT.glob("examples/*.py"),
    *ROOT.glob("*compose*.yml"),
    ROOT / "Dockerfile",
    ROOT / "zensical.toml",
]


def name_of(path: Path) -> str:
    """Return the path of a document below the project."""
    return str(path.relative_to(ROOT))


EACH_DOCUMENT = pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
SHELL_OPERATORS = {"|", ">", "<", "&&", ";"}


def test_the_documents_exist() -> None:
    assert {path.name for path in DOCUMENTS} >= {
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    }


def test_readme_and_architecture_are_short() -> None:
    assert len(readme().split()) <= 900
    assert [line for line in readme().splitlines() if len(line) > 120] == []
    assert len(architecture().split()) <= 2000


def test_the_readme_says_what_has_not_been_tried() -> None:
    assert "Nothing is proven on Google's live service yet." in readme()
    assert "promptmill doctor --live" in readme()
    assert "## When not to use it" in readme()


@EACH_DOCUMENT
def test_relative_links_resolve(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text())

    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_every_page_is_in_the_navigation_once() -> None:
    navigation = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    pages = list(list_pages(navigation))

    decisions = {path for path in DOCS.glob("decisions/*.md") if path.name != "index.md"}
    expected = {path for path in DOCUMENTS if DOCS in path.parents} - decisions
    assert sorted(pages) == sorted(str(path.relative_to(DOCS)) for path in expected)


def test_every_decision_is_in_their_index() -> None:
    index = (DOCS / "decisions" / "index.md").read_text()
    pages = sorted(path.name for path in DOCS.glob("decisions/[0-9]*.md"))

    assert re.findall(r"\((\d{4}-[a-z0-9-]+\.md)\)", index) == pages
    assert [int(name[:4]) for name in pages] == list(range(1, len(pages) + 1))
    for name in pages:
        headings = re.findall(r"^## (\w+)$", (DOCS / "decisions" / name).read_text(), re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequence"]


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    expected = generate_pages()[name]

    assert (DOCS / "reference" / name).read_text() == expected, (
        "run `make docs` and commit the result"
    )


def test_every_public_name_of_producers_is_in_the_python_reference() -> None:
    page = (DOCS / "reference" / "python.md").read_text()
    documented = {
        name.rpartition(".")[2] for name in re.findall(r"^::: (\S+)$", page, re.MULTILINE)
    }
    modules = {"sinks"} | {name for name in producers.__all__ if hasattr(errors, name)}

    assert {"sink_specs", "errors"} <= documented
    assert set(producers.__all__) - modules <= documented


def test_no_other_page_claims_to_be_generated() -> None:
    pages = {path.name for path in DOCUMENTS if path.read_text().startswith("<!-- Generated")}

    assert pages == set(GENERATED) == set(generate_pages())


@EACH_DOCUMENT
def test_python_blocks_compile(path: Path) -> None:
    for block in blocks(path.read_text(), "python"):
        compile(block, str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_the_first_code_of_the_readme_is_an_example_that_is_run() -> None:
    code = next(blocks(readme(), "python"))

    assert (ROOT / "examples" / "translate.py").read_text().endswith(f'"""\n\n{code}')


def test_the_code_on_sinks_runs_with_the_settings_of_its_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = (DOCS / "guides" / "sinks.md").read_text()
    for name, value in re.findall(r"^export (\w+)='(.*)'$", page, re.MULTILINE):
        monkeypatch.setenv(name, value)

    schemes = {
        load_settings().get_named_sink(name).url.partition(":")[0] for name in ("warehouse", "crm")
    }
    assert schemes == {"postgresql", "https"}
    for block in blocks(page, "python"):
        exec(compile(block, "sinks.md", "exec"), {})  # noqa: S102 - it is ours


@pytest.mark.parametrize("kind", SINK_KINDS.values(), ids=lambda kind: kind.name)
def test_every_kind_of_sink_has_a_section(kind: SinkKind) -> None:
    page = (DOCS / "guides" / "sinks.md").read_text()
    sections = [
        section
        for section in page.split("\n## ")[1:]
        if re.search(rf"^Kinds?: .*`{kind.name}`", section, re.MULTILINE)
    ]

    assert len(sections) == 1
    assert not kind.extra or f"promptmill[{kind.extra}]" in sections[0]


@EACH_DOCUMENT
def test_commands_parse(path: Path) -> None:
    for command in promptmill_commands(path.read_text()):
        parse_command(command, for_celery=path.name == "cli.md")


def test_the_readme_shows_commands_at_all() -> None:
    assert len(list(promptmill_commands(readme()))) >= 6


def test_an_unknown_option_is_noticed() -> None:
    with pytest.raises(AssertionError, match="latency"):
        parse_command(["beat", "--latency", "5s"])


def test_every_command_has_a_section_in_the_reference() -> None:
    page = (DOCS / "reference" / "cli.md").read_text()
    sections = {heading.split()[0] for heading in re.findall(r"^## (.+)$", page, re.MULTILINE)}

    assert set(command_line().commands) <= sections


def test_every_exit_code_of_a_run_is_in_the_reference() -> None:
    rows = {row[0] for row in table((DOCS / "reference" / "cli.md").read_text(), "code")}
    codes = {exit_codes.code_for_state(state) for state in END_STATES}

    assert rows >= {str(code) for code in (*codes, exit_codes.WAIT_TIMED_OUT)}


def test_every_make_target_that_a_document_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        name
        for path in DOCUMENTS
        for name in re.findall(r"(?:^|`)make ([a-z-]+)", path.read_text(), re.MULTILINE)
    }

    assert {"demo", "docs", "test"} <= named <= targets


def test_every_setting_that_a_document_names_exists() -> None:
    settings = {variable_name(name) for name in Settings.model_fields}
    named = {
        name
        for path in DOCUMENTS
        if path.name != "CHANGELOG.md"
        for name in re.findall(r"`(PROMPTMILL_[A-Z_]+[A-Z])(?:=[^`]*)?`", path.read_text())
    }

    assert named <= settings


def test_every_setting_is_described() -> None:
    rows = table((DOCS / "reference" / "settings.md").read_text(), "variable")

    assert {row[0].strip("`") for row in rows} == {
        variable_name(name) for name in Settings.model_fields
    }


def test_every_permission_that_workers_need_is_granted_by_its_page() -> None:
    page = (DOCS / "operations" / "permissions.md").read_text()
    rows = {row[0]: row[1] for row in table(page, "process")}
    of_work, of_jobs = (
        next(rows[name] for name in rows if queue in name) for queue in ("`work`", "`poll`")
    )

    assert set(re.findall(r"[a-z]+", of_work)) >= {"create", "get", "list", "delete"}
    for name in ("create", "get", "list", "cancel"):
        assert f"batchPredictionJobs.{name}" in page
    assert "the same" in of_jobs
    assert rows["beat, Flower"] == "none"


def test_every_task_and_its_queue_are_in_the_table_of_tasks() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", architecture(), re.MULTILINE)

    assert {
        f"promptmill.{task}": f"promptmill.{queue}" for task, queue in rows
    } == queues.TASK_QUEUES


def test_every_state_of_a_run_is_in_the_table_of_states() -> None:
    cells = " ".join(row[0] for row in table(architecture(), "state of a run"))

    assert re.findall(r"`(\w+)`", cells) == [*OPEN_STATES, *END_STATES]


@pytest.mark.parametrize("path", ALL_TEXT, ids=name_of)
def test_nothing_names_a_machine_or_a_package_index(path: Path) -> None:
    text = path.read_text()

    assert not re.search(
        r"/work/|/home/(?!promptmill)|/tmp/|pypi|pythonhosted|artifactory|nexus",
        text,
        re.IGNORECASE,
    )


@functools.cache
def generate_pages() -> dict[str, str]:
    """Return the reference pages as the tool would write them."""
    build = runpy.run_path(str(ROOT / "tools" / "generate_reference.py"))["build_pages"]
    return dict(build())


def readme() -> str:
    """Return the README."""
    return (ROOT / "README.md").read_text()


def architecture() -> str:
    """Return the page on the architecture."""
    return (ROOT / "ARCHITECTURE.md").read_text()


def list_pages(navigation: object) -> Iterator[str]:
    """Yield the pages of a navigation, however deep."""
    if isinstance(navigation, str):
        yield navigation
    elif isinstance(navigation, dict):
        yield from list_pages(list(navigation.values()))
    elif isinstance(navigation, list):
        for entry in navigation:
            yield from list_pages(entry)


def blocks(markdown: str, language: str) -> Iterator[str]:
    """Yield the code blocks of a language."""
    yield from re.findall(rf"^```{language}\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL)


def table(markdown: str, first_column: str) -> list[list[str]]:
    """Return the rows of the table with this first column."""
    _, _, rest = markdown.partition(f"| {first_column} |")
    rows = rest.partition("\n\n")[0].splitlines()[2:]
    assert rows, f"no table of {first_column}"
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def join_lines(block: str) -> list[str]:
    """Return the commands of a shell sample; a backslash continues a line."""
    return block.replace("\\\n", "").splitlines()


def promptmill_commands(markdown: str) -> Iterator[list[str]]:
    """Yield the arguments of every ``promptmill …`` in blocks and in lines of code."""
    lines = [line for block in blocks(markdown, "bash") for line in join_lines(block)]
    inner = re.findall(r"\$\((promptmill [^)]*)\)", markdown)
    for line in [*lines, *inner, *re.findall(r"`([^`\n]*promptmill [^`]+)`", markdown)]:
        line = re.sub(r"\$\([^)]*\)", "inner", line)
        words = shlex.split(line.replace("\n", " "), comments=True)
        if "promptmill" in words and words[0] not in {"pip", "from"}:
            arguments = words[words.index("promptmill") + 1 :]
            ends = [index for index, word in enumerate(arguments) if word in SHELL_OPERATORS]
            yield arguments[: ends[0]] if ends else arguments


def parse_command(arguments: list[str], *, for_celery: bool = False) -> None:
    """Parse a command as the command line would; a verb alone is only a mention of it.

    ``for_celery`` allows options that are passed on to Celery.
    """
    verb, *rest = arguments
    command = command_line()
    while hasattr(command, "commands"):
        assert verb in command.commands, verb
        command = command.commands[verb]
        if hasattr(command, "commands"):
            verb, *rest = rest
    context = command.make_context(verb, list(rest), resilient_parsing=not rest)
    assert for_celery or not context.args, context.args


def command_line() -> Any:
    """Return the command line, as a group of commands."""
    return typer.main.get_command(app)
