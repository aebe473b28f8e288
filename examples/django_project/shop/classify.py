"""Has reviews classified: one run for each batch, that exists if and only if the batch does."""

from collections.abc import Iterator
from typing import Any

from django.db import transaction

from promptmill.producers import Promptmill, Run
from promptmill.producers.django import submit_on_commit
from shop.models import Batch, Review


def classify() -> Batch:
    """Make a batch of all reviews that are in none, and submit it once that is committed."""
    with transaction.atomic():
        batch = Batch.objects.create()
        Review.objects.filter(batch=None).update(batch=batch)
        submit(batch)
    return batch


def submit(batch: Batch) -> None:
    """Submit a batch; again after a crash, which changes nothing if it was submitted before."""

    def note(run: Run) -> None:
        Batch.objects.filter(pk=batch.pk).update(run=run.id)

    submit_on_commit(
        prompts(batch), model="gemini-3.8-flash", idempotency_key=f"reviews/{batch.pk}", on_run=note
    )


def prompts(batch: Batch) -> Iterator[dict[str, Any]]:
    """Read the rows one by one, however many there are."""
    for review in Review.objects.filter(batch=batch).iterator():
        yield {"key": str(review.pk), "prompt": f"Positive or negative? {review.text}"}


def store(batch: Batch) -> int:
    """Store the answers of a batch whose run is done; returns how many."""
    answers = [result for result in Promptmill().get(batch.run).results() if result.succeeded]
    for answer in answers:
        Review.objects.filter(pk=int(answer.key)).update(sentiment=answer.text)
    return len(answers)
