"""``python -m promptmill.cli``, for where the command itself is not on the path."""

from promptmill.cli import main

if __name__ == "__main__":
    main()
