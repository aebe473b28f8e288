"""What a world looks like, apart from its faults."""

import random
from dataclasses import dataclass

from promptmill.config.settings import Settings

START = 1_700_000_000.0
"""When every world begins, in seconds since the epoch."""


@dataclass(frozen=True)
class Shape:
    """What a seed's world looks like, apart from its faults."""

    settings: Settings
    others: Settings
    duration: float
    listed_after: float
    in_flight: float
    output_late: float
    skews: tuple[float, ...]
    faults_end: float
    began: float = START


def shape(rng: random.Random) -> Shape:
    """Draw a world: small limits, so that a few requests make several of everything."""
    settings = Settings(
        project="simulated",
        bucket="gs://simulated/mill",
        max_requests_per_job=rng.randint(2, 12),
        max_open_jobs=rng.choice((1, 3, 1000)),
        max_creates_per_minute=rng.choice((10, 1000)),
        lost_seconds=120,
        abandon_seconds=300,
        reconcile_interval=rng.choice((15, 30)),
    ).model_copy(
        update={"chunk_bytes": rng.randint(200, 1500), "part_bytes": rng.randint(300, 3000)}
    )
    return Shape(
        settings=settings,
        others=rng.choice((settings, _deployed_later(settings, rng))),
        duration=rng.uniform(1, 150),
        listed_after=rng.choice((0.0, 5.0, 25.0)),
        in_flight=40.0,
        output_late=rng.choice((0.0, 0.0, 60.0)),
        skews=rng.choice(((0.0,), (0.0,), (0.0, 3600.0, -3600.0))),
        faults_end=rng.uniform(60, 400),
    )


def _deployed_later(settings: Settings, rng: random.Random) -> Settings:
    """Draw the limits of workers that were deployed while others still run."""
    return settings.model_copy(
        update={"max_requests_per_job": rng.randint(2, 12), "part_bytes": rng.randint(300, 3000)}
    )
