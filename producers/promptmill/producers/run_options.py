"""The options of a run: their types, their checks and the manifest they make."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict, cast

import msgspec

from promptmill.config import spans
from promptmill.config.errors import ConfigurationError
from promptmill.config.json_types import JsonObject
from promptmill.config.tables import parse_dataset
from promptmill.producers.contract import callbacks
from promptmill.producers.contract.kept_parts import normalize_keep
from promptmill.producers.contract.messages import MAX_ATTEMPTS, Manifest, SinkSpec
from promptmill.producers.embedding_options import check_embedding_options
from promptmill.producers.model_choice import check_generation_config, choose_model
from promptmill.producers.option_types import check_option_types, check_storable
from promptmill.producers.pricing import prices
from promptmill.producers.requests import schemas
from promptmill.producers.requests.request_line import RequestLine

if TYPE_CHECKING:
    from promptmill.config.settings import Settings
    from promptmill.producers.rows.render import Media


class PoolOptions(TypedDict, total=False):
    """Options of a run that ``Promptmill.enqueue`` accepts too."""

    model: str | None
    """Gemini model, for example ``gemini-3.8-flash``. Default: ``PROMPTMILL_MODEL``."""

    name: str
    """Name of the run, for ``Promptmill.find`` and for reports."""

    labels: Mapping[str, str] | None
    """Labels of the run. Costs can be grouped by label."""

    sinks: Sequence[SinkSpec]
    """Where the workers write results, in addition to the bucket. See
    ``promptmill.producers.sinks``.
    """

    max_attempts: int
    """How often a request is tried, from 1 to 9. Default: 3.

    Only transient failures are retried. Each further attempt is a separate job.
    """

    retry_max_tokens: int
    """Output limit for the retry of an answer that was cut off. Default: 0, no retry.

    It applies to answers that ended with MAX_TOKENS below this limit. The retry sends
    it as ``maxOutputTokens``.
    """

    response_schema: object
    """Schema that every answer must fit: a pydantic model, or a JSON schema as a dict.

    Each request asks for JSON of this schema. Each answer is checked and decoded into
    ``Result.parsed``. Other answers fail with reason SCHEMA_INVALID.
    """

    retry_schema_invalid: bool
    """Request an answer that does not fit the schema once more. Default: False.

    The prompt of the retry names the validation error.
    """

    embedding_config: Mapping[str, object] | None
    """Google's EmbedContentConfig for all rows of an embedding model.

    Its fields are ``output_dimensionality``, ``task_type``, ``title`` and ``auto_truncate``.
    """

    deadline: str | float | None
    """Time limit of the run: seconds, or a duration such as "90m", "36h" or "2d".

    It starts when the first request is stored. Afterwards the run ends as by
    ``Run.cancel``. Unanswered rows fail with reason DEADLINE_EXCEEDED. Default:
    ``PROMPTMILL_RUN_DEADLINE``.
    """

    tables: str
    """BigQuery dataset, as ``project.dataset``, for the input and output of the jobs.

    Default: the jobs read and write files in the bucket.
    """

    link: callbacks.Signatures
    """Celery signatures to send when the run has ended with results.

    A chain, the dict form of a signature, or a list of these works too. Each is sent at
    least once, always under the same task id. The queue is its ``queue`` option, or
    "celery".
    """

    link_error: callbacks.Signatures
    """Celery signatures to send when the run ends without results. See ``link``."""

    link_results: callbacks.Signatures
    """Celery signatures that receive all results, in slices. See ``link``."""

    max_cost_usd: float | None
    """Upper limit of the run's cost in USD. Default:
    ``PROMPTMILL_MAX_COST_USD_PER_RUN``.

    A run is refused if its first attempts could exceed the limit. The same holds if the
    price of its model is unknown. A row whose next attempt could exceed the limit fails
    with reason OVER_BUDGET.
    """

    repeat_identical: bool
    """Send and pay for every one of several identical requests. Default: False.

    By default identical requests are sent once. All their keys get that answer. Only
    the first reports usage.
    """

    reuse_answers: bool
    """Reuse answers of earlier runs to identical requests. Default: False.

    Model and response schema must be the same. The newest 1,000 completed runs are
    searched. A reused answer has no usage and attempt 0. Estimates and cost limits
    ignore reuse. ``keep`` must be the same too.
    """

    keep: str | Collection[str]
    """Parts of Google's answer to return in ``Result.response``: "response" for all of
    it, or names such as ["grounding", "logprobs"]. Default: none.

    The names are candidates, citations, grounding, logprobs, safety, thoughts and
    url_context. Without them, the parts stay in the raw output files in the bucket, and
    the report counts them.
    """


class RunOptions(PoolOptions, total=False):
    """Options of a run, for ``Promptmill.submit`` and the methods based on it."""

    idempotency_key: str | None
    """Key that makes submission repeatable.

    The same key and content return the same run. Only its missing requests are sent.
    """

    strict: bool
    """Raise InvalidRequest for the first invalid row. Default: False.

    By default an invalid row fails on its own, with reason INVALID_REQUEST.
    """

    on_refused: Callable[[RequestLine], None] | None
    """Function to call with each invalid row."""

    on_sent: Callable[[int], None] | None
    """Function to call with the number of requests sent so far."""


class RowOptions(TypedDict, total=False):
    """Options that turn rows into requests. They need a template."""

    key: str | None
    """Template or column of the key. Default: the number of the row."""

    metadata: Sequence[str]
    """Columns to return with the answer."""

    media: Sequence["Media"]
    """Files of every prompt, by URI. Each URI is a template or a column.

    Files precede the text. A missing MIME type is guessed from the URI.
    """

    system_instruction: str | Mapping[str, object] | None
    """System instruction: a template, or Google's Content."""

    generation_config: Mapping[str, object] | None
    """Google's GenerationConfig, the same for all rows."""


class RowRunOptions(RunOptions, RowOptions, total=False):
    """Options of ``Promptmill.submit_rows``."""


_ROW_NAMES = RowOptions.__optional_keys__


def check_options(options: Mapping[str, object], allowed: type, *arguments: str) -> None:
    """Check the names and types of options.

    The error for a name also lists ``arguments``, which the method takes too.

    Raises:
        TypeError: The TypedDict ``allowed`` does not have an option.
        ConfigurationError: An option has a wrong type.
    """
    names: frozenset[str] = getattr(allowed, "__optional_keys__", frozenset())
    if unknown := options.keys() - names:
        listed_names = ", ".join(sorted(names.union(arguments)))
        raise TypeError(f"unexpected option {min(unknown)!r}; use {listed_names}")
    check_option_types(options)


def split_row_options(options: RowRunOptions) -> tuple[RowOptions, RunOptions]:
    """Return the options for the rows, and those for the run."""
    row_options = {name: value for name, value in options.items() if name in _ROW_NAMES}
    run_options = {name: value for name, value in options.items() if name not in _ROW_NAMES}
    return cast("RowOptions", row_options), cast("RunOptions", run_options)


def build_manifest(
    settings: "Settings",
    run: str,
    options: PoolOptions,
    *,
    idempotent: bool = False,
    created: float | None = None,
) -> tuple[Manifest, bytes]:
    """Return the manifest of a run, and the encoded schema of its requests.

    Raises ConfigurationError for an invalid option.
    """
    retry_schema = options.get("retry_schema_invalid", False)
    schema = schemas.resolve_schema(options.get("response_schema"), retry=retry_schema)
    creation_time = time.time() if created is None else created
    manifest = _read_options(settings, run, options, creation_time, schema.json_schema)
    manifest = msgspec.structs.replace(manifest, idempotent=idempotent).with_version()
    check_storable(manifest)
    check_retry_limit(settings, manifest.model, manifest.retry_max_tokens)
    return manifest, schema.encoded


def _read_options(
    settings: "Settings", run: str, options: PoolOptions, created: float, schema: JsonObject | None
) -> Manifest:
    repeat_identical = options.get("repeat_identical", False)
    model = choose_model(settings, options.get("model"), tables=bool(options.get("tables")))
    return Manifest(
        run=run,
        model=model,
        created=created,
        name=options.get("name", ""),
        labels=dict(options.get("labels") or {}),
        sinks=_all_sinks(options),
        max_attempts=check_max_attempts(options.get("max_attempts", 3)),
        retry_max_tokens=check_retry_tokens(options.get("retry_max_tokens", 0)),
        response_schema=schema,
        retry_schema_invalid=options.get("retry_schema_invalid", False),
        embedding_config=check_embedding_options(model, options),
        deadline=parse_deadline(options.get("deadline"), settings.run_deadline),
        tables=parse_dataset(tables) if (tables := options.get("tables")) else "",
        link=callbacks.parse_chains("link", options.get("link")),
        link_error=callbacks.parse_chains("link_error", options.get("link_error")),
        max_cost_usd=check_cost_limit(options.get("max_cost_usd"), settings.max_cost_usd_per_run),
        repeat_identical=repeat_identical,
        reuse_answers=check_reuse_answers(
            options.get("reuse_answers", False), repeat_identical=repeat_identical, model=model
        ),
        keep=normalize_keep(options.get("keep", ())),
    )


def _all_sinks(options: PoolOptions) -> list[SinkSpec]:
    result_sinks = callbacks.build_result_sinks(options.get("link_results"))
    return [*options.get("sinks", ()), *result_sinks]


def check_max_attempts(number: int) -> int:
    """Return the number of attempts; raises ConfigurationError."""
    if not 1 <= number <= MAX_ATTEMPTS:
        raise ConfigurationError(
            f"max_attempts must be a number from 1 to {MAX_ATTEMPTS}, not {number}"
        )
    return number


def check_retry_tokens(number: int) -> int:
    """Return the output limit of a retry; raises ConfigurationError."""
    if not isinstance(number, int) or number < 0:
        raise ConfigurationError(f"retry_max_tokens must be a number of tokens, not {number!r}")
    return number


def check_retry_limit(settings: "Settings", model: str, tokens: int) -> None:
    """Raise ConfigurationError for an output limit of retries that the model refuses."""
    check_generation_config(settings, model, {"maxOutputTokens": tokens}, "retry_max_tokens")


def parse_deadline(deadline: str | float | None, default: float) -> float:
    """Return the seconds of a deadline; raises ConfigurationError if it is invalid."""
    if deadline is None:
        return default
    try:
        seconds = spans.parse_duration(str(deadline))
    except ValueError:
        seconds = 0.0
    if not seconds:
        raise ConfigurationError(
            f"deadline must be a duration such as 90m, 36h or 2d, not {deadline!r}"
        )
    return seconds


def check_cost_limit(requested: float | None, setting: float) -> float:
    """Return the cost limit in USD: the option, else the setting.

    0 means no limit. Only the setting can be 0; as an option it raises
    ConfigurationError.
    """
    usd = setting if requested is None else requested
    try:
        amount = prices.to_picodollars(usd)
    except ValueError:
        amount = 0
    if not amount and (requested is not None or usd):
        raise ConfigurationError(f"max_cost_usd must be an amount of USD above 0, not {usd!r}")
    return float(usd)


def check_reuse_answers(reuse_answers: bool, *, repeat_identical: bool, model: str = "") -> bool:
    """Return the option; raises ConfigurationError if it contradicts the others."""
    if reuse_answers and "/endpoints/" in model:
        raise ConfigurationError(
            "reuse_answers needs a model: another one may be deployed to an endpoint; "
            "pass the resource of the tuned model"
        )
    if reuse_answers and repeat_identical:
        raise ConfigurationError(
            "reuse_answers and repeat_identical exclude each other; set only one of them"
        )
    return reuse_answers
