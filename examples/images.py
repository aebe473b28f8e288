"""Describe images of a bucket: requests in Google's format, results as JSONL in the bucket."""

import sys

from promptmill.producers import Promptmill, sinks

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
        # Thoughts count against maxOutputTokens: too low a limit is paid for and leaves no text.
        "generationConfig": {"maxOutputTokens": 2048, "thinkingConfig": {"thinkingLevel": "LOW"}},
    }


mill = Promptmill()
run = mill.submit(
    (
        {"key": sku, "metadata": {"shop": 7}, "request": request(photo)}
        for sku, photo in PHOTOS.items()
    ),
    model="gemini-3.8-flash",
    name="captions",
    sinks=[sinks.jsonl(f"{mill.settings.bucket}/captions/")],
    idempotency_key="captions/2026-11-22",  # repeating this makes no second run
)
if run.wait().state != "succeeded":
    sys.exit(f"run {run.id} did not succeed in full: promptmill failures {run.id}")
for result in sorted(run.results(), key=lambda result: result.row):
    print(result.key, result.metadata, result.text)
report = run.report()
print("cost", report.cost)
print("all results are in", *report.sinks)
