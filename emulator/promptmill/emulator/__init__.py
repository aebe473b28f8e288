"""An emulator of Vertex AI batch prediction jobs, for development and tests.

It imports no other Promptmill code: with shared encoders it would repeat their bugs.
"""

from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> None:
    """Run the emulator with these command line arguments until SIGTERM or SIGINT."""
    from .__main__ import main as run

    run(args)
