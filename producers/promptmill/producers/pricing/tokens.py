"""How many tokens requests may use: counted while they are encoded, from what is at hand then, and never sent anywhere.

The estimate of text is one token for every 4 bytes of UTF-8: Google's rule is about 4 characters
(ai.google.dev/gemini-api/docs/tokens), which for English is the same, and for languages with longer characters too few.
The most that it can be is one token for each byte of the request as JSON, since every token stands for a byte at least.
Tokens of images and video are Google's published ones (ai.google.dev/gemini-api/docs/tokens, …/media-resolution).
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

BYTES_PER_TOKEN = 4
ANSWER = 256
"""Output tokens of a request in an estimate, where the request allows as many; nothing tells beforehand."""
INPUT_MOST = 1_048_576
"""Input tokens of a request: no Gemini model that has batch jobs takes more."""
OUTPUT_MOST = 65_536
"""Output tokens of a request that names no limit: no Gemini model that has batch jobs answers with more."""
_IMAGE_MOST = 17 * 258
"""Tokens of the largest image: whole, and in 16 tiles of 768 × 768; of Gemini 3 at the highest resolution it is 2,240."""
_SECOND_MOST = 330
"""Tokens of a second of video: a frame of 258 (Gemini 3 at high resolution: 280), 32 of sound, and its time."""
_MAPPING = (dict, Mapping)
"""A dict is told at once, any other mapping only by asking for its abstract class."""

Count = Annotated[int, msgspec.Meta(ge=0)]


class Need(msgspec.Struct, frozen=True, gc=False):
    """What one request may use.

    ``text`` is in bytes of UTF-8, ``images`` and ``seconds`` (of video) are what it holds besides, ``most`` are the
    input tokens that it cannot exceed, unless it is ``open``: it has media of a length that it does not tell, or a tool
    that reads more. ``answer`` are the output tokens that it allows, over all candidates; 0 when it does not say.
    """

    text: int = 0
    most: int = 0
    images: int = 0
    seconds: int = 0
    answer: int = 0
    open: bool = False


class Tokens(msgspec.Struct, frozen=True, array_like=True):
    """What the requests of a chunk may use, in sums; ``largest`` and ``longest`` are the ``most`` and ``answer`` of one.

    ``answers`` are the output tokens estimated, ``named`` those allowed by requests that say so; ``unnamed`` counts
    requests that do not, ``open`` those whose input has no limit of their own, ``sent`` all that are not refused.
    """

    sent: Count = 0
    text: Count = 0
    most: Count = 0
    largest: Count = 0
    images: Count = 0
    seconds: Count = 0
    answers: Count = 0
    named: Count = 0
    longest: Count = 0
    unnamed: Count = 0
    open: Count = 0

    def __add__(self, other: "Tokens") -> "Tokens":
        mine, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        both = Tokens(*(one + two for one, two in zip(mine, theirs, strict=True)))
        return msgspec.structs.replace(
            both, largest=max(self.largest, other.largest), longest=max(self.longest, other.longest)
        )

    @property
    def output_most(self) -> int:
        """Output tokens that there cannot be more of."""
        return self.named + self.unnamed * OUTPUT_MOST

    def of_some(self, requests: int) -> "Tokens":
        """Return what no ``requests`` of these can exceed; but for the estimates, which are a share."""

        def share(sum_: int) -> int:
            return sum_ * min(requests, self.sent) // max(self.sent, 1)

        return Tokens(
            sent=min(self.sent, requests),
            text=share(self.text),
            most=min(self.most, requests * self.largest),
            largest=self.largest,
            images=share(self.images),
            seconds=share(self.seconds),
            answers=share(self.answers),
            named=min(self.named, requests * self.longest),
            longest=self.longest,
            unnamed=min(self.unnamed, requests),
            open=min(self.open, requests),
        )


def total(needs: list[Need]) -> Tokens:
    """Return what requests may use together."""
    answers = [need.answer for need in needs]
    named, unnamed = sum(answers), answers.count(0)
    mosts = [need.most for need in needs]
    return Tokens(
        sent=len(needs),
        text=sum([need.text for need in needs]),
        most=sum(mosts),
        largest=max(mosts, default=0),
        images=sum([need.images for need in needs]),
        seconds=sum([need.seconds for need in needs]),
        answers=unnamed * ANSWER + (sum(min(most, ANSWER) for most in answers) if named else 0),
        named=named,
        longest=max(answers, default=0),
        unnamed=unnamed,
        open=sum([need.open for need in needs]),
    )


def of_text(size: int, schema: int = 0) -> Need:
    """Return what a request of one text of ``size`` bytes, and a response schema of ``schema`` bytes, may use."""
    return Need(size, min(size + schema, INPUT_MOST))


def of_request(request: Any, size: int) -> Need:
    """Return what a GenerateContentRequest of ``size`` bytes of JSON may use; one that lint has nothing against."""
    found = _Found()
    for content in request["contents"]:
        _scan(content, found)
    if instruction := _field(request, "systemInstruction", "system_instruction"):
        _scan(instruction, found)
    most = size - found.inline + found.images * _IMAGE_MOST + found.seconds * _SECOND_MOST
    endless = found.open or ("tools" in request and _reads_more(request["tools"]))
    return Need(found.text, min(most, INPUT_MOST), found.images, found.seconds, _answer(request), endless)


class _Found:
    """What the parts of a request hold; ``inline`` bytes of JSON are data that is not read as text."""

    text = images = seconds = inline = 0
    open = False


def _scan(content: Any, found: _Found) -> None:
    parts = content.get("parts") if isinstance(content, _MAPPING) else None
    for part in parts if isinstance(parts, list) else ():
        if not isinstance(part, _MAPPING):
            continue
        text = part.get("text")
        if isinstance(text, str):
            found.text += len(text) if text.isascii() else len(text.encode())
        if len(part) > 1 or text is None:
            _scan_media(part, found)


def _scan_media(part: Mapping[str, Any], found: _Found) -> None:
    inline = _field(part, "inlineData", "inline_data")
    media = inline or _field(part, "fileData", "file_data")
    if not isinstance(media, _MAPPING):
        return
    if inline and isinstance(data := media.get("data"), str):
        found.inline += len(data)
    kind = str(_field(media, "mimeType", "mime_type"))
    seconds = _seconds(_field(part, "videoMetadata", "video_metadata")) if kind.startswith("video/") else 0
    if kind.startswith("image/"):
        found.images += 1
    elif seconds:
        found.seconds += seconds
    else:
        found.open = True


def _seconds(metadata: Any) -> int:
    """Return how long a cut of a video is, up to the next second; 0 when that is not told, or it has more frames."""
    if not isinstance(metadata, _MAPPING) or (metadata.get("fps") or 1) != 1:
        return 0
    try:
        start, end = (
            float(str(metadata.get(name) or metadata.get(other) or default).removesuffix("s"))
            for name, other, default in (("startOffset", "start_offset", "0s"), ("endOffset", "end_offset", ""))
        )
    except ValueError:
        return 0
    return int(end - start) + 1 if 0 <= start < end < 10**6 else 0


def _answer(request: Mapping[str, Any]) -> int:
    """Return the output tokens that a request allows, thinking included, over all candidates."""
    config = _field(request, "generationConfig", "generation_config")
    most = _field(config, "maxOutputTokens", "max_output_tokens")
    candidates = _field(config, "candidateCount", "candidate_count")
    if not isinstance(most, int) or most < 0:
        return 0
    return most * (candidates if isinstance(candidates, int) and candidates > 1 else 1)


def _reads_more(tools: Any) -> bool:
    """Whether tools may put more into the input than the request holds: what a search finds, what code says."""
    declared = {"functionDeclarations", "function_declarations"}
    some = tools if isinstance(tools, list) else [tools] if tools else []
    return any(not isinstance(tool, _MAPPING) or tool.keys() - declared for tool in some)


def _field(message: Any, name: str, snake: str) -> Any:
    if not isinstance(message, _MAPPING):
        return None
    return message[name] if name in message else message.get(snake)
