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
ESTIMATED_OUTPUT_TOKENS = 256
"""Output tokens of a request in an estimate, where the request allows as many; nothing tells beforehand."""
MAX_INPUT_TOKENS = 1_048_576
"""Input tokens of a request: no Gemini model that has batch jobs takes more."""
MAX_OUTPUT_TOKENS = 65_536
"""Output tokens of a request that names no limit: no Gemini model that has batch jobs answers with more."""
_MAX_IMAGE_TOKENS = 17 * 258
"""Tokens of the largest image: whole, and in 16 tiles of 768 × 768; of Gemini 3 at the highest resolution it is 2,240."""
_MAX_VIDEO_SECOND_TOKENS = 330
"""Tokens of a second of video: a frame of 258 (Gemini 3 at high resolution: 280), 32 of sound, and its time."""
_MAPPING_TYPES = (dict, Mapping)
"""A dict is told at once, any other mapping only by asking for its abstract class."""

Count = Annotated[int, msgspec.Meta(ge=0)]


class ChunkSize(msgspec.Struct, frozen=True, array_like=True):
    """How many requests and bytes a chunk has, before compression."""

    requests: Count
    size: Count


class RequestTokens(msgspec.Struct, frozen=True, gc=False):
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


class TokenTotals(msgspec.Struct, frozen=True, array_like=True):
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

    def __add__(self, other: "TokenTotals") -> "TokenTotals":
        mine, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        combined = TokenTotals(*(left + right for left, right in zip(mine, theirs, strict=True)))
        return msgspec.structs.replace(
            combined,
            largest=max(self.largest, other.largest),
            longest=max(self.longest, other.longest),
        )

    @property
    def max_output_tokens(self) -> int:
        """Output tokens that there cannot be more of."""
        return self.named + self.unnamed * MAX_OUTPUT_TOKENS

    def bound_for(self, requests: int) -> "TokenTotals":
        """Return what no ``requests`` of these can exceed; but for the estimates, which are a share."""

        def prorate(amount: int) -> int:
            return amount * min(requests, self.sent) // max(self.sent, 1)

        return TokenTotals(
            sent=min(self.sent, requests),
            text=prorate(self.text),
            most=min(self.most, requests * self.largest),
            largest=self.largest,
            images=prorate(self.images),
            seconds=prorate(self.seconds),
            answers=prorate(self.answers),
            named=min(self.named, requests * self.longest),
            longest=self.longest,
            unnamed=min(self.unnamed, requests),
            open=min(self.open, requests),
        )


def sum_tokens(needs: list[RequestTokens]) -> TokenTotals:
    """Return what requests may use together."""
    answers = [need.answer for need in needs]
    named, unnamed = sum(answers), answers.count(0)
    input_limits = [need.most for need in needs]
    return TokenTotals(
        sent=len(needs),
        text=sum([need.text for need in needs]),
        most=sum(input_limits),
        largest=max(input_limits, default=0),
        images=sum([need.images for need in needs]),
        seconds=sum([need.seconds for need in needs]),
        answers=unnamed * ESTIMATED_OUTPUT_TOKENS
        + (sum(min(limit, ESTIMATED_OUTPUT_TOKENS) for limit in answers) if named else 0),
        named=named,
        longest=max(answers, default=0),
        unnamed=unnamed,
        open=sum([need.open for need in needs]),
    )


def count_text_tokens(size: int, schema: int = 0) -> RequestTokens:
    """Return what a request of one text of ``size`` bytes, and a response schema of ``schema`` bytes, may use."""
    return RequestTokens(size, min(size + schema, MAX_INPUT_TOKENS))


def count_request_tokens(request: Any, size: int) -> RequestTokens:
    """Return what a GenerateContentRequest of ``size`` bytes of JSON may use; one that lint has nothing against."""
    counts = _ContentCounts()
    for content in request["contents"]:
        _scan_content(content, counts)
    if instruction := _get_field(request, "systemInstruction", "system_instruction"):
        _scan_content(instruction, counts)
    max_input = (
        size
        - counts.inline
        + counts.images * _MAX_IMAGE_TOKENS
        + counts.seconds * _MAX_VIDEO_SECOND_TOKENS
    )
    is_unbounded = counts.open or ("tools" in request and _has_unbounded_tools(request["tools"]))
    return RequestTokens(
        counts.text,
        min(max_input, MAX_INPUT_TOKENS),
        counts.images,
        counts.seconds,
        _output_limit(request),
        is_unbounded,
    )


class _ContentCounts:
    """What the parts of a request hold; ``inline`` bytes of JSON are data that is not read as text."""

    text = images = seconds = inline = 0
    open = False


def _scan_content(content: Any, counts: _ContentCounts) -> None:
    parts = content.get("parts") if isinstance(content, _MAPPING_TYPES) else None
    for part in parts if isinstance(parts, list) else ():
        if not isinstance(part, _MAPPING_TYPES):
            continue
        text = part.get("text")
        if isinstance(text, str):
            counts.text += len(text) if text.isascii() else len(text.encode())
        if len(part) > 1 or text is None:
            _scan_media(part, counts)


def _scan_media(part: Mapping[str, Any], counts: _ContentCounts) -> None:
    inline = _get_field(part, "inlineData", "inline_data")
    media = inline or _get_field(part, "fileData", "file_data")
    if not isinstance(media, _MAPPING_TYPES):
        return
    if inline and isinstance(data := media.get("data"), str):
        counts.inline += len(data)
    mime_type = str(_get_field(media, "mimeType", "mime_type"))
    seconds = (
        _clip_seconds(_get_field(part, "videoMetadata", "video_metadata"))
        if mime_type.startswith("video/")
        else 0
    )
    if mime_type.startswith("image/"):
        counts.images += 1
    elif seconds:
        counts.seconds += seconds
    else:
        counts.open = True


def _clip_seconds(metadata: Any) -> int:
    """Return how long a cut of a video is, up to the next second; 0 when that is not told, or it has more frames."""
    if not isinstance(metadata, _MAPPING_TYPES) or (metadata.get("fps") or 1) != 1:
        return 0
    try:
        start, end = (
            float(str(metadata.get(name) or metadata.get(other) or default).removesuffix("s"))
            for name, other, default in (
                ("startOffset", "start_offset", "0s"),
                ("endOffset", "end_offset", ""),
            )
        )
    except ValueError:
        return 0
    return int(end - start) + 1 if 0 <= start < end < 10**6 else 0


def _output_limit(request: Mapping[str, Any]) -> int:
    """Return the output tokens that a request allows, thinking included, over all candidates."""
    config = _get_field(request, "generationConfig", "generation_config")
    max_output = _get_field(config, "maxOutputTokens", "max_output_tokens")
    candidates = _get_field(config, "candidateCount", "candidate_count")
    if not isinstance(max_output, int) or max_output < 0:
        return 0
    return max_output * (candidates if isinstance(candidates, int) and candidates > 1 else 1)


def _has_unbounded_tools(tools: Any) -> bool:
    """Whether tools may put more into the input than the request holds: what a search finds, what code says."""
    declaration_fields = {"functionDeclarations", "function_declarations"}
    tool_list = tools if isinstance(tools, list) else [tools] if tools else []
    return any(
        not isinstance(tool, _MAPPING_TYPES) or tool.keys() - declaration_fields
        for tool in tool_list
    )


def _get_field(message: Any, name: str, snake_name: str) -> Any:
    if not isinstance(message, _MAPPING_TYPES):
        return None
    return message[name] if name in message else message.get(snake_name)
