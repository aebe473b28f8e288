"""A stand-in for Vertex AI's batch prediction jobs, for development and tests. It is not Google and says so.

Imports nothing of the rest of Promptmill: an emulator that shared its encoders would agree with its bugs.
"""

from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> None:
    """Run the emulator with these command line arguments until SIGTERM or SIGINT."""
    from .__main__ import main as run

    run(args)
