"""Every reason that a failed request can have, with its explanation."""

from enum import StrEnum

_REPHRASE = "Rephrase the prompt."
_REPLACE_IMAGE = "Rephrase the prompt or replace its images."
_FIX_TOOLS = "Check the tools in the request."
_FIX_REQUEST = "Correct the request and send it again."
_FIX_ACCESS = "Fix the permissions, then run `promptmill retry`."
_RETRY = "Run `promptmill retry` for the failed rows."


def _permanent(value: str, explanation: str, remedy: str) -> tuple[str, bool, str, str]:
    return value, False, explanation, remedy


def _transient(value: str, explanation: str, remedy: str = _RETRY) -> tuple[str, bool, str, str]:
    return value, True, explanation, remedy


class FailureReason(StrEnum):
    """Why a request has no answer: the closed list behind ``Error.reason``.

    ``transient`` reasons are retried automatically, up to ``max_attempts`` attempts.
    ``explanation`` says in one sentence what happened. ``remedy`` says what to do next.
    To add a reason, add one member; the reference page is generated from this class.
    """

    transient: bool
    explanation: str
    remedy: str

    def __new__(cls, value: str, transient: bool, explanation: str, remedy: str) -> "FailureReason":
        """Make a string member with its properties."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.transient = transient
        member.explanation = explanation
        member.remedy = remedy
        return member

    # The same as for reasons that were read from a stored result.
    __repr__ = str.__repr__

    # Promptmill's own reasons.
    INVALID_REQUEST = _permanent("INVALID_REQUEST", "The row is not a valid request.", _FIX_REQUEST)
    MISSING_ROW = _transient("MISSING_ROW", "The job's output has no line for the request.")
    EMPTY_RESPONSE = _transient("EMPTY_RESPONSE", "The model returned no content.")
    UNREADABLE_RESPONSE = _permanent(
        "UNREADABLE_RESPONSE",
        "The line of output for the request is not in Google's documented form, or names no row.",
        "Read the line that the message names, then run `promptmill retry`.",
    )
    SCHEMA_INVALID = _permanent(
        "SCHEMA_INVALID",
        "The answer does not match the response schema.",
        "Submit with `retry_schema_invalid`, or relax the schema.",
    )
    JOB_FAILED = _permanent(
        "JOB_FAILED",
        "The batch job failed before it answered the request.",
        "Read the job's error in the message, fix its cause, then run `promptmill retry`.",
    )
    JOB_INTERRUPTED = _transient("JOB_INTERRUPTED", "An error at Google stopped the batch job.")
    JOB_EXPIRED = _transient("JOB_EXPIRED", "Vertex AI stopped the batch job at its time limit.")
    JOB_CANCELLED = _permanent("JOB_CANCELLED", "The run or its batch job was cancelled.", _RETRY)
    JOB_LOST = _permanent("JOB_LOST", "Vertex AI no longer knows the batch job.", _RETRY)
    OVER_BUDGET = _permanent(
        "OVER_BUDGET",
        "Another attempt could have exceeded `max_cost_usd`.",
        "Raise `max_cost_usd` and submit the failed rows again.",
    )

    # Finish and block reasons of the Gemini API (``FinishReason``, ``BlockedReason``).
    MAX_TOKENS = _permanent(
        "MAX_TOKENS",
        "Thinking and answer reached the token limit.",
        "Raise `maxOutputTokens`, lower `thinkingLevel`, or submit with `retry_max_tokens`.",
    )
    SAFETY = _permanent(
        "SAFETY", "Google's safety filters blocked the prompt or answer.", _REPHRASE
    )
    RECITATION = _permanent("RECITATION", "The answer repeated a published text.", _REPHRASE)
    LANGUAGE = _permanent("LANGUAGE", "The model does not support the language.", _REPHRASE)
    OTHER = _permanent("OTHER", "Google stopped the answer without a specific reason.", _REPHRASE)
    BLOCKLIST = _permanent("BLOCKLIST", "The prompt or answer has a blocked term.", _REPHRASE)
    PROHIBITED_CONTENT = _permanent(
        "PROHIBITED_CONTENT", "The prompt or answer has content that Google prohibits.", _REPHRASE
    )
    SPII = _permanent("SPII", "The answer has sensitive personal information.", _REPHRASE)
    MALFORMED_FUNCTION_CALL = _permanent(
        "MALFORMED_FUNCTION_CALL", "The model made an invalid function call.", _FIX_TOOLS
    )
    MODEL_ARMOR = _permanent("MODEL_ARMOR", "Model Armor blocked the prompt or answer.", _REPHRASE)
    IMAGE_SAFETY = _permanent(
        "IMAGE_SAFETY", "Google's safety filters blocked the image.", _REPLACE_IMAGE
    )
    IMAGE_PROHIBITED_CONTENT = _permanent(
        "IMAGE_PROHIBITED_CONTENT", "The image has content that Google prohibits.", _REPLACE_IMAGE
    )
    IMAGE_RECITATION = _permanent(
        "IMAGE_RECITATION", "The image repeated a published work.", _REPLACE_IMAGE
    )
    IMAGE_OTHER = _permanent(
        "IMAGE_OTHER", "Google stopped the image without a specific reason.", _REPLACE_IMAGE
    )
    NO_IMAGE = _permanent("NO_IMAGE", "The model returned no image.", _REPHRASE)
    UNEXPECTED_TOOL_CALL = _permanent(
        "UNEXPECTED_TOOL_CALL", "The model called a tool that the request lacks.", _FIX_TOOLS
    )
    TOO_MANY_TOOL_CALLS = _permanent(
        "TOO_MANY_TOOL_CALLS", "The model called tools too many times.", _FIX_TOOLS
    )
    JAILBREAK = _permanent("JAILBREAK", "Google classified the prompt as a jailbreak.", _REPHRASE)

    # Names of google.rpc.Code, from a row's status.
    INVALID_ARGUMENT = _permanent("INVALID_ARGUMENT", "Google refused the request.", _FIX_REQUEST)
    FAILED_PRECONDITION = _permanent(
        "FAILED_PRECONDITION", "The project is not set up for the request.", _FIX_ACCESS
    )
    OUT_OF_RANGE = _permanent(
        "OUT_OF_RANGE", "A value in the request is out of range.", _FIX_REQUEST
    )
    UNAUTHENTICATED = _permanent("UNAUTHENTICATED", "Google rejected the credentials.", _FIX_ACCESS)
    PERMISSION_DENIED = _permanent("PERMISSION_DENIED", "Access was denied.", _FIX_ACCESS)
    NOT_FOUND = _permanent("NOT_FOUND", "A file or model in the request is missing.", _FIX_REQUEST)
    ALREADY_EXISTS = _permanent("ALREADY_EXISTS", "A resource already exists.", _FIX_REQUEST)
    ABORTED = _transient("ABORTED", "Google aborted the request because of a conflict.")
    RESOURCE_EXHAUSTED = _transient("RESOURCE_EXHAUSTED", "A quota or capacity limit was reached.")
    CANCELLED = _permanent("CANCELLED", "Google cancelled the request.", _RETRY)
    DATA_LOSS = _permanent("DATA_LOSS", "Google lost data of the request.", _RETRY)
    UNKNOWN = _transient("UNKNOWN", "Google returned an error without a known status.")
    INTERNAL = _transient("INTERNAL", "Google had an internal error.")
    NOT_IMPLEMENTED = _permanent(
        "NOT_IMPLEMENTED", "The model does not support the request.", _FIX_REQUEST
    )
    UNAVAILABLE = _transient("UNAVAILABLE", "Google's service was unavailable.")
    DEADLINE_EXCEEDED = _transient(
        "DEADLINE_EXCEEDED",
        "The run's deadline passed, or the request timed out at Google.",
        "Run `promptmill retry`, if needed with a later `deadline`.",
    )


TRANSIENT = frozenset(reason for reason in FailureReason if reason.transient)
"""Reasons for which another attempt may succeed."""

RETRIED_ONCE = frozenset({FailureReason.UNREADABLE_RESPONSE})
"""Reasons for which only one attempt may follow: the next line may have the same form."""
