"""``promptmill submit``."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from promptmill.cli import exit_codes, options, output, progress, schema_option
from promptmill.cli.options import parse_span
from promptmill.cli.refused_rows import RefusedRows

if TYPE_CHECKING:
    from promptmill.producers import Promptmill, Run
    from promptmill.producers.run_options import RunOptions


def submit(
    file: options.File = "",
    prompt: options.Prompts = None,
    model: options.Model = None,
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the run, for reports.")] = "",
    labels: options.Labels = None,
    sink: options.Sinks = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", help="Key that makes the command repeatable: it returns the same run."
        ),
    ] = None,
    max_attempts: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=9,
            help="Attempts per request; only transient failures are retried.",
        ),
    ] = 3,
    retry_max_tokens: Annotated[
        int,
        typer.Option(
            metavar="TOKENS",
            min=0,
            help="maxOutputTokens for a retry of truncated answers; 0: no retry.",
        ),
    ] = 0,
    response_schema: options.ResponseSchema = "",
    retry_schema_invalid: Annotated[
        bool,
        typer.Option(
            "--retry-schema-invalid",
            help="Retry an answer that violates the schema once, with the error in the prompt.",
        ),
    ] = False,
    deadline: Annotated[
        float | None,
        typer.Option(
            metavar="SPAN",
            parser=parse_span,
            help="End the run after 90m, 36h or 2d with the answers so far.",
        ),
    ] = None,
    template: options.Template = None,
    key: options.Key = None,
    metadata: options.Metadata = None,
    media: options.Media = None,
    media_type: options.MediaType = None,
    system: options.System = None,
    config: options.Config = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse the run if any row is invalid.")
    ] = False,
    max_cost_usd: Annotated[
        float | None,
        typer.Option(metavar="USD", help="Cost limit; a run that could exceed it is refused."),
    ] = None,
    link: options.Link = None,
    link_error: options.LinkError = None,
    link_results: options.LinkResults = None,
    repeat_identical: Annotated[
        bool,
        typer.Option("--repeat-identical", help="Send and pay for identical requests repeatedly."),
    ] = False,
    reuse_answers: Annotated[
        bool,
        typer.Option(
            "--reuse-answers", help="Reuse answers of earlier runs to identical requests."
        ),
    ] = False,
    tables: Annotated[
        str,
        typer.Option(
            metavar="PROJECT.DATASET", help="BigQuery dataset for the jobs' input and output."
        ),
    ] = "",
    table_output: Annotated[
        str,
        typer.Option(
            "--output",
            metavar="bq://DATASET[.TABLE]",
            help="Destination of a table job. FILE is then a BigQuery table or query "
            "with complete requests.",
        ),
    ] = "",
    wait: options.Wait = False,
) -> None:
    """Submit prompts as one run and print its id.

    Requests that fail for a transient reason are retried in follow-up jobs, up to
    --max-attempts attempts in all. Nothing is billed until the last row is accepted.

    \b
    Without --template, FILE has one prompt per line. A line of a .txt file is a
    prompt. A line of a .jsonl file has one of these forms:
      "..."
      {"prompt": "..."}
      {"request": {"contents": [...]}}
      {"contents": [...]}
    An object may also have a "key" and "metadata". Both return with the answer.

    With --template every row of a .csv, .tsv, .jsonl or .parquet file becomes a
    prompt. Files may be gs:// URLs. FILE may also be a BigQuery table or query.

    \b
    Examples:
      promptmill submit prompts.jsonl --model gemini-3.8-flash --name reviews
      promptmill submit --prompt "Say hello" --prompt "Say goodbye" --wait
      promptmill submit reviews.csv --template "Classify: {{ text }}" --key id
      promptmill submit photos.parquet --template @prompt.txt --media "{{ uri }}"
      promptmill submit claims.jsonl --response-schema claims:Claim
      generate | promptmill submit - --sink gs://acme/out/ --idempotency-key 1122
      promptmill submit reviews.jsonl --sink postgres:warehouse#sentiment
      promptmill submit "SELECT id, text FROM shop.reviews" --template "{{ text }}"
      promptmill submit bq://acme.shop.requests --output bq://acme.shop.answers
    """
    if table_output and (template or tables or prompt):
        raise typer.BadParameter(
            "--output is for complete requests in a table; use --tables with prompts or rows"
        )
    columns = (None, None) if table_output else (key, metadata)
    rows = options.row_options(template, *columns, media, media_type, system, config)
    source = options.choose_source(file, prompt, rows)

    def bind_submit(mill: "Promptmill") -> "Callable[..., Run]":
        if table_output:
            return partial(
                mill.submit_table, file, output=table_output, key=key or "key", metadata=metadata
            )
        return partial(mill.submit, mill.prompts(source, **rows), tables=tables)

    run = _submit_run(
        bind_submit,
        sink or [],
        {
            "model": model,
            "name": name,
            "labels": options.labels_to_dict(labels),
            "idempotency_key": idempotency_key,
            "strict": strict,
            "max_attempts": max_attempts,
            "retry_max_tokens": retry_max_tokens,
            "response_schema": schema_option.load_schema(response_schema),
            "retry_schema_invalid": retry_schema_invalid,
            "deadline": deadline,
            "max_cost_usd": max_cost_usd,
            "link": link,
            "link_error": link_error,
            "link_results": link_results,
            "repeat_identical": repeat_identical,
            "reuse_answers": reuse_answers,
        },
    )
    typer.echo(run.id)
    if wait:
        progress.wait_for_run(run)


def _submit_run(
    bind_submit: "Callable[[Promptmill], Callable[..., Run]]",
    sink_specs: list[str],
    run_options: "RunOptions",
) -> "Run":
    from promptmill.config import logs
    from promptmill.producers import Promptmill
    from promptmill.producers.contract.sink_kinds import parse_sink

    mill = Promptmill()
    logs.configure_logging(mill.settings)
    output.print_broker_note(mill.settings)
    refusals = RefusedRows()
    with (
        exit_codes.exit_on_interrupt(_describe_interruption(run_options)),
        progress.track_sending(output.stderr_console()) as on_sent,
    ):
        complete: RunOptions = {
            **run_options,
            "sinks": [parse_sink(spec) for spec in sink_specs],
            "on_refused": refusals.record_line,
            "on_sent": on_sent,
        }
        run = bind_submit(mill)(**complete)
    refusals.print_summary()
    return run


def _describe_interruption(run_options: "RunOptions") -> str:
    is_repeatable = run_options.get("idempotency_key")
    advice = "repeat the command to continue" if is_repeatable else "the run was abandoned"
    return f"interrupted before the last row; nothing is billed; {advice}"
