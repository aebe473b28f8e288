"""`python manage.py classify`."""

from argparse import ArgumentParser

from django.core.management.base import BaseCommand

from promptmill.producers import Promptmill
from shop.classify import classify, store, submit
from shop.models import Batch, Review


class Command(BaseCommand):
    """Classifies reviews, waits, and stores the answers."""

    help = "Classify all reviews that are not classified yet."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Accept new reviews as arguments."""
        parser.add_argument("reviews", nargs="*", help="Reviews to add first.")

    def handle(self, *_: object, reviews: list[str], **__: object) -> None:
        """Resume unfinished batches, then classify new reviews."""
        for unfinished in Batch.objects.filter(run=""):
            submit(unfinished)
        Review.objects.bulk_create(Review(text=text) for text in reviews)
        batch = classify()
        batch.refresh_from_db()
        status = Promptmill().get(batch.run).wait()
        self.stdout.write(f"{status.state}: {store(batch)} of {status.requests}")
