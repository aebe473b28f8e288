"""Reviews, and the batches that classify them."""

from django.db import models


class Batch(models.Model):
    """Reviews that are classified in one run."""

    run = models.CharField(max_length=62, default="", blank=True)

    def __str__(self) -> str:
        return f"batch {self.pk}"


class Review(models.Model):
    """A customer's text and its sentiment."""

    text = models.TextField()
    batch = models.ForeignKey(Batch, null=True, on_delete=models.SET_NULL)
    sentiment = models.CharField(max_length=200, default="", blank=True)

    def __str__(self) -> str:
        return self.text[:50]
