import csv
import io
import json

import pytest
from rich.console import Console

from promptmill.cli import output
from promptmill.cli.output import Record, RowFormat

RECORDS: list[Record] = [
    {"run": "01kq", "name": "größe, 42", "requests": 1500, "usage": {"a": 1}},
    {"run": "01kr", "name": 'say "hi"', "requests": 2, "usage": {}},
]


def written(
    form: RowFormat, capsys: pytest.CaptureFixture[str], records: list[Record] = RECORDS
) -> str:
    output.write_records(iter(records), form)
    return capsys.readouterr().out


def test_json_is_one_array(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(written(RowFormat.json, capsys)) == RECORDS
    assert json.loads(written(RowFormat.json, capsys, [])) == []


def test_jsonl_is_one_object_a_line(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    output.write_records(iter(RECORDS), RowFormat.jsonl)

    assert [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()] == RECORDS


def test_csv_can_be_read_back(capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(io.StringIO(written(RowFormat.csv, capsys))))

    assert [row["name"] for row in rows] == ["größe, 42", 'say "hi"']
    assert json.loads(rows[0]["usage"]) == {"a": 1}


def test_a_table_that_is_not_for_a_terminal_has_no_colours_and_is_not_cut(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = written(
        RowFormat.table, capsys, [{"message": "x" * 150, "[bold]": "[red]no markup[/red]"}]
    )

    assert "x" * 150 in text
    assert "[red]no markup[/red]" in text
    assert "\x1b" not in text


def test_numbers_in_a_table_are_grouped(capsys: pytest.CaptureFixture[str]) -> None:
    assert "1,500" in written(RowFormat.table, capsys)


def test_in_a_narrow_terminal_long_text_is_folded_and_ids_are_not() -> None:
    out = io.StringIO()
    row = {
        "run": "01m82b09ng6rrcpmzdqrsq52zt",
        "state": "partially succeeded",
        "name": "x" * 90,
        "requests": 1500,
    }
    rows: list[Record] = [row]

    Console(file=out, width=80).print(output.build_table(rows))

    assert "01m82b09ng6rrcpmzdqrsq52zt" in out.getvalue()
    assert "1,500" in out.getvalue()
    assert out.getvalue().count("x") == 90
