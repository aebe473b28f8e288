import io

import msgspec
from rich.console import Console

from promptmill.cli import progress
from promptmill.producers.contract.status import RunStatus

RUN = RunStatus("01kq", "queued", requests=10)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lines_at(*looks: tuple[float, RunStatus]) -> list[str]:
    written: list[str] = []
    clock = Clock()
    lines = progress.StatusLines(written.append, clock)
    for seconds, run in looks:
        clock.now = 100.0 + seconds
        lines.update_status(run)
    return written


def done(count: int) -> RunStatus:
    return msgspec.structs.replace(RUN, state="running", succeeded=count)


def test_a_new_state_is_written_at_once() -> None:
    assert len(lines_at((0.0, RUN), (0.1, done(0)))) == 2


def test_counts_are_written_every_few_seconds_only() -> None:
    written = lines_at(
        (0.0, done(0)), (1.0, done(1)), (2.0, done(2)), (3.5, done(3)), (4.0, done(4))
    )

    assert [line.split("running")[1].split()[0] for line in written] == ["0", "3"]


def test_a_run_that_stands_still_gives_a_sign_of_life_now_and_then() -> None:
    assert len(lines_at(*((float(second), RUN) for second in range(65)))) == 3


def test_a_line_says_when_where_and_how_much() -> None:
    (line,) = lines_at((12.0, msgspec.structs.replace(RUN, succeeded=4, failed=1)))

    assert " ".join(line.split()) == "12 s queued 5 of 10 done, 1 failed"


def test_a_run_that_has_ended_shows_its_own_duration() -> None:
    ended = msgspec.structs.replace(RUN, state="succeeded", created=1000.0, ended=1090.0)

    (line,) = lines_at((0.0, ended))

    assert line.split("succeeded")[0].strip() == "90 s"


def test_elsewhere_than_in_a_terminal_there_are_no_bars_and_no_colours() -> None:
    out = io.StringIO()

    with progress.track_run(Console(file=out, width=80)) as on_status:
        on_status(RUN)

    assert "0 of 10 done" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_in_a_terminal_there_is_a_bar() -> None:
    out = io.StringIO()

    with progress.track_run(Console(file=out, width=80, force_terminal=True)) as on_status:
        on_status(done(5))

    assert "\x1b" in out.getvalue()
    assert "5 of 10 done" in out.getvalue()


def test_the_sending_of_requests_is_shown_while_their_number_is_not_known() -> None:
    out = io.StringIO()

    with progress.track_sending(Console(file=out, width=80, force_terminal=True)) as on_sent:
        on_sent(1234)

    assert "1,234 requests sent" in out.getvalue()
