"""How fast requests are encoded and answers are parsed, against how fast this machine decodes JSON at all."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import msgspec

from promptmill.cli.sample_prompts import translation_prompts
from promptmill.config import names
from promptmill.producers.requests.chunks import KeyRegistry
from promptmill.producers.requests.encode import encode_lines
from promptmill.workers.facts.row_set import RowSet
from promptmill.workers.steps.parse import PartReader
from support.chunking import cut
from support.measurement import Tell

LINES = 50_000
RUN = "01jbench"
MOST_ENCODING, MOST_PARSING = 4.0, 8.0
"""Times as long as decoding the answers; twice what was measured when this was written."""


def test_encoding_and_parsing_keep_pace_with_decoding_json(tell: Tell) -> None:
    prompts = list(translation_prompts(LINES))
    answers = list(output(prompts))

    decoding = fastest(lambda: map(msgspec.json.decode, answers))
    encoding = fastest(
        lambda: cut(KeyRegistry().record_lines(encode_lines(RUN, prompts, 10 << 20)), 512 * 1024)
    )
    parsing = fastest(lambda: reader().read_results(enumerate(answers)))
    size = sum(map(len, answers))
    tell(
        f"{LINES:,} lines, {size / 1e6:.0f} MB of answers",
        [
            {
                "what": what,
                "seconds": seconds,
                "lines_per_second": int(LINES / seconds),
                "ratio": seconds / decoding,
            }
            for what, seconds in (
                ("decoding", decoding),
                ("encoding", encoding),
                ("parsing", parsing),
            )
        ],
    )

    assert encoding <= MOST_ENCODING * decoding
    assert parsing <= MOST_PARSING * decoding


def output(prompts: list[str]) -> Iterator[bytes]:
    """Lines as Vertex writes them."""
    usage = {
        "promptTokenCount": 20,
        "candidatesTokenCount": 25,
        "totalTokenCount": 45,
        "trafficType": "ON_DEMAND",
    }
    for line in encode_lines(RUN, prompts, 10 << 20):
        text = f"Una frase de unas cien letras, más o menos, en respuesta a la pregunta {line.row}."
        content = {"role": "model", "parts": [{"text": text}]}
        response = {
            "candidates": [{"content": content, "finishReason": "STOP", "avgLogprobs": -0.1}],
            "modelVersion": "gemini-3.8-flash",
            "responseId": f"response-{line.row}",
            "usageMetadata": usage,
        }
        answered = {
            "status": "",
            "processed_time": "2026-11-22T07:32:47.279859+00:00",
            "response": response,
        }
        yield msgspec.json.encode(answered | msgspec.json.decode(line.data))


def reader() -> PartReader:
    """A reader of the only part of the run."""
    return PartReader(names.tag(RUN), 1, 1, RowSet.first(LINES))


def fastest(work: Callable[[], Iterable[object]], times: int = 3) -> float:
    """The seconds in which all that `work` yields was made and let go of, in the fastest of some tries."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        deque(work(), maxlen=0)
        seconds.append(time.perf_counter() - began)
    return min(seconds)
