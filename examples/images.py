"""Describe pictures that lie in a bucket: requests in Google's own shape, results as JSONL in the bucket."""

import sys

from promptmill.producers import Promptmill
from promptmill.producers.contract import sink_specs

PHOTOS = {
    "sku-1": "gs://cloud-samples-data/generative-ai/image/scones.jpg",
    "sku-2": "gs://cloud-samples-data/generative-ai/image/320px-Felis_catus-cat_on_snow.jpg",
}


def request(photo: str) -> dict[str, object]:
    """Ask for one sentence about a photo."""
    parts = [
        {"text": "Describe it in one sentence."},
        {"fileData": {"fileUri": photo, "mimeType": "image/jpeg"}},
    ]
    return {
        "contents": [{"role": "user", "parts": parts}],
        "generationConfig": {"temperature": 0, "maxOutputTokens": 256},
    }


mill = Promptmill()
run = mill.submit(
    (
        {"key": sku, "metadata": {"shop": 7}, "request": request(photo)}
        for sku, photo in PHOTOS.items()
    ),
    model="gemini-3.8-flash",
    name="captions",
    sinks=[sink_specs.jsonl(f"{mill.settings.bucket}/captions/")],
    idempotency_key="captions/2026-11-22",  # sending it all again makes no second run, and no second bill
)
if run.wait().state != "succeeded":
    sys.exit(f"run {run.id} did not go all well: promptmill failures {run.id}")
for result in sorted(run.results(), key=lambda result: result.row):
    print(result.key, result.metadata, result.text)
report = run.report()
print("cost", report.cost)
print("all of them are in", *report.sinks)
