#!/usr/bin/env python3
"""Measure names, functions, docstrings, lines and words, and compare them with limits.

Run it from the project root. It exits with 1 when a figure is over its limit.
With ``--report`` it exits with 0 in any case.
"""

import argparse
import ast
import re
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

SOURCES = ("config", "producers", "cli", "workers", "local", "web", "emulator")
FLAT_PACKAGE = Path("workers/promptmill/workers")
PROSE = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile")

DISTINCTIVE = {
    "mend": r"mend(s|ed|ing|ings)?",
    "anew": r"anew",
    "twin": r"twins?",
    "for ever": r"for\s+ever",
    "at work": r"at\s+work",
    "stands still": r"(stands?|stood|standing)\s+still",
    "may pass": r"may\s+pass",
    "told": r"(told|tells?|telling)",
}
"""Words that the project does not use: each has a standard term."""

EVERYDAY = {
    "look": (r"look(s|ed|ing)?", 264),
    "words": (r"words", 149),
    "people": (r"people", 53),
    "beside": (r"besides?", 57),
    "give up": (r"(give|gives|gave|given|giving)\s+up", 36),
}
"""Words that are rarely the best choice, with their count before the rewrite of November 2026."""

PARTICIPLE = re.compile(
    r"[a-z]*[^e]ed|told|made|found|kept|given|sent|held|lost|begun|taken|written|seen|known"
    r"|shown|done|gone|left|built|bought|brought|caught|chosen|drawn|driven|fallen|met|paid"
    r"|said|sold|spent"
)
"""A name that is nothing but a past participle."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Limit(NamedTuple):
    """One figure and the most that it may be."""

    name: str
    limit: float
    measure: "Callable[[Code], float]"


class Code:
    """The text and the syntax trees of the product."""

    def __init__(self) -> None:
        roots = [root for root in SOURCES if Path(root).is_dir()]
        self.files = sorted(path for root in roots for path in Path(root).rglob("*.py"))
        self.texts = {path: path.read_text() for path in self.files}
        self.nodes = [node for text in self.texts.values() for node in ast.walk(ast.parse(text))]
        self.functions = [node for node in self.nodes if isinstance(node, Function)]
        self.lines = [line for text in self.texts.values() for line in text.splitlines() if line]
        prose = [*map(Path, PROSE), *_find_prose()]
        self.prose = {path: path.read_text() for path in prose if path.exists()}


def measure_function_length(code: Code, percentile: int) -> float:
    """Return a percentile of the lines of functions, from signature to end, docstring included."""
    return _find_percentile([_count_lines(node) for node in code.functions], percentile)


def measure_line_length(code: Code) -> float:
    """Return the 90th percentile of the lengths of lines that are not blank."""
    return _find_percentile([len(line) for line in code.lines], 90)


def count_long_lines(code: Code) -> float:
    """Count the lines of more than 100 characters."""
    return sum(len(line) > 100 for line in code.lines)


def measure_one_word_names(code: Code) -> float:
    """Return the percentage of functions whose name is one word."""
    names = _list_names(code)
    return 100 * sum("_" not in name for name in names) / len(names)


def measure_participles(code: Code) -> float:
    """Return the percentage of functions whose name is a past participle."""
    names = _list_names(code)
    return 100 * sum(PARTICIPLE.fullmatch(name) is not None for name in names) / len(names)


def measure_docstring_sentences(code: Code) -> float:
    """Return the mean number of words in a sentence of a docstring."""
    owners = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
    docstrings = [ast.get_docstring(node) for node in code.nodes if isinstance(node, owners)]
    sentences = [
        sentence.split()
        for docstring in docstrings
        for sentence in re.split(r"(?<=[.!?:])\s+", docstring or "")
    ]
    return statistics.mean(len(words) for words in sentences if words)


def measure_any(code: Code) -> float:
    """Return the uses of ``Any`` per 1,000 lines of code."""
    lines = sum(not line.lstrip().startswith("#") for line in code.lines)
    uses = sum(isinstance(node, ast.Name) and node.id == "Any" for node in code.nodes)
    return 1000 * uses / lines


def count_flat_modules(code: Code) -> float:
    """Count the modules of the workers that are in no folder."""
    return sum(path.parent == FLAT_PACKAGE and path.stem != "__init__" for path in code.files)


def count_words(path: str) -> Callable[[Code], float]:
    """Return a function that counts the words of a document."""
    return lambda code: len(code.prose[Path(path)].split())


def measure_test_names(_code: Code) -> float:
    """Return the median length of the names of test functions."""
    found = (
        re.findall(r"def (test_\w+)", path.read_text()) for path in Path("tests").rglob("*.py")
    )
    return statistics.median(len(name) for names in found for name in names)


def count_term(pattern: str) -> Callable[[Code], float]:
    """Return a function that counts a term in product, documents and examples."""
    return lambda code: len(list(find_term(code, pattern)))


def find_term(code: Code, pattern: str) -> Iterator[str]:
    """Yield the place of each use of a term, as ``path:line``."""
    # An underscore separates words too: the names of functions and files count.
    expression = re.compile(rf"(?<![A-Za-z]){pattern}(?![A-Za-z])", re.IGNORECASE)
    for path, text in (code.texts | code.prose).items():
        for match in expression.finditer(text):
            yield f"{path}:{text.count(chr(10), 0, match.start()) + 1}"


LIMITS = [
    Limit("function length p50", 5, lambda code: measure_function_length(code, 50)),
    Limit("function length p90", 14, lambda code: measure_function_length(code, 90)),
    Limit("function length p99", 30, lambda code: measure_function_length(code, 99)),
    Limit("line length p90", 88, measure_line_length),
    Limit("lines over 100", 0, count_long_lines),
    Limit("one-word names %", 40, measure_one_word_names),
    Limit("past participles %", 1, measure_participles),
    Limit("words per docstring sentence", 11, measure_docstring_sentences),
    Limit("Any per 1,000 lines", 8, measure_any),
    Limit("modules in workers", 10, count_flat_modules),
    Limit("words in README", 900, count_words("README.md")),
    Limit("words in ARCHITECTURE", 2000, count_words("ARCHITECTURE.md")),
    Limit("test name median", 65, measure_test_names),
    *(Limit(f"term: {term}", 0, count_term(pattern)) for term, pattern in DISTINCTIVE.items()),
    *(
        Limit(f"term: {term}", before // 10, count_term(pattern))
        for term, (pattern, before) in EVERYDAY.items()
    ),
]


def main() -> int:
    """Print the figures with their limits; return 1 if one is over its limit."""
    arguments = _parse_arguments()
    code = Code()
    if arguments.find:
        patterns = DISTINCTIVE | {term: pattern for term, (pattern, _) in EVERYDAY.items()}
        print(*find_term(code, patterns[arguments.find]), sep="\n")
        return 0
    failed = False
    for limit in LIMITS:
        figure = limit.measure(code)
        over = figure > limit.limit
        failed |= over
        if over or not arguments.quiet:
            print(_describe_figure(limit, figure))
    return int(failed and not arguments.report)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", action="store_true", help="print only, never fail")
    parser.add_argument("--quiet", action="store_true", help="print only what is over its limit")
    parser.add_argument("--find", metavar="TERM", help="list the places of a term, such as 'told'")
    return parser.parse_args()


def _describe_figure(limit: Limit, figure: float) -> str:
    line = f"{limit.name:30} {figure:8.1f}   limit {limit.limit:5g}"
    return f"{line}   OVER" if figure > limit.limit else line


def _find_prose() -> Iterator[Path]:
    yield from sorted(Path("docs").rglob("*.md"))
    yield from sorted(path for path in Path("examples").rglob("*") if path.suffix in (".py", ".md"))


def _list_names(code: Code) -> list[str]:
    names = [node.name for node in code.functions]
    return [name.strip("_") for name in names if not name.startswith("__")]


def _count_lines(statement: ast.stmt) -> int:
    return (statement.end_lineno or 0) - statement.lineno + 1


def _find_percentile(figures: list[int], percentile: int) -> float:
    return sorted(figures)[min(len(figures) - 1, len(figures) * percentile // 100)]


if __name__ == "__main__":
    sys.exit(main())
