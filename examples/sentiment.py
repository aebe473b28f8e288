"""Have reviews judged, and the answers written into a table of PostgreSQL; the workers know the database as "warehouse"."""

import sys

from promptmill.producers import Promptmill, sinks

REVIEWS = {
    "r-1": "The kettle is quiet, and boils in no time.",
    "r-2": "It leaks. Nobody answers my letters.",
    "r-3": "It is a kettle.",
}
PROMPT = "Is this review positive, negative or neutral? Answer with that word alone.\n\n{review}"

run = Promptmill().submit(
    ({"key": key, "prompt": PROMPT.format(review=review)} for key, review in REVIEWS.items()),
    model="gemini-3.8-flash",
    name="sentiment",
    sinks=[sinks.postgres("warehouse", table="sentiment")],  # made if it is missing; one row for each run and key
    idempotency_key="sentiment/2026-11-24",
)
if run.wait().state != "succeeded":
    sys.exit(f"run {run.id} did not go all well: promptmill describe {run.id}")
print(f"{run.status.succeeded} rows of run {run.id} are in", *run.report().sinks)
