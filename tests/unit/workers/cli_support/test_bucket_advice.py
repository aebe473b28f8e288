"""Warnings about a bucket whose settings cost money or keep data in another location."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.workers.cli_support.bucket_advice import advise_on_bucket, is_suitable
from promptmill.workers.ports.google import BucketSettings

LOCATIONS = [
    "us", "eu", "asia", "nam4", "eur4", "us-central1", "us-east4", "europe-west1", "europe-west2",
    "europe-west6", "europe-north1", "asia-south1", "australia-southeast1",
]  # fmt: skip


@pytest.mark.parametrize(
    ("jobs", "bucket", "suits"),
    [
        ("global", "US", True),
        ("global", "EUROPE-WEST1", True),
        ("eu", "EU", True),
        ("eu", "EUR4", True),
        ("eu", "EUROPE-WEST4", True),
        ("eu", "US", False),
        ("eu", "EUROPE-WEST2", False),
        ("eu", "EUROPE-WEST6", False),
        ("us", "US", True),
        ("us", "NAM4", True),
        ("us", "US-EAST1", True),
        ("us", "EU", False),
        ("us-central1", "US-CENTRAL1", True),
        ("us-central1", "US", True),
        ("us-central1", "US-EAST1", False),
        ("europe-west4", "EU", True),
        ("europe-west4", "US", False),
        ("asia-south1", "ASIA", True),
        ("australia-southeast1", "US", False),
        ("eu", "", True),
    ],
)
def test_a_bucket_suits_jobs_in_its_own_area(jobs: str, bucket: str, suits: bool) -> None:
    assert is_suitable(jobs, bucket) is suits


@given(st.sampled_from(LOCATIONS), st.sampled_from(LOCATIONS))
def test_each_location_suits_itself_and_spelling_does_not_matter(jobs: str, bucket: str) -> None:
    assert is_suitable(jobs, jobs)
    assert is_suitable(jobs, bucket) is is_suitable(jobs.upper(), bucket.upper())
    assert is_suitable("global", bucket)


@given(st.sampled_from(LOCATIONS), st.text(max_size=12), st.integers(0, 10**9))
def test_any_settings_give_two_checks_with_a_fix_for_each_warning(
    jobs: str, bucket: str, seconds: int
) -> None:
    found = advise_on_bucket("acme", BucketSettings(bucket, seconds), jobs)

    assert [check.name for check in found] == ["soft delete", "bucket location"]
    assert all(check.ok and bool(check.remedy) is check.is_warning for check in found)
    assert found[0].is_warning is (seconds > 0)
