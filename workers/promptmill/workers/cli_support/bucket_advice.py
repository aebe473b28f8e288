"""Finds settings of a bucket that do not suit batch jobs, for ``promptmill doctor``.

They are warnings: jobs run all the same. Google's page on batch inference (2026-09-03)
names soft delete as a significant cost of batch jobs.
"""

import re

from promptmill.producers.checks import Check
from promptmill.workers.ports.google import BucketSettings

_AREAS = {
    "us": re.compile(r"us(-.*)?|nam4"),
    "eu": re.compile(r"eu|eur\d+|europe-(?!west2$|west6$).*"),
    "europe": re.compile(r"eu|eur\d+|europe-.*"),
    "asia": re.compile(r"asia\d*|asia-.*"),
}
"""Bucket locations in the area of a multi-region or region. London (``europe-west2``) and
Zurich (``europe-west6``) are outside the EU (docs.cloud.google.com/storage/docs/locations).
"""


def advise_on_bucket(name: str, found: BucketSettings, job_location: str) -> list[Check]:
    """Return the checks of a bucket's soft delete and location."""
    return [_check_soft_delete(name, found), _check_location(name, found, job_location)]


def _check_soft_delete(name: str, found: BucketSettings) -> Check:
    days = found.soft_delete_seconds / 86_400
    if not days:
        return Check("soft delete", True, "off")
    message = (
        f"gs://{name} keeps deleted objects for {days:g} days and bills them. Google names "
        "this as a significant cost of batch jobs"
    )
    remedy = f"gcloud storage buckets update gs://{name} --clear-soft-delete"
    return Check("soft delete", True, message, remedy, is_warning=True)


def _check_location(name: str, found: BucketSettings, job_location: str) -> Check:
    bucket_location = found.location.lower()
    if is_suitable(job_location, bucket_location):
        return Check("bucket location", True, f"{bucket_location} suits jobs in {job_location}")
    message = (
        f"gs://{name} is in {bucket_location}, and the jobs run in {job_location}: prompts and "
        "answers are stored outside that location"
    )
    remedy = (
        f"use a bucket in {job_location}: gcloud storage buckets create gs://BUCKET "
        f"--location {job_location} --soft-delete-duration 0"
    )
    return Check("bucket location", True, message, remedy, is_warning=True)


def is_suitable(job_location: str, bucket_location: str) -> bool:
    """Whether a bucket keeps the data of jobs in their location.

    Jobs in ``global`` take any bucket. Those in a region take a bucket in that region, or
    in a multi-region that includes it. An unknown location of a bucket suits every job.
    """
    job, bucket = job_location.lower(), bucket_location.lower()
    if job == "global" or not bucket or job == bucket:
        return True
    if "-" in job and "-" in bucket:
        return False
    area = _AREAS.get(job.partition("-")[0])
    return area is not None and area.fullmatch(bucket) is not None
