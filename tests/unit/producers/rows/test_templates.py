"""Templates: what they make of a row, and what they say when they cannot."""

from pathlib import Path
from typing import Any

import pytest

from promptmill.config.errors import ConfigurationError
from promptmill.producers.rows.templates import (
    MissingColumn,
    RenderError,
    Template,
    is_template,
    read_template,
)

REVIEW = {"id": 7, "text": "Great <b>shoes</b> & laces", "stars": 5, "notes": None}


def render(text: str, row: dict[str, Any]) -> str:
    return Template(text, "the template").render(row)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("{{ text }} ({{ stars }}/5)", "Great <b>shoes</b> & laces (5/5)"),
        ("{{ row['text'] | upper }}", "GREAT <B>SHOES</B> & LACES"),
        ("{% if notes %}{{ notes }}{% else %}none{% endif %}", "none"),
        ("notes: {{ notes }}.", "notes: ."),
        ("{{ nickname | default('anonymous') }}", "anonymous"),
        ("{% if nickname is defined %}{{ nickname }}{% endif %}x", "x"),
        ("ends with a newline\n", "ends with a newline"),
    ],
)
def test_a_template_makes_text_of_a_row(text: str, made: str) -> None:
    assert render(text, REVIEW) == made


def test_a_column_that_is_called_row_is_that_column() -> None:
    assert render("{{ row }}", {"row": "third"}) == "third"


def test_a_column_whose_name_jinja_cannot_read_is_reached_through_row() -> None:
    assert render("{{ row['Unit price'] }}", {"Unit price": "9.90"}) == "9.90"


def test_a_column_that_is_missing_is_named_with_those_that_are_there() -> None:
    with pytest.raises(MissingColumn) as caught:
        render("{{ product }}: {{ text }}", REVIEW)

    assert str(caught.value) == (
        "the template needs the column 'product', which the row does not have; its columns are id, text, stars, notes"
    )


def test_of_very_many_columns_the_first_are_named() -> None:
    with pytest.raises(MissingColumn, match=r"c0, c1, .*, c29 and 70 more$"):
        render("{{ x }}", {f"c{number}": 1 for number in range(100)})


@pytest.mark.parametrize("name", ["range", "dict", "lipsum", "cycler", "namespace"])
def test_no_function_of_jinja_stands_in_for_a_column_that_is_missing(name: str) -> None:
    with pytest.raises(MissingColumn, match=repr(name)):
        render(f"{{{{ {name} }}}}", REVIEW)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{{ row['txt'] }}", "has no attribute 'txt'"),
        ("\n{{ text / 2 }}", "fails in line 2 (TypeError)"),
        ("{{ 1 / (stars - 5) }}", "ZeroDivisionError"),
        ("{{ text.__class__.__mro__ }}", "fails in line 1"),
        ("{{ row.update({'text': 'x'}) }}", "SecurityError"),
        ("{% include 'other' %}", "TypeError"),
    ],
)
def test_a_template_that_fails_on_a_row_says_where_but_not_with_what(text: str, told: str) -> None:
    with pytest.raises(RenderError) as caught:
        render(text, REVIEW)

    assert told in str(caught.value)
    assert "shoes" not in str(caught.value)


def test_bytes_are_no_text() -> None:
    with pytest.raises(RenderError, match="TypeError"):
        render("{{ photo }}", {"photo": b"\xff\xd8"})


def test_a_syntax_error_is_found_before_any_row_is_read() -> None:
    with pytest.raises(ConfigurationError, match="the template, line 2: unexpected"):
        Template("Hello\n{{ name }", "the template")


def test_nothing_in_a_template_is_left_to_chance() -> None:
    with pytest.raises(ConfigurationError, match="No filter named 'random'"):
        Template("{{ tones | random }}", "the template")


def test_a_template_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text("Über {{ text }}\n", "utf-8")

    assert read_template(path) == "Über {{ text }}\n"
    with pytest.raises(ConfigurationError, match=r"none\.txt cannot be read"):
        read_template(tmp_path / "none.txt")


def test_a_name_is_told_from_a_template() -> None:
    assert [is_template(text) for text in ("review_id", "{{ a }}", "{% if a %}b{% endif %}")] == [
        False,
        True,
        True,
    ]
