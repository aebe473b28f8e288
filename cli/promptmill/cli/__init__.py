"""The command line, a thin layer over ``promptmill.producers``."""


def main() -> None:
    """Run the command line with the arguments of the process, and exit."""
    from promptmill.cli.app import app

    app(prog_name="promptmill")


__all__ = ["main"]
