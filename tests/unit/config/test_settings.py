"""Settings are read once, checked, and tell which variable is wrong."""

import os
from collections.abc import Iterator

import pytest

from promptmill.config.errors import ConfigurationError
from promptmill.config.queues import ALL_QUEUES, TASK_QUEUES, celery_options, takeover_times
from promptmill.config.settings import (
    Settings,
    describe_default_broker,
    list_unknown_variables,
    load_settings,
    variable_name,
)
from promptmill.config.urls import mask_password

OWN = ("PROMPTMILL_", "GOOGLE_", "CELERY_", "STORAGE_EMULATOR")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An environment without any setting."""
    for name in [name for name in os.environ if name.startswith(OWN)]:
        monkeypatch.delenv(name)
    yield


def test_settings_come_from_the_environment_and_explicit_ones_win(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "acme")
    monkeypatch.setenv("PROMPTMILL_BUCKET", "gs://acme/mill/")
    monkeypatch.setenv("PROMPTMILL_POLL_INTERVAL", "7")

    settings = load_settings(location="us-central1", poll_interval=None)

    assert (settings.bucket, settings.poll_interval) == ("gs://acme/mill", 7.0)
    assert settings.parent == "projects/acme/locations/us-central1"
    assert load_settings(bucket="gs://other").bucket == "gs://other"


WRONG = [
    ("PROMPTMILL_BUCKET", "acme/mill", "must have the form gs://"),
    ("PROMPTMILL_BUCKET", "gs://", "must have the form gs://"),
    ("PROMPTMILL_VERTEX_ENDPOINT", "127.0.0.1:80", "must start with http"),
    (
        "PROMPTMILL_VERTEX_ENDPOINT",
        "https://generativelanguage.googleapis.com",
        "is the Gemini Developer API",
    ),
    ("PROMPTMILL_MODEL_CHECKS", "off", "match pattern"),
    ("GOOGLE_CLOUD_LOCATION", "EU", "is not a location of Vertex AI; did you mean eu?"),
    ("GOOGLE_CLOUD_LOCATION", "europe", "did you mean eu?"),
    ("GOOGLE_CLOUD_LOCATION", "us-central", "did you mean us-central1?"),
    ("GOOGLE_CLOUD_LOCATION", "europe-west4-a", "did you mean europe-west4?"),
    ("STORAGE_EMULATOR_HOST", "127.0.0.1:80", "must start with http"),
    ("PROMPTMILL_MAX_REQUESTS_PER_JOB", "200001", "less than or equal to 200000"),
    ("PROMPTMILL_POLL_INTERVAL", "soon", "'soon' is not a number"),
    ("PROMPTMILL_PART_BYTES", "lots", "'lots' is not a whole number"),
    ("PROMPTMILL_ALLOW_INSECURE_REDIS", "perhaps", "'perhaps' is not true or false"),
    ("PROMPTMILL_POLL_MAX_INTERVAL", "61", "less than or equal to 60"),
    ("PROMPTMILL_LOG_FORMAT", "xml", "match pattern"),
    ("PROMPTMILL_SINKS", "gs://acme,ftp://acme", "must be locations that start with gs://"),
    ("PROMPTMILL_NAMED_SINKS", "postgresql://me:secret@db/shop", "must be JSON such as"),
    ("PROMPTMILL_NAMED_SINKS", '{"crm": {"uri": "secret"}}', "must be JSON such as"),
    ("PROMPTMILL_RUN_DEADLINE", "soon", "'soon' is not a duration such as"),
]


@pytest.mark.parametrize(("name", "value", "why"), WRONG)
def test_a_wrong_setting_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=f"^{name}: .*{why}") as refusal:
        load_settings()
    assert "secret" not in str(refusal.value)


def test_a_variable_of_somebody_else_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROJECT", "LOCATION", "BROKER_URL", "project"):
        monkeypatch.setenv(name, "redis://somebody-else")

    settings = load_settings()

    assert (settings.project, settings.location) == ("", "global")
    assert "somebody" not in settings.broker_url.get_secret_value()


def test_a_deadline_is_named_as_people_write_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTMILL_RUN_DEADLINE", "36h")

    assert load_settings().run_deadline == 129_600.0
    assert load_settings(run_deadline=90).run_deadline == 90.0
    assert load_settings(run_deadline="0").run_deadline == 0.0


def test_all_wrong_settings_are_named_at_once() -> None:
    with pytest.raises(
        ConfigurationError, match=r"PROMPTMILL_BUCKET: .*; PROMPTMILL_POLL_INTERVAL: "
    ):
        load_settings(bucket="x", poll_interval=-1)


@pytest.mark.parametrize("value", [3, None])
def test_an_unknown_setting_is_refused_with_the_closest_known_one(value: object) -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"^unknown setting 'takeover_secs'; the closest known setting is 'takeover_seconds'$",
    ):
        load_settings(bucket="gs://b", takeover_secs=value)
    with pytest.raises(ConfigurationError, match=r"^unknown setting 'qqq'; the closest known"):
        load_settings(qqq=value)


def test_a_setting_that_is_needed_and_missing_is_named_by_its_variable() -> None:
    with pytest.raises(ConfigurationError, match=r"^GOOGLE_CLOUD_PROJECT is not set; set this"):
        _ = load_settings().parent
    with pytest.raises(ConfigurationError, match=r"^PROMPTMILL_BUCKET is not set; set this"):
        load_settings().get_required("bucket")


def test_every_setting_has_the_variable_that_is_told() -> None:
    for name in Settings.model_fields:
        assert variable_name(name).isupper()
    assert variable_name("broker_url") == "CELERY_BROKER_URL"
    assert variable_name("redis_url") == "PROMPTMILL_REDIS_URL"


def test_secrets_do_not_show() -> None:
    settings = load_settings(broker_url="redis://:hidden@h:1/0", redis_url="redis://:hidden@h:1/1")

    assert "hidden" not in repr(settings)
    assert "hidden" not in str(settings.model_dump())
    assert settings.index_url == "redis://:hidden@h:1/1"
    assert load_settings(broker_url="redis://:hidden@h:1/0").index_url == "redis://:hidden@h:1/0"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().bucket = "gs://other"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:pass@h:1/0", "redis://:***@h:1/0"),
        ("rediss://user:p%40ss@h/0?a=b", "rediss://user:***@h/0?a=b"),
        ("memory://", "memory://"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert mask_password(url) == shown


def test_every_task_has_a_queue_that_a_worker_can_listen_to() -> None:
    assert set(TASK_QUEUES.values()) == set(ALL_QUEUES)


def test_every_app_agrees_when_messages_are_handed_out_again() -> None:
    made = celery_options(load_settings())

    assert (
        made["broker_transport_options"]["visibility_timeout"] == made["visibility_timeout"] == 24
    )
    assert made["task_acks_late"]
    assert made["task_reject_on_worker_lost"]


@pytest.mark.parametrize("seconds", [3, 30, 600])
def test_what_a_dead_worker_was_at_is_taken_over_in_the_time_that_is_set(seconds: float) -> None:
    times = takeover_times(load_settings(takeover_seconds=seconds))

    assert times.visibility_timeout + times.restore_interval <= seconds
    assert max(times.step_lease, times.start_timeout) <= seconds


def test_no_message_is_taken_that_could_run_code() -> None:
    made = celery_options(load_settings())

    assert set(made["accept_content"]) == {"json", "msgpack"}
    assert made["task_serializer"] == "json"


def test_other_apps_on_the_broker_are_left_their_own_record_of_lost_messages() -> None:
    """The shortest time-out of all that share a record counts, and ours is far shorter than a task of theirs may be."""
    made = celery_options(load_settings())["broker_transport_options"]

    assert {made[f"unacked{name}_key"] for name in ("", "_index", "_mutex")} == {
        "promptmill.unacked",
        "promptmill.unacked_index",
        "promptmill.unacked_mutex",
    }


def test_an_unknown_variable_is_listed_with_the_nearest_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PROMPTMILL_PART_BYTE", "3")
    monkeypatch.setenv("PROMPTMILL_XYZ", "3")
    monkeypatch.setenv("PROMPTMILL_PART_BYTES", "4096")

    assert list(list_unknown_variables()) == [
        ("PROMPTMILL_PART_BYTE", "PROMPTMILL_PART_BYTES"),
        ("PROMPTMILL_XYZ", ""),
    ]


def test_a_missing_broker_is_noted_with_the_default() -> None:
    assert (
        describe_default_broker(load_settings())
        == "CELERY_BROKER_URL is not set; using redis://127.0.0.1:6379/0"
    )
    assert describe_default_broker(load_settings(broker_url="redis://127.0.0.1:1/0")) == ""
