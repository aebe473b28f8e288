"""Classify reviews into a PostgreSQL table.

Workers know the database as "warehouse". Start them, or ``promptmill up``, with:
``export PROMPTMILL_NAMED_SINKS='{"warehouse": "postgresql://…"}'``
"""

import sys
from typing import Literal

from pydantic import BaseModel

from promptmill.producers import Promptmill, sinks


class Judgement(BaseModel):
    sentiment: Literal["positive", "negative", "neutral"]
    reason: str


REVIEWS = {
    "r-1": "The kettle is quiet, and boils in no time.",
    "r-2": "It leaks. Nobody answers my letters.",
    "r-3": "It is a kettle.",
}

run = Promptmill().submit(
    (
        {"key": key, "prompt": f"How does the writer of this review feel, and why?\n\n{review}"}
        for key, review in REVIEWS.items()
    ),
    model="gemini-3.8-flash",
    name="sentiment",
    response_schema=Judgement,
    # The table is created if it is missing, with columns sentiment and reason.
    sinks=[sinks.postgres("warehouse", table="sentiment")],
    idempotency_key="sentiment/2026-11-24",
)
if run.wait().state != "succeeded":
    sys.exit(f"run {run.id} did not succeed in full: promptmill describe {run.id}")
print(f"{run.status.succeeded} rows of run {run.id} are in", *run.report().sinks)
