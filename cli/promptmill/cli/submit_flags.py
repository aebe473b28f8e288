"""Flags of ``promptmill submit``."""

from typing import TYPE_CHECKING, Annotated, cast

import msgspec
import typer

from promptmill.cli import options, schema_option
from promptmill.cli.option_groups import OptionGroup
from promptmill.producers.contract.kept_parts import KEPT_PARTS

if TYPE_CHECKING:
    from promptmill.producers.run_options import RunOptions

Name = Annotated[str, typer.Option(metavar="NAME", help="Name of the run, for reports.")]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(
        metavar="KEY", help="Key that makes the command repeatable: it returns the same run."
    ),
]
MaxAttempts = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=1,
        max=9,
        help="Attempts per request; only transient failures are retried.",
    ),
]
RetryMaxTokens = Annotated[
    int,
    typer.Option(
        metavar="TOKENS",
        min=0,
        help="maxOutputTokens for a retry of truncated answers; 0: no retry.",
    ),
]
RetrySchemaInvalid = Annotated[
    bool,
    typer.Option(
        "--retry-schema-invalid",
        help="Retry an answer that violates the schema once, with the error in the prompt.",
    ),
]
Deadline = Annotated[
    float | None,
    typer.Option(
        metavar="SPAN",
        parser=options.parse_span,
        help="End the run after 90m, 36h or 2d with the answers so far.",
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse the run if any row is invalid.")]
MaxCostUsd = Annotated[
    float | None,
    typer.Option(metavar="USD", help="Cost limit; a run that could exceed it is refused."),
]
RepeatIdentical = Annotated[
    bool,
    typer.Option("--repeat-identical", help="Send and pay for identical requests repeatedly."),
]
ReuseAnswers = Annotated[
    bool,
    typer.Option("--reuse-answers", help="Reuse answers of earlier runs to identical requests."),
]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PART",
        help=f"Part of Google's answer to return: {', '.join(KEPT_PARTS)}; repeatable.",
    ),
]
Tables = Annotated[
    str,
    typer.Option(
        metavar="PROJECT.DATASET", help="BigQuery dataset for the jobs' input and output."
    ),
]
TableOutput = Annotated[
    str,
    typer.Option(
        "--output",
        metavar="bq://DATASET[.TABLE]",
        help="Destination of a table job. FILE is then a BigQuery table or query "
        "with complete requests.",
    ),
]


EmbeddingConfig = Annotated[
    str | None,
    typer.Option(
        metavar="JSON",
        help="Google's embedContentConfig for all rows of an embedding model, or @FILE.",
        show_default=False,
    ),
]


class RunFlags(OptionGroup, frozen=True, kw_only=True):
    """The model of a run, its name, results and attempts."""

    model: options.Model = None
    name: Name = ""
    labels: options.Labels = None
    sink: options.Sinks = None
    idempotency_key: IdempotencyKey = None
    max_attempts: MaxAttempts = 3
    retry_max_tokens: RetryMaxTokens = 0
    response_schema: options.ResponseSchema = ""
    retry_schema_invalid: RetrySchemaInvalid = False
    embedding_config: EmbeddingConfig = None
    deadline: Deadline = None
    keep: Keep = None


class LimitFlags(OptionGroup, frozen=True, kw_only=True):
    """Reasons to refuse a run."""

    strict: Strict = False
    max_cost_usd: MaxCostUsd = None


class ReuseFlags(OptionGroup, frozen=True, kw_only=True):
    """The treatment of identical requests."""

    repeat_identical: RepeatIdentical = False
    reuse_answers: ReuseAnswers = False


class TableFlags(OptionGroup, frozen=True, kw_only=True):
    """Jobs that read and write BigQuery tables."""

    tables: Tables = ""
    table_output: TableOutput = ""


def build_run_options(run_flags: RunFlags, *others: OptionGroup) -> "RunOptions":
    """Return the options for ``Promptmill.submit``, except for the sinks."""
    flags = msgspec.structs.asdict(run_flags)
    for group in others:
        flags |= msgspec.structs.asdict(group)
    del flags["sink"]
    labels = options.labels_to_dict(run_flags.labels)
    schema = schema_option.load_schema(run_flags.response_schema)
    config = run_flags.embedding_config
    parsed: dict[str, object] = {
        "labels": labels,
        "response_schema": schema,
        "keep": run_flags.keep or (),
        "embedding_config": config and options.read_config(config, "--embedding-config"),
    }
    return cast("RunOptions", flags | parsed)
