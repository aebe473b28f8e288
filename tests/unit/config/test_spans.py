import pytest

from promptmill.config import spans


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("12h", 43_200),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("20", 20),
        ("1.5m", 90),
        (" 5s ", 5),
    ],
)
def test_a_span_is_read_in_seconds(text: str, seconds: float) -> None:
    assert spans.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "5 parsecs", "-3s", "h", "1h30", "s5"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        spans.parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (4.25, "4.2 s"),
        (59.6, "60 s"),
        (200, "3 min 20 s"),
        (7_260, "2 h 01 min"),
        (86_400 * 3, "3.0 days"),
        (-1, "0.0 s"),
    ],
)
def test_a_span_is_shown_in_the_unit_that_people_would_use(seconds: float, text: str) -> None:
    assert spans.format_duration(seconds) == text
