"""``promptmill submit``."""

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptmill.cli import exit_codes, options, output, progress, schema_option, status_text
from promptmill.cli.options import parse_span

if TYPE_CHECKING:
    from promptmill.producers import Promptmill, Run
    from promptmill.producers.requests.encode import RequestLine

MAX_SHOWN_REFUSALS = 10


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(submit)


def submit(
    file: options.File = "",
    prompt: Annotated[list[str] | None, typer.Option(help="A prompt; may be repeated.")] = None,
    model: options.Model = None,
    name: Annotated[str, typer.Option(help="A name for people.")] = "",
    labels: options.Labels = None,
    sink: options.Sinks = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(help="Sending the same again with the same key makes no second run."),
    ] = None,
    max_attempts: Annotated[
        int,
        typer.Option(
            min=1, max=9, help="How often a request is tried that fails for a reason that may pass."
        ),
    ] = 3,
    retry_max_tokens: Annotated[
        int,
        typer.Option(
            metavar="TOKENS", min=0, help="Try cut off answers again, with this as maxOutputTokens."
        ),
    ] = 0,
    response_schema: options.ResponseSchema = "",
    retry_schema_invalid: Annotated[
        bool,
        typer.Option(
            "--retry-schema-invalid",
            help="Ask once more for answers that do not fit, saying what was wrong.",
        ),
    ] = False,
    deadline: Annotated[
        float | None,
        typer.Option(
            metavar="SPAN",
            parser=parse_span,
            help="Such as 90m, 36h or 2d: end then, with what there is.",
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
        bool, typer.Option("--strict", help="Refuse the run for one row that cannot be sent.")
    ] = False,
    max_cost_usd: Annotated[
        float | None,
        typer.Option(metavar="USD", help="What it may cost; refused when it could cost more."),
    ] = None,
    link: options.Link = None,
    link_error: options.LinkError = None,
    link_results: options.LinkResults = None,
    repeat_identical: Annotated[
        bool,
        typer.Option(
            "--repeat-identical", help="Send, and pay for, each of several identical requests."
        ),
    ] = False,
    reuse_answers: Annotated[
        bool,
        typer.Option(
            "--reuse-answers",
            help="Take the answers that earlier runs of this model have; send the rest.",
        ),
    ] = False,
    tables: Annotated[
        str,
        typer.Option(
            metavar="PROJECT.DATASET", help="Let the jobs read and write tables of BigQuery there."
        ),
    ] = "",
    table_output: Annotated[
        str,
        typer.Option(
            "--output",
            metavar="bq://DATASET[.TABLE]",
            help="FILE is a table or query of BigQuery that has requests ready: jobs on tables here answer them.",
        ),
    ] = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the end; the exit code says how it went.")
    ] = False,
) -> None:
    """Send prompts as one run, and print its id.

    A line of a .jsonl file is {"key": …, "metadata": {…}, "request": {"contents": […]}},
    or {"prompt": "…"}, or Google's {"contents": […]} alone; a .txt file has one prompt a line.
    With --template, each row of a .csv, .tsv, .jsonl or .parquet file becomes a prompt. Files may be gs://… too.

    \b
    promptmill submit prompts.jsonl --model gemini-3.8-flash --name reviews
    promptmill submit reviews.csv --template "Classify: {{ text }}" --key review_id --metadata shop
    promptmill submit photos.parquet --template @prompt.txt --media "{{ uri }}" --config '{"temperature": 0}'
    promptmill submit --prompt "Say hello" --prompt "Say goodbye" --wait
    promptmill submit claims.jsonl --response-schema claims:Claim --retry-schema-invalid
    generate | promptmill submit - --sink gs://acme/out/ --idempotency-key 2026-11-22
    promptmill submit reviews.jsonl --sink postgres:warehouse#sentiment --link shop.notify@shop
    promptmill submit "SELECT id, text FROM shop.reviews" --template "Classify: {{ text }}" --key id
    promptmill submit bq://acme.shop.requests --output bq://acme.shop.answers --key id
    """
    if table_output and (template or tables or prompt):
        raise typer.BadParameter(
            "--output is for requests that are ready in a table; elsewhere it is --tables"
        )
    columns = (None, None) if table_output else (key, metadata)
    rows = options.row_options(template, *columns, media, media_type, system, config)
    source = choose_source(file, prompt, rows)

    def bind_submit(mill: "Promptmill") -> "Callable[..., Run]":
        if table_output:
            return partial(
                mill.submit_table, file, output=table_output, key=key or "key", metadata=metadata
            )
        return partial(mill.submit, mill.prompts(source, **rows), tables=tables)

    run = _submit_run(
        bind_submit,
        labels or [],
        sink or [],
        idempotency_key,
        model=model,
        name=name,
        strict=strict,
        max_attempts=max_attempts,
        retry_max_tokens=retry_max_tokens,
        response_schema=schema_option.load_schema(response_schema),
        retry_schema_invalid=retry_schema_invalid,
        deadline=deadline,
        max_cost_usd=max_cost_usd,
        link=link,
        link_error=link_error,
        link_results=link_results,
        repeat_identical=repeat_identical,
        reuse_answers=reuse_answers,
    )
    typer.echo(run.id)
    if wait:
        wait_for_run(run, None)


def wait_for_run(run: "Run", timeout: float | None) -> None:
    """Wait with a progress bar, say how it ended, and exit with the code for that when it did not go all well."""
    with (
        exit_codes.exit_on_interrupt(f"the run goes on; follow it with: promptmill wait {run.id}"),
        progress.track_run(output.stderr_console()) as on_status,
    ):
        status = run.wait(timeout, on_status)
    typer.echo(status_text.describe_status(status, time.time()), err=True)
    if code := exit_codes.code_for_status(status):
        raise typer.Exit(code)


def choose_source(file: str, prompts: list[str] | None, rows: dict[str, Any]) -> str | list[str]:
    """Return the FILE, or the prompts that are given as options, which are no ``rows``."""
    if bool(file) == bool(prompts):
        raise typer.BadParameter("give a FILE (or -), or --prompt TEXT")
    if rows and not file:
        raise typer.BadParameter("--template makes prompts of the rows of a FILE (or -)")
    return file or prompts or []


def _submit_run(
    bind_submit: "Callable[[Promptmill], Callable[..., Run]]",
    labels: list[str],
    sink_specs: list[str],
    key: str | None,
    **submit_options: Any,
) -> "Run":
    from promptmill.config import logs
    from promptmill.producers import Promptmill
    from promptmill.producers.contract.sink_kinds import parse_sink

    mill = Promptmill()
    logs.configure_logging(mill.settings)
    refusals = RefusedRows()
    advice = "send the same again to go on" if key else "the run was given up"
    with (
        exit_codes.exit_on_interrupt(f"stopped before all was sent; nothing is paid for; {advice}"),
        progress.track_sending(output.stderr_console()) as on_sent,
    ):
        run = bind_submit(mill)(
            labels=options.labels_to_dict(labels),
            sinks=[parse_sink(spec) for spec in sink_specs],
            idempotency_key=key,
            on_refused=refusals.record_line,
            on_sent=on_sent,
            **submit_options,
        )
    refusals.print_summary()
    return run


class RefusedRows:
    """Rows that cannot be sent: the first few in full, the number of the others."""

    def __init__(self) -> None:
        self.count = 0
        self._messages: list[str] = []

    def record_line(self, line: "RequestLine") -> None:
        """Take notice of a refused row."""
        self.count += 1
        if len(self._messages) < MAX_SHOWN_REFUSALS:
            key = f" (key {line.key!r})" if line.key != str(line.row) else ""
            self._messages.append(f"refused: row {line.row}{key}: {line.refusal}")

    def print_summary(self) -> None:
        """Say on stderr what was refused."""
        for message in self._messages:
            typer.echo(message, err=True)
        if self.count > len(self._messages):
            typer.echo(f"refused: {self.count - len(self._messages):,} more rows", err=True)
        if self.count:
            typer.echo(
                f"{status_text.format_count(self.count, 'row')} will not be sent; the rest of the run goes on",
                err=True,
            )
