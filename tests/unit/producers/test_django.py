"""Runs that are submitted when a transaction commits: with a real Django and a database in memory."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import django
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction

if not settings.configured:
    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
    )
    django.setup()

from promptmill.producers.django import submit_on_commit, submit_rows_on_commit


class Mill:
    """Keeps what is submitted, and reads it at that moment."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def submit(self, prompts: Any, **options: Any) -> str:
        self.got.append((list(prompts), options))
        return "01jrun"

    submit_rows = submit


@pytest.fixture
def mill() -> Iterator[Any]:
    call_command("migrate", verbosity=0)
    yield Mill()
    connection.close()


def test_a_run_is_submitted_when_the_transaction_commits_and_its_rows_are_read_only_then(
    mill: Any,
) -> None:
    rows = ["a"]
    runs: list[Any] = []
    with transaction.atomic():
        submit_on_commit(
            (row for row in rows), mill=mill, model="m", idempotency_key="k", on_run=runs.append
        )
        rows.append("b")
        assert mill.got == []

    assert mill.got == [(["a", "b"], {"model": "m", "idempotency_key": "k"})]
    assert runs == ["01jrun"]


@pytest.mark.parametrize(
    "submit", [submit_on_commit, partial(submit_rows_on_commit, template="{{ x }}")]
)
def test_a_run_is_not_submitted_when_the_transaction_is_rolled_back(mill: Any, submit: Any) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        submit(["a"], mill=mill, model="m")
        raise ZeroDivisionError

    assert mill.got == []


def test_a_run_is_submitted_by_the_outermost_transaction(mill: Any) -> None:
    with transaction.atomic():
        with transaction.atomic():
            submit_rows_on_commit(["a"], mill=mill, template="{{ x }}")
        assert mill.got == []

    assert mill.got == [(["a"], {"template": "{{ x }}"})]


def test_without_a_transaction_it_is_submitted_at_once(mill: Any) -> None:
    submit_on_commit(["a"], mill=mill)

    assert mill.got == [(["a"], {})]
