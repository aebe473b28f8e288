"""English sentences that every machine with Python has: its manual, and the documentation of its library.

The manual (``pydoc_data.topics``) has some 2,500 different ones; the docstrings of the library bring it to some 7,000.
"""

import ast
import re
import sysconfig
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_BETWEEN_SENTENCES = re.compile(r"(?<=[.!?])\s+(?=[\"“(*]?[A-Z])")
_WORD = re.compile(r"[A-Za-z]{2,}")
_LONGEST_SOURCE = 100_000
"""Bytes; the tree of a longer module takes more memory than the few sentences in it are worth."""

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


LANGUAGES = (
    "Spanish",
    "French",
    "German",
    "Italian",
    "Portuguese",
    "Dutch",
    "Polish",
    "Swedish",
    "Turkish",
    "Greek",
)


def translation_prompts(count: int) -> Iterator[str]:
    """Return ``count`` prompts, each a sentence to be translated; all sentences go into one language after the other.

    Splits the text, which takes a second or two, before it returns: that is not to be counted as a run's own time.
    """
    to_translate = list(islice(unique_sentences(), count))
    prompts = (
        f"Translate to {language}: {sentence}"
        for language in cycle(LANGUAGES)
        for sentence in to_translate
    )
    return islice(prompts, count)


def unique_sentences() -> Iterator[str]:
    """Yield different sentences, the same ones in the same order on one version of Python; at least 5,500."""
    seen_hashes: set[int] = set()
    for text in _manual_texts():
        for sentence in _split_sentences(text):
            if hash(sentence) not in seen_hashes:
                seen_hashes.add(hash(sentence))
                yield sentence


def _manual_texts() -> Iterator[str]:
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield topics[name]
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        if path.stat().st_size <= _LONGEST_SOURCE:
            yield from _read_docstrings(path)


def _read_docstrings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, _Documented) and (text := ast.get_docstring(node)):
            yield text


def _split_sentences(text: str) -> Iterator[str]:
    for paragraph in _PARAGRAPH.split(text):
        for sentence in _BETWEEN_SENTENCES.split(" ".join(paragraph.split())):
            if _is_prose(sentence):
                yield sentence


def _is_prose(sentence: str) -> bool:
    """Tell a sentence from a heading, a table, a grammar rule or a piece of code."""
    return (
        20 <= len(sentence) <= 400
        and sentence[0].isupper()
        and sentence[-1] in ".!?"
        and ">>>" not in sentence
        and "::=" not in sentence
        and sum(map(len, _WORD.findall(sentence))) > 0.6 * len(sentence)
    )
