"""`python manage.py classify`."""

from typing import Any

from django.core.management.base import BaseCommand

from promptmill.producers import Promptmill
from shop.classify import classify, store, submit
from shop.models import Batch, Review


class Command(BaseCommand):
    """Has reviews classified, waits, and stores the answers."""

    help = "Classify all reviews that are not classified yet."

    def add_arguments(self, parser: Any) -> None:
        """Take new reviews."""
        parser.add_argument("reviews", nargs="*", help="Reviews to add first.")

    def handle(self, *_: Any, reviews: list[str], **__: Any) -> None:
        """Go on with what a crash left behind, then with what is new."""
        for left in Batch.objects.filter(run=""):
            submit(left)
        Review.objects.bulk_create(Review(text=text) for text in reviews)
        batch = classify()
        batch.refresh_from_db()
        status = Promptmill().get(batch.run).wait()
        self.stdout.write(f"{status.state}: {store(batch)} of {status.requests}")
