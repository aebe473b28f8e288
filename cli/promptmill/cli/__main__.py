"""``python -m promptmill.cli``: the command line without the installed script."""

from promptmill.cli import main

if __name__ == "__main__":
    main()
