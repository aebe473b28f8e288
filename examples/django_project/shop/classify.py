"""Classify reviews: one run per batch, submitted only if the batch is committed."""

from collections.abc import Iterator

from django.db import transaction

from promptmill.producers import Promptmill, Run
from promptmill.producers.django import submit_on_commit
from shop.models import Batch, Review


def classify() -> Batch:
    """Put all new reviews into a batch and submit it when the batch is committed."""
    with transaction.atomic():
        batch = Batch.objects.create()
        Review.objects.filter(batch=None).update(batch=batch)
        submit(batch)
    return batch


def submit(batch: Batch) -> None:
    """Submit a batch. Repeating this after a crash sends only what is missing."""

    def note(run: Run) -> None:
        Batch.objects.filter(pk=batch.pk).update(run=run.id)

    submit_on_commit(
        prompts(batch), model="gemini-3.8-flash", idempotency_key=f"reviews/{batch.pk}", on_run=note
    )


def prompts(batch: Batch) -> Iterator[dict[str, str]]:
    """Yield one prompt per review, without loading all of them."""
    for review in Review.objects.filter(batch=batch).iterator():
        yield {"key": str(review.pk), "prompt": f"Positive or negative? {review.text}"}


def store(batch: Batch) -> int:
    """Store the answers of a finished batch; returns their number."""
    answers = [result for result in Promptmill().get(batch.run).results() if result.succeeded]
    for answer in answers:
        Review.objects.filter(pk=int(answer.key)).update(sentiment=answer.text)
    return len(answers)
