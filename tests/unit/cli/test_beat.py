from pathlib import Path

from promptmill.cli.beat import beat_arguments


def test_beat_leaves_no_file_behind_unless_it_is_given_one() -> None:
    assert "-s" not in beat_arguments(None, "INFO")
    assert beat_arguments(Path("schedule"), "INFO")[1:3] == ["-s", "schedule"]
