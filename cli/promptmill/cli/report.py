"""The final report of a run that went through the emulator, for people or programs."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import typer

from promptmill.cli import money, output
from promptmill.cli.output import Record, Shape
from promptmill.config import spans
from promptmill.producers import Report, Result

if TYPE_CHECKING:
    from rich.console import Console

SHOWN_ANSWERS = 3
LONGEST_TEXT = 160
_SUMS = ("total", "vertex", "overhead")


def show(report: Report, answers: Path, form: Shape) -> None:
    """Write the report to stdout: as one line of JSON, or as tables with a few of the answers."""
    if form is Shape.json:
        record = msgspec.structs.asdict(report) | {"emulated": True, "answers": str(answers)}
        typer.echo(msgspec.json.encode(record))
        return
    console = output.to_stdout()
    console.print(f"\nRun {report.run} {report.state.replace('_', ' ')}.\n")
    console.print(output.table(stages(report), "Time by stage"))
    console.print("\n" + summary(report))
    console.print(output.table(counts(report), "Counts"))
    if report.cost:
        console.print()
        console.print(output.table(money.of_cost(report.cost), "Cost, had this been Google"))
        console.print(money.age(report.cost.checked, report.cost.table))
    if report.failures:
        console.print()
        console.print(output.table(_pairs("reason", "requests", report.failures), "Failures"))
    if report.succeeded:
        _show_answers(console, answers)


def _show_answers(console: "Console", answers: Path) -> None:
    console.print("\nSome answers, which are emulated: no model has seen the questions")
    for question, answer in samples(answers):
        console.print(f"  {_short(question)}\n  → {_short(answer)}\n")
    console.print(f"All answers: {answers}")


def stages(report: Report) -> list[Record]:
    """Return the seconds of each stage as rows: ours, with Vertex's in one row."""
    ours: list[Record] = [
        {"stage": name, "seconds": seconds} for name, seconds in report.seconds.items() if name not in _SUMS
    ]
    return [*ours, {"stage": "Vertex AI (emulator)", "seconds": report.vertex_seconds}]


def summary(report: Report) -> str:
    """Return how long it all took, Vertex's time and ours apart."""
    total = report.seconds.get("total", report.vertex_seconds + report.overhead_seconds)
    return (
        f"{spans.show(total)} in all: vertex_seconds {report.vertex_seconds:.2f} (the emulator's), "
        f"overhead_seconds {report.overhead_seconds:.2f} (Promptmill's)\n"
    )


def counts(report: Report) -> list[Record]:
    """Return everything that is counted as rows."""
    names = (
        "requests",
        "succeeded",
        "failed",
        "copies",
        "reused",
        "unaccounted",
        "duplicates",
        "unknown",
        "unreadable",
        "jobs",
    )
    counted = {name: int(getattr(report, name)) for name in names}
    return _pairs("what", "count", counted | {f"tokens: {kind}": count for kind, count in report.tokens.items()})


def samples(answers: Path) -> Iterator[tuple[str, str]]:
    """Yield the first questions of the demo with their answers."""
    from promptmill.cli.sentences import translations

    questions = dict(enumerate(translations(SHOWN_ANSWERS), 1))
    with answers.open("rb") as lines:
        results = (msgspec.json.decode(line, type=Result) for line in lines)
        found = islice((result for result in results if result.row in questions), SHOWN_ANSWERS)
        for result in sorted(found, key=lambda result: result.row):
            yield questions[result.row], result.text or (result.error.reason if result.error else "")


def _pairs(name: str, number: str, values: dict[str, int]) -> list[Record]:
    return [{name: key, number: value} for key, value in values.items()]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_TEXT else line[: LONGEST_TEXT - 1] + "…"
