"""Where rows come from: files, DataFrames, cursors, QuerySets, iterables."""

import csv
import datetime as dt
import io
import sqlite3
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pandas
import polars
import pyarrow
import pyarrow.dataset
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from promptmill.config.errors import NotInstalled, PromptmillError
from promptmill.producers.rows.sources import BATCH_ROWS, MalformedRow, open_rows
from promptmill.workers.cli_support.open_object import read_object
from promptmill.workers.fakes import MemoryBucket
from support.waiting import PATIENCE

ROWS = [{"id": "1", "text": "good"}, {"id": "2", "text": 'über,\n"quoted"'}]
NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\ufeff\0\r"), min_size=1, max_size=8
)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12)


def no_bucket(url: str) -> BinaryIO:
    raise AssertionError(url)


def rows(source: object) -> list[Any]:
    return list(open_rows(source, no_bucket).rows)


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@given(st.data())
def test_a_csv_comes_back_as_the_standard_library_wrote_it(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    columns = data.draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    values = data.draw(st.lists(st.tuples(*[VALUES] * len(columns)), max_size=5))
    path = tmp_path_factory.getbasetemp() / "hypothesis.csv"
    with path.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out, quoting=csv.QUOTE_ALL).writerows([columns, *values])

    assert rows(path) == [dict(zip(columns, row, strict=True)) for row in values]


def test_a_csv_of_excel_begins_with_a_mark_that_is_no_part_of_a_name(tmp_path: Path) -> None:
    assert rows(written(tmp_path / "r.csv", b"\xef\xbb\xbfid;x,text\r\n007,a\r\n\r\n")) == [
        {"id;x": "007", "text": "a"}
    ]


def test_tabs_part_the_columns_of_a_tsv(tmp_path: Path) -> None:
    assert rows(written(tmp_path / "r.tsv", b"id\ttext\n1\ta, b\n")) == [
        {"id": "1", "text": "a, b"}
    ]


def test_a_row_of_too_many_or_too_few_values_is_marked_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = written(tmp_path / "r.csv", b"id,text\n1,a,b\n2\n3,c\n")

    long, short, good = rows(path)

    assert long == MalformedRow(
        {"id": "1", "text": "a"}, "r.csv line 2: the row has 3 values for 2 columns"
    )
    assert short == MalformedRow({"id": "2"}, "r.csv line 3: the row has 1 value for 2 columns")
    assert good == {"id": "3", "text": "c"}


def test_a_value_that_is_not_utf8_harms_its_own_row_only(tmp_path: Path) -> None:
    bad, good = rows(written(tmp_path / "r.csv", b"id,text\n1,caf\xe9\n2,b\n"))

    assert bad == {"id": "1", "text": "caf\udce9"}
    assert good == {"id": "2", "text": "b"}


def test_a_value_may_be_a_long_document(tmp_path: Path) -> None:
    assert rows(written(tmp_path / "r.csv", b"text\n" + b"x" * 300_000 + b"\n")) == [
        {"text": "x" * 300_000}
    ]


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        (
            "r.csv",
            b'id,text\n1,"never closed\n2,b\n',
            r"r\.csv line 3: the file is not CSV: unexpected end of data",
        ),
        ("r.csv", b"id,id\n1,2\n", r"r\.csv: two columns have the name 'id'"),
        ("r.csv", "id,text\n".encode("utf-16"), "not UTF-8 text"),
        ("r.csv", "größe,text\n".encode("latin-1"), "not UTF-8 text"),
        ("r.xlsx", b"PK", r"r\.xlsx: a file of rows must be \.csv"),
        ("r.parquet", b"no parquet", "is not readable Parquet"),
    ],
)
def test_a_file_whose_rest_cannot_be_read_is_named(
    tmp_path: Path, name: str, data: bytes, told: str
) -> None:
    with pytest.raises(PromptmillError, match=told):
        rows(written(tmp_path / name, data))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PromptmillError, match=r"none\.csv cannot be read: No such file"):
        rows(tmp_path / "none.csv")


def test_a_file_without_rows_has_none(tmp_path: Path) -> None:
    assert (
        rows(written(tmp_path / "r.csv", b""))
        == rows(written(tmp_path / "h.csv", b"id,text\n"))
        == []
    )


@pytest.mark.parametrize("name", ["r.jsonl", "r.ndjson"])
def test_lines_of_json_are_rows_and_one_that_is_none_is_marked(tmp_path: Path, name: str) -> None:
    first, broken, number, last = rows(
        written(tmp_path / name, b'{"id": 1}\n{oops\n\n7\n{"id": null}\n')
    )

    assert (first, last) == ({"id": 1}, {"id": None})
    assert broken.reason.startswith(f"{name} line 2: not valid JSON (")
    assert number.reason == f"{name} line 4: a row must be a JSON object"


def test_standard_input_has_lines_of_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"id": 1}\n')))

    assert rows("-") == [{"id": 1}]


@pytest.mark.parametrize("groups", [BATCH_ROWS // 3, 5 * BATCH_ROWS])
def test_the_rows_of_a_parquet_file_come_in_order_with_their_types(
    tmp_path: Path, groups: int
) -> None:
    kept = [
        {"id": row, "text": f"t{row}", "when": dt.date(2026, 1, 1), "none": None}
        for row in range(2 * BATCH_ROWS + 7)
    ]
    parquet.write_table(
        pyarrow.Table.from_pylist(kept), tmp_path / "r.parquet", row_group_size=groups
    )

    assert rows(tmp_path / "r.parquet") == kept


def test_a_time_with_nanoseconds_is_one_that_json_can_carry(tmp_path: Path) -> None:
    pandas.DataFrame({"when": [pandas.Timestamp("2026-01-01T00:00:00.000000001")]}).to_parquet(
        tmp_path / "r.parquet"
    )

    assert msgspec.json.encode(rows(tmp_path / "r.parquet")) == b'[{"when":"2026-01-01T00:00:00"}]'


def test_without_pyarrow_a_parquet_file_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(NotInstalled, match=r"promptmill\[parquet\]"):
        rows(tmp_path / "r.parquet")


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.parquet"])
def test_an_object_in_a_bucket_is_read_like_a_file(tmp_path: Path, name: str) -> None:
    bucket = MemoryBucket()
    bucket.write(name, as_file(tmp_path / name).read_bytes())

    source = open_rows(
        f"gs://acme/{name}", lambda url: read_object(bucket, url.removeprefix("gs://acme/"))
    )

    assert list(source.rows) == ROWS


def as_file(path: Path) -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    elif path.suffix == ".jsonl":
        path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in ROWS))
    else:
        with path.open("w", newline="") as out:
            writer = csv.DictWriter(out, ["id", "text"])
            writer.writeheader()
            writer.writerows(ROWS)
    return path


MIXED = {
    "id": [1, 2],
    "score": [1.5, None],
    "when": [dt.datetime(2026, 1, 1), None],  # noqa: DTZ001
    "text": ["a", None],
}
MIXED_ROWS = [
    {"id": 1, "score": 1.5, "when": dt.datetime(2026, 1, 1), "text": "a"},  # noqa: DTZ001
    {"id": 2, "score": None, "when": None, "text": None},
]


@pytest.mark.parametrize(
    "frame",
    [pandas.DataFrame(MIXED), pandas.DataFrame(MIXED).convert_dtypes(), polars.DataFrame(MIXED)],
)
def test_a_dataframe_gives_its_rows_and_none_for_what_is_missing(frame: Any) -> None:
    assert rows(frame) == MIXED_ROWS
    for row in rows(frame):
        assert msgspec.json.decode(msgspec.json.encode(row))["id"] == row["id"]


def test_tables_datasets_and_streams_of_arrow_give_their_rows() -> None:
    table = pyarrow.Table.from_pylist([{"id": row} for row in range(2 * BATCH_ROWS + 1)])

    for source in (table, table.to_reader(), pyarrow.dataset.dataset(table), table.to_batches()[0]):
        assert rows(source) == table.to_pylist()


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE reviews (id, text)")
    connection.executemany(
        "INSERT INTO reviews VALUES (?, ?)", [(row, f"t{row}") for row in range(BATCH_ROWS + 1)]
    )
    yield connection
    connection.close()


def test_a_cursor_gives_its_rows_by_the_names_of_its_columns(database: sqlite3.Connection) -> None:
    read = rows(database.execute("SELECT id AS review, text FROM reviews ORDER BY id"))

    assert len(read) == BATCH_ROWS + 1
    assert read[-1] == {"review": BATCH_ROWS, "text": f"t{BATCH_ROWS}"}


def test_a_cursor_that_has_executed_nothing_is_refused(database: sqlite3.Connection) -> None:
    with pytest.raises(PromptmillError, match="execute a query first"):
        rows(database.cursor())


@dataclass
class Review:
    id: int
    text: str


Named = namedtuple("Named", ["id", "text"])


def test_an_iterable_may_have_whatever_knows_its_columns(database: sqlite3.Connection) -> None:
    database.row_factory = sqlite3.Row
    of_sqlite = database.execute("SELECT 1 AS id, 'a' AS text").fetchone()

    read = rows(iter([{"id": 1, "text": "a"}, Named(1, "a"), Review(1, "a"), of_sqlite, 7]))

    assert read == [{"id": 1, "text": "a"}] * 4 + [
        MalformedRow({}, "a row must be a mapping of its columns, not int")
    ]


@pytest.mark.parametrize("source", [None, 7, b"bytes", {"id": 1}, polars.DataFrame(MIXED).lazy()])
def test_what_has_no_rows_is_refused(source: Any) -> None:
    with pytest.raises(PromptmillError, match=f"not from {type(source).__name__}"):
        rows(source)


def test_rows_are_taken_one_by_one() -> None:
    def endless() -> Iterator[dict[str, int]]:
        number = 0
        while True:
            number += 1
            yield {"id": number}

    source = open_rows(endless(), no_bucket)

    assert [next(source.rows), next(source.rows)] == [{"id": 1}, {"id": 2}]


SITE = """
import django
from django.conf import settings
settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
django.setup()
from django.db import connection, models
class Shop(models.Model):
    class Meta:
        app_label = "site"
class Review(models.Model):
    text = models.TextField()
    shop = models.ForeignKey(Shop, models.CASCADE)
    class Meta:
        app_label = "site"
with connection.schema_editor() as editor:
    editor.create_model(Shop)
    editor.create_model(Review)
shop = Shop.objects.create()
Review.objects.bulk_create(Review(text=f"t{number}", shop=shop) for number in range(1_500))
from promptmill.producers.rows.sources import open_rows
def rows(source):
    return list(open_rows(source, None).rows)
reviews = Review.objects.order_by("id")
assert len(rows(reviews)) == 1_500
assert rows(reviews)[0] == {"id": 1, "text": "t0", "shop_id": 1}, rows(reviews)[0]
assert rows(reviews.iterator()) == rows(reviews)
assert rows(reviews.values("id", "text"))[1] == {"id": 2, "text": "t1"}
assert rows(reviews.values("id", "text").iterator()) == rows(reviews.values_list("id", "text", named=True))
assert reviews._result_cache is None
"""


def test_a_queryset_of_django_gives_its_rows_without_keeping_them() -> None:
    """In a process of its own, as Django can be set up only once in one."""
    subprocess.run([sys.executable, "-c", SITE], check=True, timeout=PATIENCE)
