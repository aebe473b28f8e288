"""`Promptmill.submit` takes prompts, and nothing that only resembles them."""

from typing import Any

import pytest

from promptmill.config.errors import ConfigurationError
from promptmill.producers import Promptmill


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ("hello", "not one str: write ['hello']"),
        (b"hello", "not one bytes"),
        (bytearray(b"hello"), "not one bytearray"),
        ({"prompt": "hello"}, "not one dict"),
        (5, "not int"),
        (None, "not NoneType"),
    ],
)
def test_one_prompt_is_not_taken_apart(prompts: Any, message: str) -> None:
    mill = Promptmill(broker_url="redis://127.0.0.1:1/0", model="gemini-fake")

    with pytest.raises(ConfigurationError) as refused:
        mill.submit(prompts)

    assert str(refused.value).startswith("prompts must be an iterable of prompts")
    assert message in str(refused.value)
