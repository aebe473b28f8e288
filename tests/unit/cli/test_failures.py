"""What `promptmill failures` says about each reason."""

from promptmill.cli.failures import describe_reasons


def test_each_known_reason_comes_with_what_to_do() -> None:
    (line,) = describe_reasons(["MAX_TOKENS", "A_REASON_OF_A_LATER_VERSION"])

    assert line.startswith("MAX_TOKENS: Thinking and answer reached the token limit. Raise `max")
