"""``promptmill submit``."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import typer

from promptmill.cli import exit_codes, options, output, progress
from promptmill.cli.help_text import add_help
from promptmill.cli.option_groups import CallbackFlags, RowFlags, expand_groups
from promptmill.cli.refused_rows import RefusedRows
from promptmill.cli.submit_flags import (
    LimitFlags,
    ReuseFlags,
    RunFlags,
    TableFlags,
    build_run_options,
)

if TYPE_CHECKING:
    from promptmill.producers import Promptmill, Run
    from promptmill.producers.run_options import RunOptions


BindSubmit = Callable[["Promptmill"], Callable[..., "Run"]]
"""Returns the method of a client that submits the prompts of the command."""


@expand_groups
@add_help(
    """
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
)
def submit(
    file: options.File = "",
    prompt: options.Prompts = None,
    *,
    run_flags: RunFlags,
    row_flags: RowFlags,
    limit_flags: LimitFlags,
    callback_flags: CallbackFlags,
    reuse_flags: ReuseFlags,
    table_flags: TableFlags,
    wait: options.Wait = False,
) -> None:
    """Submit prompts as one run and print its id."""
    choose_method = _choose_table_method if table_flags.table_output else _choose_method
    bind_submit = choose_method(file, prompt, row_flags, table_flags)
    run_options = build_run_options(run_flags, limit_flags, callback_flags, reuse_flags)
    run = _submit_run(bind_submit, run_flags.sink or [], run_options)
    typer.echo(run.id)
    if wait:
        progress.wait_for_run(run)


def _choose_method(
    file: str, prompts: list[str] | None, row_flags: RowFlags, table_flags: TableFlags
) -> BindSubmit:
    rows = row_flags.row_options()
    source = options.choose_source(file, prompts, has_rows=bool(rows))
    return lambda mill: partial(
        mill.submit, mill.prompts(source, **rows), tables=table_flags.tables
    )


def _choose_table_method(
    file: str, prompts: list[str] | None, row_flags: RowFlags, table_flags: TableFlags
) -> BindSubmit:
    if row_flags.template or table_flags.tables or prompts:
        raise typer.BadParameter(
            "--output is for complete requests in a table; use --tables with prompts or rows"
        )
    row_flags.require_template("key", "metadata")
    options.choose_source(file, prompts, has_rows=False)
    output_table, key = table_flags.table_output, row_flags.key or "key"
    columns = row_flags.metadata
    return lambda mill: partial(
        mill.submit_table, file, output=output_table, key=key, metadata=columns
    )


def _submit_run(bind_submit: BindSubmit, sink_specs: list[str], run_options: "RunOptions") -> "Run":
    from promptmill.producers.contract.sink_kinds import parse_sink

    mill = _open_client()
    refusals = RefusedRows()
    with (
        exit_codes.exit_on_interrupt(_describe_interruption(run_options)),
        progress.track_sending(output.stderr_console()) as on_sent,
    ):
        sinks = [parse_sink(spec) for spec in sink_specs]
        callbacks: RunOptions = {"on_refused": refusals.record_line, "on_sent": on_sent}
        run = bind_submit(mill)(**run_options | callbacks | {"sinks": sinks})
    refusals.print_summary()
    return run


def _open_client() -> "Promptmill":
    from promptmill.config import logs
    from promptmill.producers import Promptmill

    mill = Promptmill()
    logs.configure_logging(mill.settings)
    output.print_broker_note(mill.settings)
    return mill


def _describe_interruption(run_options: "RunOptions") -> str:
    is_repeatable = run_options.get("idempotency_key")
    advice = "repeat the command to continue" if is_repeatable else "the run was abandoned"
    return f"interrupted before the last row; nothing is billed; {advice}"
