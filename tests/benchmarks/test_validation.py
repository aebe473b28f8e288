"""What it costs to find texts that the importer would convert, against encoding without that."""

import time
from collections import deque
from collections.abc import Iterable, Iterator

from promptmill.cli.sample_prompts import translation_prompts
from promptmill.config.errors import InvalidRequest
from promptmill.producers.requests import encode
from promptmill.producers.requests.converted_texts import PROMPT_PATH
from promptmill.producers.requests.request_line import RequestLine
from support.measurement import Tell

PROMPTS, PIECE = 1_000_000, 10_000
RUN, MAX_BYTES = "01jbench", 10 << 20
MOST = 1.15


def test_finding_texts_that_would_be_converted_costs_little(tell: Tell) -> None:
    prompts = list(translation_prompts(PIECE))
    seconds = {"without": 0.0, "with": 0.0}

    for _ in range(PROMPTS // PIECE):  # in turns, as other programs slow this machine down
        seconds["without"] += measure_seconds(encode_unchecked(prompts))
        seconds["with"] += measure_seconds(encode.encode_lines(RUN, prompts, MAX_BYTES))
    ratio = seconds["with"] / seconds["without"]
    tell(
        f"encoding {PROMPTS:,} plain prompts with and without the checks: {ratio:.3f}",
        [
            {"checks": name, "seconds": spent, "prompts_per_second": int(PROMPTS / spent)}
            for name, spent in seconds.items()
        ],
    )

    assert ratio <= MOST


def encode_unchecked(prompts: Iterable[str]) -> Iterator[RequestLine]:
    """Encode as if an earlier row had kept the field as text, and hold nothing."""
    encoder = encode.RequestEncoder(RUN, MAX_BYTES)
    encoder._field_types.plain_paths.add(PROMPT_PATH)
    for prompt in prompts:
        try:
            line = encoder.encode_row(prompt)
        except InvalidRequest:
            continue
        yield line


def measure_seconds(lines: Iterable[RequestLine]) -> float:
    began = time.process_time()
    deque(lines, maxlen=0)
    return time.process_time() - began
