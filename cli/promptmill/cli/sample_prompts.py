"""Sample prompts: English sentences from Python's manual and standard library.

The manual (``pydoc_data.topics``) has some 2,500 sentences. With the docstrings of the
library there are some 7,000.
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
"""Bytes. Parsing a longer module would take too much memory."""

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
    """Return ``count`` prompts, each a sentence to translate into one of ten languages.

    Splits the text before it returns. That takes a second or two, which is not part of
    the run's time.
    """
    to_translate = list(islice(unique_sentences(), count))
    prompts = (
        f"Translate to {language}: {sentence}"
        for language in cycle(LANGUAGES)
        for sentence in to_translate
    )
    return islice(prompts, count)


def unique_sentences() -> Iterator[str]:
    """Yield at least 5,500 different sentences. Their order depends on Python only."""
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
    """Return whether the text is a sentence, not a heading, table, grammar or code."""
    return (
        20 <= len(sentence) <= 400
        and sentence[0].isupper()
        and sentence[-1] in ".!?"
        and ">>>" not in sentence
        and "::=" not in sentence
        and sum(map(len, _WORD.findall(sentence))) > 0.6 * len(sentence)
    )
