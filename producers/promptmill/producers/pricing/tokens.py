"""Counts the tokens that requests can use, while they are encoded.

Text is estimated at one token per 4 bytes of UTF-8. Google's rule is about 4 characters
(ai.google.dev/gemini-api/docs/tokens). For English that is the same. The upper bound is
one token per byte of the request as JSON, because a token has at least one byte. Tokens
of images and video are those that Google publishes
(ai.google.dev/gemini-api/docs/tokens, …/media-resolution).
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

BYTES_PER_TOKEN = 4
ESTIMATED_OUTPUT_TOKENS = 256
"""Estimated output tokens of a request besides its thoughts, if it allows as many."""
MAX_INPUT_TOKENS = 1_048_576
"""Maximum input tokens of a request, of all Gemini models with batch jobs."""
MAX_OUTPUT_TOKENS = 65_536
"""Maximum output tokens of a request, of all Gemini models with batch jobs."""
_MAX_IMAGE_TOKENS = 17 * 258
"""Tokens of the largest image: the whole, and 16 tiles of 768 × 768.

Gemini 3 needs 2,240 at the highest resolution.
"""
_MAX_VIDEO_SECOND_TOKENS = 330
"""Tokens of a second of video: 258 for the frame, 32 for the sound, and its time.

Gemini 3 needs 280 for the frame at high resolution.
"""
_MAPPING_TYPES = (dict, Mapping)
"""``dict`` comes first because ``isinstance`` is slow for an abstract class."""

Count = Annotated[int, msgspec.Meta(ge=0)]


class ChunkSize(msgspec.Struct, frozen=True, array_like=True):
    """The number of requests and bytes of a chunk, before compression."""

    requests: Count
    size: Count


class RequestTokens(msgspec.Struct, frozen=True, gc=False):
    """The tokens that one request can use.

    ``text`` is in bytes of UTF-8. ``images`` and ``seconds`` (of video) count its
    media. ``most`` is the upper bound of input tokens. It does not hold for an ``open``
    request, which has media of unknown length or a tool that adds input. ``answer`` is
    the limit of output tokens over all candidates; 0 means no limit. ``thoughts`` are
    the estimated thought tokens.
    """

    text: int = 0
    most: int = 0
    images: int = 0
    seconds: int = 0
    answer: int = 0
    open: bool = False
    thoughts: int = 0

    @property
    def output(self) -> int:
        """Estimated output tokens: the thoughts and a text, within the limit."""
        expected = ESTIMATED_OUTPUT_TOKENS + self.thoughts
        return min(self.answer, expected) if self.answer else expected


class TokenTotals(msgspec.Struct, frozen=True, array_like=True):
    """The sums of ``RequestTokens`` over the valid requests of a chunk.

    ``sent`` counts these requests. ``largest`` and ``longest`` are the maximum of
    ``most`` and ``answer``. ``answers`` is the estimate of output tokens, of which
    ``thoughts`` are thought tokens. ``named`` is the sum of output limits. ``unnamed``
    counts requests without one. ``open`` counts requests without an upper bound of input.
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
    thoughts: Count = 0

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
        """Upper bound of output tokens."""
        return self.named + self.unnamed * MAX_OUTPUT_TOKENS

    def bound_for(self, requests: int) -> "TokenTotals":
        """Return upper bounds for any ``requests`` of these. Estimates are a share."""

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
            thoughts=prorate(self.thoughts),
        )


def sum_tokens(needs: list[RequestTokens]) -> TokenTotals:
    """Return the token totals of requests."""
    answers = [need.answer for need in needs]
    input_limits = [need.most for need in needs]
    outputs, thoughts = _sum_outputs(needs, answers)
    return TokenTotals(
        sent=len(needs),
        text=sum([need.text for need in needs]),
        most=sum(input_limits),
        largest=max(input_limits, default=0),
        images=sum([need.images for need in needs]),
        seconds=sum([need.seconds for need in needs]),
        answers=outputs,
        named=sum(answers),
        longest=max(answers, default=0),
        unnamed=answers.count(0),
        open=sum([need.open for need in needs]),
        thoughts=thoughts,
    )


def _sum_outputs(needs: list[RequestTokens], limits: list[int]) -> tuple[int, int]:
    """Return the estimated output tokens, and the thought tokens among them."""
    thoughts = [need.thoughts for need in needs]
    if not any(limits):
        total = sum(thoughts)
        return len(needs) * ESTIMATED_OUTPUT_TOKENS + total, total
    bounded = [min(limit or count, count) for limit, count in zip(limits, thoughts, strict=True)]
    return sum([need.output for need in needs]), sum(bounded)


def count_text_tokens(size: int, schema: int = 0, thoughts: int = 0) -> RequestTokens:
    """Return the tokens of a request of one text and a schema, both given in bytes."""
    return RequestTokens(size, min(size + schema, MAX_INPUT_TOKENS), 0, 0, 0, False, thoughts)


def count_request_tokens(request: Mapping[str, Any], size: int, thoughts: int = 0) -> RequestTokens:
    """Return the tokens of a valid GenerateContentRequest of ``size`` bytes of JSON.

    ``thoughts`` are its estimated thought tokens.
    """
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
        thoughts,
    )


class _ContentCounts:
    """Counts over the parts of a request. ``inline`` is bytes of JSON that are not
    text.
    """

    text = images = seconds = inline = 0
    open = False


def _scan_content(content: object, counts: _ContentCounts) -> None:
    parts = content.get("parts") if isinstance(content, _MAPPING_TYPES) else None
    for part in parts if isinstance(parts, list) else ():
        if not isinstance(part, _MAPPING_TYPES):
            continue
        text = part.get("text")
        if isinstance(text, str):
            counts.text += len(text) if text.isascii() else len(text.encode())
        if len(part) > 1 or text is None:
            _scan_media(part, counts)


def _scan_media(part: Mapping[str, object], counts: _ContentCounts) -> None:
    inline = _get_field(part, "inlineData", "inline_data")
    media = inline or _get_field(part, "fileData", "file_data")
    if not isinstance(media, _MAPPING_TYPES):
        return
    if inline and isinstance(data := media.get("data"), str):
        counts.inline += len(data)
    mime_type = str(_get_field(media, "mimeType", "mime_type"))
    is_image, is_video = mime_type.startswith("image/"), mime_type.startswith("video/")
    seconds = _clip_seconds(_get_field(part, "videoMetadata", "video_metadata")) if is_video else 0
    counts.images += is_image
    counts.seconds += seconds
    counts.open |= not (is_image or seconds)


def _clip_seconds(metadata: object) -> int:
    """Return the seconds of a video clip, rounded up; 0 if unknown or of another frame rate."""
    if not isinstance(metadata, _MAPPING_TYPES) or (metadata.get("fps") or 1) != 1:
        return 0
    try:
        start = _parse_offset(metadata, "startOffset", "start_offset", "0s")
        end = _parse_offset(metadata, "endOffset", "end_offset", "")
    except ValueError:
        return 0
    return int(end - start) + 1 if 0 <= start < end < 10**6 else 0


def _parse_offset(metadata: Mapping[str, object], name: str, alias: str, default: str) -> float:
    return float(str(metadata.get(name) or metadata.get(alias) or default).removesuffix("s"))


def _output_limit(request: Mapping[str, object]) -> int:
    """Return the output limit of a request, over all candidates, including thinking."""
    config = _get_field(request, "generationConfig", "generation_config")
    max_output = _get_field(config, "maxOutputTokens", "max_output_tokens")
    candidates = _get_field(config, "candidateCount", "candidate_count")
    if not isinstance(max_output, int) or max_output < 0:
        return 0
    return max_output * (candidates if isinstance(candidates, int) and candidates > 1 else 1)


def _has_unbounded_tools(tools: object) -> bool:
    """Whether tools can add input, such as search results or the output of code."""
    declaration_fields = {"functionDeclarations", "function_declarations"}
    tool_list = tools if isinstance(tools, list) else [tools] if tools else []
    return any(
        not isinstance(tool, _MAPPING_TYPES) or tool.keys() - declaration_fields
        for tool in tool_list
    )


def _get_field(message: object, name: str, snake_name: str) -> Any:
    if not isinstance(message, _MAPPING_TYPES):
        return None
    return message[name] if name in message else message.get(snake_name)
