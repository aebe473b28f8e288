"""``python -m promptmill.producers.cli``, for where the command itself is not on the path."""

from promptmill.producers.cli import main

if __name__ == "__main__":
    main()
