"""The sink in PostgreSQL, against a real server: rows are there once, whole, as they are; what is wrong is said before."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import Any, Literal

import msgspec
import psycopg
import pytest
from psycopg import sql
from pydantic import BaseModel, Field

from promptmill.config.errors import ConfigurationError, Denied, Permanent, Transient
from promptmill.producers.contract.results import Error, Result
from promptmill.workers.adapters.postgres import PostgresDatabase, open_database
from promptmill.workers.ports.database import RowsRejected
from promptmill.workers.sinks.postgres import PostgresSink
from support.postgres import PostgresServer, postgres_server

RUN = "01jtest"
PART = "0000-1-00000"
databases = count()


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@dataclass
class Base:
    """A database with nothing in it."""

    server: PostgresServer
    url: str

    def sink(
        self,
        table: str = "answers",
        run: str = RUN,
        user: str = "postgres",
        schema: dict[str, Any] | None = None,
    ) -> PostgresSink:
        url = self.url.replace("postgres@", f"{user}@")
        return PostgresSink(lambda: open_database(url, "warehouse"), table, run, schema)

    def run(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)  # pyright: ignore[reportArgumentType,reportCallIssue]

    def rows(self, table: str = "answers", columns: Sequence[str] = ("key",)) -> list[Any]:
        named = sql.SQL(", ").join(map(sql.Identifier, columns))
        query = sql.SQL("SELECT {} FROM {} ORDER BY key").format(
            named, sql.Identifier(*table.split("."))
        )
        with psycopg.connect(self.url) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def base(server: PostgresServer) -> Base:
    return Base(server, server.database(f"base{next(databases)}"))


def lines(*results: Result) -> bytes:
    return b"".join(msgspec.json.encode(result) + b"\n" for result in results)


def answer(key: str, text: str = "good", **more: Any) -> Result:
    return Result(key, 1, "succeeded", text=text, **more)


def with_parsed(key: str, parsed: Any) -> bytes:
    return (
        msgspec.json.encode({"key": key, "row": 1, "state": "succeeded", "parsed": parsed}) + b"\n"
    )


def test_a_table_that_is_missing_is_made_and_holds_all_of_a_result(base: Base) -> None:
    sink = base.sink()
    failed = Result("b", 2, "failed", attempt=3, error=Error("SAFETY", "blocked"))
    whole = Result(
        "a",
        1,
        "succeeded",
        text="hé",
        finish_reason="STOP",
        usage={"totalTokenCount": 7},
        metadata={"shop": 7},
    )

    sink.check()
    sink.deliver(PART, lines(whole, failed) + with_parsed("c", {"label": "good"}))

    shown = (
        "run",
        "key",
        "row",
        "state",
        "text",
        "parsed",
        "usage",
        "metadata",
        "error_reason",
        "error_message",
        "attempt",
    )
    assert base.rows(columns=shown) == [
        (RUN, "a", 1, "succeeded", "hé", None, {"totalTokenCount": 7}, {"shop": 7}, None, None, 1),
        (RUN, "b", 2, "failed", None, None, None, None, "SAFETY", "blocked", 3),
        (RUN, "c", 1, "succeeded", None, {"label": "good"}, None, None, None, None, 1),
    ]
    assert sink.finish([PART]) == "warehouse answers"


def test_200_000_rows_that_are_delivered_twice_are_200_000_rows_and_the_second_time_changes_none(
    base: Base,
) -> None:
    sink = base.sink()
    sink.check()
    parts = {
        f"0000-1-{part:05d}": lines(
            *(
                answer(f"k{part}-{row}", "word " * 20, usage={"totalTokenCount": row})
                for row in range(10_000)
            )
        )
        for part in range(20)
    }

    took = [_seconds(sink, parts), _touched(base), _seconds(sink, parts), _touched(base)]

    print(f"200,000 rows: {200_000 / took[0]:,.0f} rows/s, again: {200_000 / took[2]:,.0f} rows/s")  # noqa: T201
    assert len(base.rows()) == 200_000
    assert took[1] == took[3]


def _seconds(sink: PostgresSink, parts: dict[str, bytes]) -> float:
    started = time.perf_counter()
    for part, data in parts.items():
        sink.deliver(part, data)
    return time.perf_counter() - started


def _touched(base: Base) -> Any:
    """The newest version of any row: a row that is written again has a later one."""
    with psycopg.connect(base.url) as connection:
        return connection.execute("SELECT max(xmin::text::bigint) FROM answers").fetchone()


def test_a_later_answer_to_a_key_replaces_the_former_and_another_runs_rows_stay(base: Base) -> None:
    base.sink().check()
    base.sink().deliver(PART, lines(answer("a", "first")))
    base.sink(run="01jother").deliver(PART, lines(answer("a", "other")))

    base.sink().deliver(PART, lines(answer("a", "second")))

    assert sorted(base.rows(columns=("run", "text"))) == [("01jother", "other"), (RUN, "second")]


def test_of_a_table_that_is_there_the_columns_that_it_has_are_filled_and_others_left_alone(
    base: Base,
) -> None:
    base.run(
        "CREATE SCHEMA shop; CREATE TABLE shop.reviews (run text, key bigint, text varchar(20), "
        "seen boolean NOT NULL DEFAULT false, id bigint GENERATED ALWAYS AS IDENTITY, UNIQUE (key, run))"
    )
    sink = base.sink("shop.reviews")

    sink.check()
    sink.deliver(PART, lines(answer("17")))
    base.run("UPDATE shop.reviews SET seen = true")
    sink.deliver(PART, lines(answer("17")))

    assert base.rows("shop.reviews", ("run", "key", "text", "seen", "id")) == [
        (RUN, 17, "good", True, 1)
    ]


def test_properties_of_parsed_answers_fill_columns_of_their_names_as_their_types_want_them(
    base: Base,
) -> None:
    base.run(
        "CREATE TABLE answers (run text, key text, label text, score numeric, "
        "sure boolean NOT NULL DEFAULT true, tags text[], counts int[], extra json, inner_text text, PRIMARY KEY (run, key))"
    )
    sink = base.sink()
    parsed = {
        "label": "good\n",
        "score": 0.75,
        "tags": ["a,b", "c"],
        "counts": [1, 2],
        "extra": "x",
        "inner_text": [1],
    }

    sink.check()
    for _ in range(2):
        sink.deliver(
            PART,
            with_parsed("a", parsed) + with_parsed("b", {"sure": False}) + with_parsed("c", [1]),
        )

    shown = ("key", "label", "score", "sure", "tags", "counts", "extra", "inner_text")
    assert [tuple(map(str, row)) for row in base.rows(columns=shown)] == [
        ("a", "good\n", "0.75", "True", "['a,b', 'c']", "[1, 2]", "x", "[1]"),
        ("b", "None", "None", "False", "None", "None", "None", "None"),
        ("c", "None", "None", "True", "None", "None", "None", "None"),
    ]


def test_a_table_that_is_made_for_a_response_schema_has_columns_of_its_types(base: Base) -> None:
    class Item(BaseModel):
        name: str

    class Review(BaseModel):
        label: Literal["good", "bad"]
        stars: int | None
        score: float
        sure: bool
        item: Item
        tags: list[str]
        text: str = Field(description="has the name of a column of ours, and stays in parsed")

    sink = base.sink(schema=Review.model_json_schema())
    review = {
        "label": "good",
        "stars": None,
        "score": 0.5,
        "sure": True,
        "item": {"name": "x"},
        "tags": ["a"],
        "text": "t",
    }

    sink.check()
    sink.deliver(
        PART, with_parsed("a", review) + lines(Result("b", 2, "failed", error=Error("SAFETY")))
    )

    shown = ("label", "stars", "score", "sure", "item", "tags", "text")
    assert base.rows(columns=shown) == [
        ("good", None, Decimal("0.5"), True, {"name": "x"}, ["a"], None),
        (None,) * 7,
    ]


TEXTS = ["\\", "\\.", "\\N", "\t\r\n", "'\"", "\u2028\u0085", "𝄞", "\\u0000", "é" * 9000]


def test_every_text_is_there_as_it_is(base: Base) -> None:
    sink = base.sink()
    sink.check()

    sink.deliver(
        PART,
        lines(
            *(answer(str(place), text, metadata={text: text}) for place, text in enumerate(TEXTS))
        ),
    )

    assert base.rows(columns=("text", "metadata", "nul_replaced")) == [
        (text, {text: text}, False) for text in TEXTS
    ]


def test_a_nul_which_postgresql_cannot_store_is_replaced_and_the_row_says_so(base: Base) -> None:
    sink = base.sink()
    sink.check()

    sink.deliver(
        PART, lines(answer("a\0", "\0 and \\\0 and \\u0000", metadata={"\0": "\\\0"}), answer("b"))
    )

    assert base.rows(columns=("key", "text", "metadata", "nul_replaced")) == [
        ("a�", "� and \\� and \\u0000", {"�": "\\�"}, True),
        ("b", "good", None, False),
    ]


def test_rows_that_do_not_fit_are_stored_separately_with_the_reason_and_the_others_arrive(
    base: Base,
) -> None:
    base.run(
        "CREATE TABLE answers (run text, key text, text varchar(5), score int CHECK (score < 9), PRIMARY KEY (run, key))"
    )
    sink = base.sink()
    sink.check()
    part = lines(
        *(answer(f"k{number}", "fine" if number % 7 else "too long") for number in range(20))
    )

    for _ in range(2):
        sink.deliver(
            PART,
            part + with_parsed("wrong", {"score": "SECRET"}) + with_parsed("much", {"score": 10}),
        )

    assert [key for (key,) in base.rows()] == sorted(
        f"k{number}" for number in range(20) if number % 7
    )
    assert [row[:2] for row in base.rows("answers_rejected", ("key", "reason"))] == [
        ("k0", "warehouse: StringDataRightTruncation column text"),
        ("k14", "warehouse: StringDataRightTruncation column text"),
        ("k7", "warehouse: StringDataRightTruncation column text"),
        ("much", "warehouse: CheckViolation constraint answers_score_check"),
        ("wrong", "warehouse: InvalidTextRepresentation column score"),
    ]
    assert sink.finish([PART]) == "warehouse answers (5 in answers_rejected)"


def test_a_part_of_which_no_row_fits_waits_for_a_person_and_nothing_of_it_is_there(
    base: Base,
) -> None:
    base.run("CREATE TABLE answers (run text, key text, text varchar(2), PRIMARY KEY (run, key))")
    sink = base.sink()
    sink.check()

    with pytest.raises(
        Permanent,
        match=r"sink answers: 101 rows of part 0000-1-00000 do not fit \(.*column text\)\. Fix",
    ):
        sink.deliver(
            PART,
            lines(
                answer("fits", "ok"), *(answer(f"k{number}", "too long") for number in range(101))
            ),
        )
    assert base.rows() == []


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("(key text)", "column run is missing: ALTER TABLE answers ADD COLUMN run text"),
        (
            "(run text, key text)",
            r"\(run, key\) is not unique: CREATE UNIQUE INDEX ON answers \(run, key\)",
        ),
        (
            "(run text, key text, UNIQUE (run, key, state), state text)",
            r"\(run, key\) is not unique",
        ),
        (
            "(run text, key text, usage integer, UNIQUE (run, key))",
            "column usage is integer: ALTER TABLE answers ALTER COLUMN",
        ),
        (
            "(run text, key text, place text NOT NULL, UNIQUE (run, key))",
            "column place .*ALTER COLUMN place DROP NOT NULL",
        ),
        (
            "(run text, key text, state text GENERATED ALWAYS AS ('x') STORED, UNIQUE (run, key))",
            "state is generated",
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_said_with_the_sql_that_mends_it(
    base: Base, table: str, complaint: str
) -> None:
    base.run(f"CREATE TABLE answers {table}")

    with pytest.raises(ConfigurationError, match=complaint) as refusal:
        base.sink().check()

    for statement in [
        part.split(": ", 1)[1] for part in str(refusal.value).split("warehouse: ", 1)[1].split("; ")
    ]:
        base.run(statement)
    base.sink().check()


def test_a_view_is_no_table(base: Base) -> None:
    base.run("CREATE VIEW answers AS SELECT 1 AS run, 2 AS key")

    with pytest.raises(ConfigurationError, match="answers is not a table"):
        base.sink().check()


def test_permissions_that_are_missing_are_named_and_suffice_when_they_are_granted(
    base: Base,
) -> None:
    role = base.url.rpartition("/")[2] + "_user"
    base.run(
        f"CREATE ROLE {role} LOGIN; CREATE TABLE answers (run text, key text, text text, UNIQUE (run, key))"
    )
    sink = base.sink(user=role)

    with pytest.raises(
        ConfigurationError,
        match=f"text lacks privileges: GRANT SELECT, INSERT, UPDATE ON answers TO {role}",
    ):
        sink.check()
    base.run(f"GRANT SELECT, INSERT, UPDATE ON answers TO {role}")
    sink.check()
    sink.deliver(PART, lines(answer("a")))

    assert base.rows() == [("a",)]
    with pytest.raises(ConfigurationError, match="permission denied for schema public"):
        base.sink("another", user=role).check()


def test_a_row_that_does_not_fit_where_no_table_can_be_made_says_which_to_make(base: Base) -> None:
    role = base.url.rpartition("/")[2] + "_user"
    base.run(
        f"CREATE ROLE {role} LOGIN; CREATE TABLE answers (run text, key text, text varchar(2), UNIQUE (run, key))"
    )
    base.run(f"GRANT SELECT, INSERT, UPDATE ON answers TO {role}")
    sink = base.sink(user=role)
    sink.check()

    with pytest.raises(Permanent, match="CREATE TABLE answers_rejected") as refusal:
        sink.deliver(PART, lines(answer("a", "too long")))
    base.run(str(refusal.value).partition("run: ")[2])
    base.run(f"GRANT SELECT, INSERT, UPDATE, DELETE ON answers_rejected TO {role}")
    sink.deliver(PART, lines(answer("a", "too long")))

    assert base.rows("answers_rejected") == [("a",)]


def test_a_table_that_went_away_after_the_check_is_an_error_for_a_person(base: Base) -> None:
    sink = base.sink()
    sink.check()
    base.run("DROP TABLE answers")

    with pytest.raises(Permanent, match="sink answers: the table was deleted at warehouse"):
        sink.deliver(PART, lines(answer("a")))


def test_who_is_not_let_in_is_told_before_anything_is_paid_for_and_a_server_that_is_down_is_waited_for(
    base: Base,
) -> None:
    with pytest.raises(ConfigurationError, match='role "stranger" does not exist'):
        base.sink(user="stranger").check()
    nowhere = PostgresSink(lambda: open_database(f"{base.url}-not", "warehouse"), "answers", RUN)
    with pytest.raises(ConfigurationError, match="does not exist"):
        nowhere.check()
    down = PostgresSink(
        lambda: open_database("postgresql://127.0.0.1:1/x", "warehouse"), "answers", RUN
    )
    with pytest.raises(Transient, match="refused"):
        down.check()


def test_a_lock_that_is_held_is_waited_for(base: Base) -> None:
    sink = base.sink()
    sink.check()
    with psycopg.connect(base.url) as holder:
        holder.execute("LOCK TABLE answers")
        database = open_database(base.url, "warehouse")
        database.begin()
        database._execute(
            "SET LOCAL lock_timeout = '50ms'"
        )  # twenty seconds are too long for a test
        with pytest.raises(Transient, match="LockNotAvailable"):
            database.copy_rows("answers", ["run"], [])
        database.close()


class Raising:
    """A connection whose every statement fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def execute(self, *_: Any) -> Any:
        raise self._error

    def cursor(self) -> Any:
        raise self._error

    def close(self) -> None:
        raise self._error


def errors() -> list[type[Exception]]:
    """Every exception that psycopg has, one for each SQLSTATE among them."""
    found: set[type[Exception]] = {
        psycopg.Error,
        *subclasses(psycopg.Error),
        psycopg.Warning,
        ConnectionResetError,
    }
    return sorted(found, key=lambda kind: kind.__name__)


def subclasses(kind: type[Exception]) -> Iterator[type[Exception]]:
    for below in kind.__subclasses__():
        yield below
        yield from subclasses(below)


def test_no_error_of_the_library_comes_through_nor_anything_that_it_quotes_of_a_row() -> None:
    assert len(errors()) > 200
    for kind in errors():
        database = PostgresDatabase(
            Raising(kind("SECRET" if kind.__name__ in UNFIT else "words")), "warehouse"
        )
        calls: list[Any] = [
            database.begin, lambda database=database: database.copy_rows("t", ["run"], []),
            lambda database=database: database.insert_row("t", [("run", "r")]), database.commit,
        ]  # fmt: skip
        for call in calls:
            with pytest.raises((Transient, Permanent)) as raised:
                call()
            assert "SECRET" not in str(raised.value)
            assert raised.value.__suppress_context__
        database.close()


UNFIT = {
    kind.__name__
    for kind in errors()
    if str(getattr(kind, "sqlstate", ""))[:2] in {"21", "22", "23", "44"}
}
PASSING = [
    *(
        "AdminShutdown",
        "CannotConnectNow",
        "ConnectionResetError",
        "DeadlockDetected",
        "DiskFull",
        "IoError",
    ),
    *(
        "LockNotAvailable",
        "QueryCanceled",
        "ReadOnlySqlTransaction",
        "SerializationFailure",
        "TooManyConnections",
    ),
]
DENIED = ["InsufficientPrivilege", "InvalidPassword", "InvalidAuthorizationSpecification"]
LASTING = ["UndefinedColumn", "UndefinedTable", "InvalidCatalogName", "ProgrammingError"]


@pytest.mark.parametrize("name", [*PASSING, *DENIED, *LASTING, "UniqueViolation"])
def test_what_passes_is_tried_again_and_what_does_not_is_told(name: str) -> None:
    (kind,) = [kind for kind in errors() if kind.__name__ == name]

    with pytest.raises((Transient, Permanent)) as raised:
        PostgresDatabase(Raising(kind("words")), "warehouse").begin()

    wanted = [
        (PASSING, Transient),
        (DENIED, Denied),
        (LASTING, Permanent),
        (["UniqueViolation"], RowsRejected),
    ]
    assert type(raised.value) is next(kind for names, kind in wanted if name in names)


def test_a_password_is_in_no_error() -> None:
    for url in (
        "postgresql://me:SECRET@127.0.0.1:1/x",
        "postgresql://me:SECRET@h:nonsense/x?what=1",
        "SECRET",
    ):
        with pytest.raises((Transient, Permanent)) as raised:
            open_database(url, "warehouse")
        assert "SECRET" not in str(raised.value)


KEPT = {"candidates": [{"groundingMetadata": {"webSearchQueries": ["a"]}}]}


def test_a_table_holds_kept_parts_as_json_and_a_vector_as_an_array(base: Base) -> None:
    sink = base.sink()
    sink.check()

    sink.deliver(PART, lines(answer("a", response=KEPT, embedding=[0.5, -1.0]), answer("b")))

    assert base.rows(columns=("key", "response", "embedding")) == [
        ("a", KEPT, [0.5, -1.0]),
        ("b", None, None),
    ]


def test_own_columns_named_like_optional_fields_are_left_alone(base: Base) -> None:
    base.run(
        "CREATE TABLE answers (run text, key text, response integer DEFAULT 7, embedding text, "
        "PRIMARY KEY (run, key))"
    )
    sink = base.sink()
    sink.check()

    sink.deliver(PART, lines(answer("a")))

    assert base.rows(columns=("key", "response", "embedding")) == [("a", 7, None)]


def test_a_column_that_cannot_hold_kept_parts_is_refused_in_a_run_that_keeps_them(
    base: Base,
) -> None:
    base.run("CREATE TABLE answers (run text, key text, response integer, PRIMARY KEY (run, key))")
    sink = PostgresSink(
        lambda: open_database(base.url, "warehouse"), "answers", RUN, None, frozenset({"response"})
    )

    with pytest.raises(ConfigurationError, match="column response is integer: ALTER TABLE"):
        sink.check()


def test_a_property_goes_before_an_optional_field_of_its_name(base: Base) -> None:
    sink = base.sink(schema={"properties": {"response": {"type": "string"}}})
    sink.check()

    sink.deliver(PART, with_parsed("a", {"response": "good"}))

    assert base.rows(columns=("key", "response")) == [("a", "good")]


EMBEDS = frozenset({"embedding"})


def embedding_sink(base: Base, dimensions: int = 0) -> PostgresSink:
    return PostgresSink(
        lambda: open_database(base.url, "warehouse"),
        "answers",
        RUN,
        filled=EMBEDS,
        dimensions=dimensions,
    )


def vector_type(base: Base) -> str:
    with psycopg.connect(base.url) as connection:
        query = (
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = 'answers'::regclass AND attname = 'embedding'"
        )
        found = connection.execute(query).fetchone()
        return str(found and found[0])


VECTORS = lines(
    answer("a", text="", embedding=[0.5, -1.0, 1e-07]),
    answer("b", text="", embedding=[1, 0, 0]),
    Result("c", 3, "failed", error=Error("INVALID_ARGUMENT", "no")),
)


@pytest.mark.parametrize(
    ("installed", "dimensions", "expected"),
    [(False, 3, "real[]"), (True, 3, "vector(3)"), (True, 0, "vector")],
)
def test_a_new_table_for_embeddings_has_a_vector_column_where_pgvector_is_installed(
    base: Base, installed: bool, dimensions: int, expected: str
) -> None:
    if installed:
        base.run("CREATE EXTENSION vector")
    sink = embedding_sink(base, dimensions)

    sink.check()
    sink.deliver(PART, VECTORS)
    sink.deliver(PART, VECTORS)

    assert vector_type(base) == expected
    query = "SELECT key, embedding::real[] FROM answers ORDER BY key"
    with psycopg.connect(base.url) as connection:
        rows = connection.execute(query).fetchall()
    assert rows == [("a", [0.5, -1.0, 1e-07]), ("b", [1.0, 0.0, 0.0]), ("c", None)]


@pytest.mark.parametrize("type_name", ["vector(3)", "halfvec(3)", "vector", "double precision[]"])
def test_a_column_of_ones_own_takes_vectors(base: Base, type_name: str) -> None:
    base.run("CREATE EXTENSION vector")
    base.run(
        f"CREATE TABLE answers (run text, key text, embedding {type_name}, PRIMARY KEY (run, key))"
    )
    sink = embedding_sink(base, 3)

    sink.check()
    sink.deliver(PART, VECTORS)

    with psycopg.connect(base.url) as connection:
        found = connection.execute("SELECT embedding::real[] FROM answers WHERE key = 'b'")
        assert found.fetchone() == ([1.0, 0.0, 0.0],)


def test_a_vector_column_of_another_length_is_refused_with_both_ways_out(base: Base) -> None:
    base.run("CREATE EXTENSION vector")
    base.run(
        "CREATE TABLE answers (run text, key text, embedding vector(768), PRIMARY KEY (run, key))"
    )

    with pytest.raises(ConfigurationError) as raised:
        embedding_sink(base, 3072).check()

    assert "column embedding is vector(768), and the run asks for 3,072" in str(raised.value)
    assert "set output_dimensionality to 768, or ALTER TABLE answers" in str(raised.value)
    embedding_sink(base, 768).check()
    base.sink().check()


def test_a_vector_that_the_column_refuses_is_a_rejected_row(base: Base) -> None:
    base.run("CREATE EXTENSION vector")
    sink = embedding_sink(base, 3)
    sink.check()

    sink.deliver(PART, lines(answer("a", embedding=[1.0, 2.0]), answer("b", embedding=[1.0] * 3)))

    assert base.rows() == [("b",)]
    assert base.rows("answers_rejected") == [("a",)]
