"""Summarize PDF documents in a bucket. Rows come from a generator."""

from collections.abc import Iterator

from promptmill.producers import Promptmill

PAPERS = "gs://cloud-samples-data/generative-ai/pdf"


def papers() -> Iterator[dict[str, object]]:
    """Yield one row per document; a real program would list the bucket."""
    for number, name in enumerate(["2403.05530.pdf", "1706.03762v7.pdf"], 1):
        yield {
            "number": number,
            "uri": f"{PAPERS}/{name}",
            "readers": "engineers" if number == 1 else None,
        }


run = Promptmill().submit_rows(
    papers(),
    template=(
        "Summarize this paper in three sentences{% if readers %} for {{ readers }}{% endif %}."
    ),
    key="paper-{{ number }}",
    media=["uri"],
    model="gemini-3.8-flash",
    name="summaries",
    idempotency_key="summaries/2026-11-24",  # repeating this makes no second run
)
print(run.wait().state)
for result in sorted(run.results(), key=lambda result: result.row):
    print(result.key, result.text)
