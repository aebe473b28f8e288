"""``promptmill doctor`` reads a bucket's settings through Google's client and warns of their cost."""

from collections.abc import Iterator

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client
from typer.testing import CliRunner

from contract.own import running_storage
from promptmill.cli.app import app
from promptmill.config.settings import Settings
from promptmill.producers.checks import Check
from promptmill.workers.adapters.storage import open_bucket
from promptmill.workers.cli_support.checks import run_checks
from promptmill.workers.ports.google import BucketSettings


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with (
        running_storage(tmp_path_factory.mktemp("storage"), "--bucket", "ready") as storage,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("STORAGE_EMULATOR_HOST", storage.url)
        made = Client(project="p", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
        for name, location, kept in (("default", "US", None), ("european", "europe-west1", 0)):
            bucket = made.bucket(name)
            if kept is not None:
                bucket.soft_delete_policy.retention_duration_seconds = kept
            made.create_bucket(bucket, location=location)
        yield made
        made.close()


def checks_of(bucket: str, location: str) -> dict[str, Check]:
    settings = Settings(bucket=f"gs://{bucket}/promptmill", location=location)
    return {check.name: check for check in run_checks(settings)}


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize(
    ("bucket", "found"),
    [
        ("default", BucketSettings("US", 7 * 86_400)),
        ("european", BucketSettings("EUROPE-WEST1", 0)),
        ("ready", BucketSettings("US", 0)),
    ],
)
def test_a_buckets_settings_are_read(bucket: str, found: BucketSettings) -> None:
    """A new bucket keeps deleted objects for 7 days, unless its creator turns that off."""
    assert open_bucket(f"gs://{bucket}", "p").fetch_settings() == found


@pytest.mark.usefixtures("client")
def test_soft_delete_is_a_warning_with_the_command_that_turns_it_off() -> None:
    warned, fine = (
        checks_of("default", "us")["soft delete"],
        checks_of("ready", "us")["soft delete"],
    )

    assert warned.is_warning and "7 days" in warned.message
    assert warned.remedy == "gcloud storage buckets update gs://default --clear-soft-delete"
    assert fine == Check("soft delete", True, "off")


@pytest.mark.usefixtures("client")
def test_a_bucket_outside_the_location_of_the_jobs_is_a_warning() -> None:
    warned = checks_of("default", "eu")["bucket location"]

    assert warned.is_warning and "gs://default is in us, and the jobs run in eu" in warned.message
    assert "--location eu" in warned.remedy
    assert not checks_of("european", "eu")["bucket location"].is_warning
    assert not checks_of("default", "global")["bucket location"].is_warning


@pytest.mark.usefixtures("client")
def test_a_missing_bucket_has_no_further_checks() -> None:
    assert set(checks_of("nowhere", "eu")) == {"bucket access"}


@pytest.mark.usefixtures("client")
def test_doctor_marks_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTMILL_BUCKET", "gs://default/promptmill")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "eu")
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")

    lines = CliRunner().invoke(app, ["doctor"]).stdout.splitlines()

    (soft_delete,) = [line for line in lines if line.startswith("! soft delete")]
    assert "fix: gcloud" in lines[lines.index(soft_delete) + 1]
    assert any(line.startswith("! bucket location") for line in lines)
