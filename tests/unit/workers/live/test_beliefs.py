"""The table of beliefs, compared with the page that explains it."""

import re
from pathlib import Path

from promptmill.workers.live import beliefs

PAGE = Path(__file__).parents[4] / "docs" / "live.md"


def test_the_page_states_and_explains_every_belief_once() -> None:
    explained = re.findall(r"^\| `([a-z-]+)` \| (.+?) \| .+ \|$", PAGE.read_text(), re.MULTILINE)

    every_belief = (*beliefs.BELIEFS, beliefs.SEARCH_BELIEF)
    assert explained == [(belief.name, belief.statement) for belief in every_belief]


def test_every_belief_is_one_sentence() -> None:
    statements = [belief.statement for belief in beliefs.BELIEFS]

    assert [text for text in statements if not re.fullmatch(r"[A-Z].*\.", text)] == []
