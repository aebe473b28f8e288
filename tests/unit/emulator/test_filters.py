from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.emulator import filters
from promptmill.emulator.clock import format_timestamp
from promptmill.emulator.errors import ApiError
from promptmill.emulator.job_spec import JobSpec
from promptmill.emulator.jobs import Job, plan_schedule

NOW = 1_800_000_000.0


def job(name: str = "nightly", created: float = NOW, **labels: str) -> Job:
    return Job(
        "projects/p/locations/l/batchPredictionJobs/1",
        JobSpec(name, labels=labels),
        created,
        plan_schedule(created, 60, 0),
    )


def meant(text: str, one: Job, now: float = NOW + 5) -> bool:
    return filters.parse_filter(text)(one, now)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ('state="JOB_STATE_RUNNING"', True),
        ("state=JOB_STATE_QUEUED", False),
        ("state!=JOB_STATE_QUEUED", True),
        ('state="JOB_STATE_QUEUED" OR state="JOB_STATE_RUNNING"', True),
        ('display_name="nightly"', True),
        ('display_name!="nightly"', False),
        ('display_name:"night*"', True),
        ('display_name:"day*"', False),
        ("labels.run=r1", True),
        ('labels.run="r2"', False),
        ("labels.run:*", True),
        ("labels:run", True),
        ("labels.shard:*", False),
        ("labels.run=r1 AND NOT labels.team=growth", True),
        ("labels.run=r1 AND (labels.team=growth OR labels.team=ops)", False),
        ("NOT (labels.run=r1)", False),
        (f'create_time>="{format_timestamp(NOW)}"', True),
        (f"create_time<{format_timestamp(NOW)}", False),
        (f'create_time="{format_timestamp(NOW)}"', True),
    ],
)
def test_a_filter_means_what_google_documents(text: str, expected: bool) -> None:
    assert meant(text, job(run="r1")) is expected


def test_or_binds_more_tightly_than_and() -> None:
    text = "labels.a=1 AND labels.b=1 OR labels.c=1"

    assert not meant(text, job(c="1"))
    assert meant(text, job(a="1", c="1"))


@pytest.mark.parametrize(
    "text",
    [
        "colour=red",
        "state=RUNNING",
        "state>JOB_STATE_RUNNING",
        "state=",
        "state",
        "(state=JOB_STATE_RUNNING",
        "state=JOB_STATE_RUNNING)",
        "state=JOB_STATE_RUNNING labels.a=1",
        "AND",
        "create_time>yesterday",
        "create_time>2026-01-01T00:00:00",
        'display_name="open',
        "labels.=x",
        "(" * 100,
    ],
)
def test_a_filter_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        filters.parse_filter(text)

    assert refused.value.code == 400


@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_is_refused(text: str) -> None:
    try:
        filters.parse_filter(text)(job(), NOW)
    except ApiError as error:
        assert error.status == "INVALID_ARGUMENT"


ATOMS = st.sampled_from(["a", "b", "c"]).map(
    lambda key: (f"labels.{key}:*", lambda one: key in one.spec.labels)
)


def _negated(inner: tuple[str, Callable[[Job], bool]]) -> tuple[str, Callable[[Job], bool]]:
    return f"NOT ({inner[0]})", lambda one: not inner[1](one)


def _joined(word: str) -> Callable[..., tuple[str, Callable[[Job], bool]]]:
    def join(parts: list[tuple[str, Callable[[Job], bool]]]) -> tuple[str, Callable[[Job], bool]]:
        every = all if word == "AND" else any
        return f" {word} ".join(f"({text})" for text, _ in parts), lambda one: every(
            p(one) for _, p in parts
        )

    return join


EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        inner.map(_negated),
        st.lists(inner, min_size=1, max_size=3).map(_joined("AND")),
        st.lists(inner, min_size=1, max_size=3).map(_joined("OR")),
    ),
    max_leaves=8,
)


@given(EXPRESSIONS, st.sets(st.sampled_from(["a", "b", "c"])))
def test_and_or_not_and_parentheses_follow_logic(
    expression: tuple[str, Callable[[Job], bool]], labels: set[str]
) -> None:
    one = Job(
        "projects/p/locations/l/batchPredictionJobs/1",
        JobSpec(labels=dict.fromkeys(labels, "x")),
        NOW,
        plan_schedule(NOW, 60, 0),
    )

    assert meant(expression[0], one) == expression[1](one)


@given(st.text(min_size=1, max_size=20).filter(lambda name: "*" not in name))
def test_a_quoted_display_name_is_found_whatever_is_in_it(name: str) -> None:
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')

    assert meant(f'display_name="{quoted}"', job(name))
    assert meant(f'display_name:"{quoted}*"', job(name))
