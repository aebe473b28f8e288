"""The locations of Vertex AI, and the API host of each."""

import difflib
import re

GLOBAL = "global"
MULTI_REGIONS = ("us", "eu")
"""Multi-regions. Their API hosts have another form than those of regions."""
REGIONS = (
    *("us-central1", "us-east1", "us-east4", "us-east5", "us-east7", "us-south1"),
    *("us-west1", "us-west2", "us-west3", "us-west4", "us-west8"),
    *("northamerica-northeast1", "northamerica-northeast2"),
    *("southamerica-east1", "southamerica-west1"),
    *("europe-central2", "europe-north1", "europe-north2", "europe-southwest1"),
    *("europe-west1", "europe-west2", "europe-west3", "europe-west4", "europe-west6"),
    *("europe-west8", "europe-west9", "europe-west12"),
    *("asia-east1", "asia-east2", "asia-northeast1", "asia-northeast2", "asia-northeast3"),
    *("asia-south1", "asia-south2", "asia-southeast1", "asia-southeast2"),
    *("australia-southeast1", "australia-southeast2"),
    *("me-central1", "me-central2", "me-west1", "africa-south1"),
)
"""Known regions, as in google-cloud-aiplatform 2.7.0. There can be newer ones."""
_REGION = re.compile(r"[a-z]+-[a-z]+[0-9]{1,2}")
_OTHER_WORDS = {
    **dict.fromkeys(("europe", "european-union"), "eu"),
    **dict.fromkeys(("usa", "america", "united-states"), "us"),
    **dict.fromkeys(("world", "worldwide", "any", "default"), GLOBAL),
}


def is_location(text: str) -> bool:
    """Whether ``text`` is a multi-region, ``global``, or has the form of a region."""
    return text in (GLOBAL, *MULTI_REGIONS) or bool(_REGION.fullmatch(text))


def find_closest(text: str) -> str:
    """Return the known location that is closest to ``text``, which is none."""
    word = re.sub("[ _]+", "-", text.strip().lower())
    if is_location(word):
        return word
    locations = (GLOBAL, *MULTI_REGIONS, *REGIONS)
    by_spelling = difflib.get_close_matches(word, locations, n=1, cutoff=0.0)
    return _OTHER_WORDS.get(word) or by_spelling[0]


def get_api_host(location: str) -> str:
    """Return the API host of a location.

    Hosts of multi-regions: google-cloud-aiplatform 2.7.0. Another form of them is
    answered with "Invalid hostname" (observed live, 2026-10).
    """
    if location == GLOBAL:
        return "aiplatform.googleapis.com"
    if location in MULTI_REGIONS:
        return f"aiplatform.{location}.rep.googleapis.com"
    return f"{location}-aiplatform.googleapis.com"
