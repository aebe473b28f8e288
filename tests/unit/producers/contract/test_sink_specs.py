"""A run names its sinks, and carries no secret of any."""

import pytest

from promptmill.config.errors import ConfigurationError
from promptmill.producers.contract.messages import SinkSpec
from promptmill.producers.contract.sink_kinds import parse_sink

TEXTS = [
    ("gs://acme/out/", SinkSpec("jsonl", "gs://acme/out")),
    ("/srv/out.jsonl", SinkSpec("file", "/srv/out.jsonl")),
    ("/srv/out.parquet", SinkSpec("parquet", "/srv/out.parquet")),
    ("parquet:gs://acme/out/", SinkSpec("parquet", "gs://acme/out")),
    (
        "postgres:warehouse#shop.answers",
        SinkSpec("postgres", "warehouse", {"table": "shop.answers"}),
    ),
    (
        "postgres://me@db/shop#answers",
        SinkSpec("postgres", "postgresql://me@db/shop", {"table": "answers"}),
    ),
    (
        "postgresql://db:1/shop#answers",
        SinkSpec("postgres", "postgresql://db:1/shop", {"table": "answers"}),
    ),
    ("https://hooks.acme.com/x", SinkSpec("webhook", "https://hooks.acme.com/x")),
    ("webhook:crm", SinkSpec("webhook", "crm")),
    ("custom:shop", SinkSpec("custom", "shop")),
]


@pytest.mark.parametrize(("text", "spec"), TEXTS, ids=lambda one: str(one))
def test_a_text_stands_for_a_sink(text: str, spec: SinkSpec) -> None:
    assert parse_sink(text) == spec


@pytest.mark.parametrize(
    "text",
    [
        "gs://",
        "s3://acme/out",
        "postgres:warehouse",
        "postgres:#answers",
        "postgresql://me:SECRET@db/shop#answers",
        "postgresql://db/shop?password=SECRET#answers",
        "postgresql://db:nonsense/#answers",
        'postgres:warehouse#answers"; DROP TABLE students',
        "postgres:warehouse#a.b.c",
        "https://",
        "https://me:SECRET@acme.com/",
        "https://acme.com/?token=SECRET",
        "webhook:",
        "parquet:https://acme.com/",
    ],
)
def test_what_stands_for_none_or_holds_a_secret_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^(sink|table)") as refusal:
        parse_sink(text)
    assert "SECRET" not in str(refusal.value)
