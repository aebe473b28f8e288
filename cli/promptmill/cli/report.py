"""The final report of the demo."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import typer

from promptmill.cli import cost_tables, output
from promptmill.cli.output import ObjectFormat, Record
from promptmill.config import spans
from promptmill.producers import Report, Result

if TYPE_CHECKING:
    from rich.console import Console

SHOWN_ANSWERS = 3
MAX_TEXT_LENGTH = 160
_TOTAL_STAGES = ("total", "vertex", "overhead")
_COUNTS = (
    "requests",
    "succeeded",
    "failed",
    "deduplicated",
    "reused",
    "unaccounted",
    "duplicates",
    "unknown",
    "unreadable",
    "jobs",
)


def show_report(report: Report, answers: Path, output_format: ObjectFormat) -> None:
    """Write the report to stdout: one line of JSON, or tables and sample answers."""
    if output_format is ObjectFormat.json:
        record = msgspec.structs.asdict(report) | {"emulated": True, "answers": str(answers)}
        typer.echo(msgspec.json.encode(record))
        return
    console = output.stdout_console()
    console.print(f"\nRun {report.run} {report.state.replace('_', ' ')}.\n")
    _show_tables(console, report)
    if report.succeeded:
        _show_answers(console, answers)


def _show_tables(console: "Console", report: Report) -> None:
    console.print(output.build_table(stage_rows(report), "Time by stage"))
    console.print("\n" + time_summary(report))
    console.print(output.build_table(count_rows(report), "Counts"))
    if cost := report.cost:
        console.print()
        console.print(output.build_table(cost_tables.cost_rows(cost), "Cost, at Google's prices"))
        console.print(cost_tables.describe_price_age(cost.checked, cost.table, cost.location))
    if report.failures:
        failures = _pair_rows("reason", "requests", report.failures)
        console.print()
        console.print(output.build_table(failures, "Failures"))


def _show_answers(console: "Console", answers: Path) -> None:
    console.print("\nSample answers (emulated: no model was called)")
    for question, answer in sample_answers(answers):
        console.print(f"  {_shorten_text(question)}\n  → {_shorten_text(answer)}\n")
    console.print(f"All answers: {answers}")


def stage_rows(report: Report) -> list[Record]:
    """Return the seconds of each stage as rows, with Vertex AI as one stage."""
    stages = {name: each for name, each in report.seconds.items() if name not in _TOTAL_STAGES}
    stages["Vertex AI (emulator)"] = report.vertex_seconds
    return _pair_rows("stage", "seconds", stages)


def time_summary(report: Report) -> str:
    """Return the total time, split into Vertex AI and Promptmill."""
    total = report.seconds.get("total", report.vertex_seconds + report.overhead_seconds)
    return (
        f"{spans.format_duration(total)} in total: "
        f"vertex_seconds {report.vertex_seconds:.2f} (the emulator's), "
        f"overhead_seconds {report.overhead_seconds:.2f} (Promptmill's)\n"
    )


def count_rows(report: Report) -> list[Record]:
    """Return all counts as rows."""
    counts = {name: int(getattr(report, name)) for name in _COUNTS}
    tokens = {f"tokens: {kind}": count for kind, count in report.tokens.items()}
    return _pair_rows("what", "count", counts | tokens)


def sample_answers(answers: Path) -> Iterator[tuple[str, str]]:
    """Yield the first questions of the demo and their answers."""
    from promptmill.cli.sample_prompts import translation_prompts

    questions = dict(enumerate(translation_prompts(SHOWN_ANSWERS), 1))
    with answers.open("rb") as lines:
        results = (msgspec.json.decode(line, type=Result) for line in lines)
        sample_results = islice((each for each in results if each.row in questions), SHOWN_ANSWERS)
        for result in sorted(sample_results, key=lambda result: result.row):
            reason = result.error.reason if result.error else ""
            yield questions[result.row], result.text or reason


def _pair_rows(key_column: str, value_column: str, values: Mapping[str, float]) -> list[Record]:
    return [{key_column: key, value_column: value} for key, value in values.items()]


def _shorten_text(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_TEXT_LENGTH else line[: MAX_TEXT_LENGTH - 1] + "…"
