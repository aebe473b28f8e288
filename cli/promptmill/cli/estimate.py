"""``promptmill estimate`` and ``models``."""

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from promptmill.cli import cost_tables, exit_codes, options, output, schema_option
from promptmill.cli.options import ObjectFormatOption, RowFormatOption
from promptmill.cli.output import ObjectFormat, Record, RowFormat
from promptmill.cli.submit import RefusedRows, choose_source

if TYPE_CHECKING:
    from promptmill.producers.pricing.prices import Prices, Rate

_TOKEN_KINDS = ("input", "input_audio", "cached", "output", "output_image")


def add_to(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command()(estimate)
    app.command()(models)


def estimate(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A file as for submit, or - for stdin.")
    ] = "",
    prompt: Annotated[list[str] | None, typer.Option(help="A prompt; may be repeated.")] = None,
    model: options.Model = None,
    response_schema: Annotated[
        str,
        typer.Option(
            metavar="FILE.json|MODULE:MODEL",
            help="What answers must fit, which every request then holds.",
        ),
    ] = "",
    template: options.Template = None,
    key: options.Key = None,
    metadata: options.Metadata = None,
    media: options.Media = None,
    media_type: options.MediaType = None,
    system: options.System = None,
    config: options.Config = None,
    max_cost_usd: Annotated[
        float | None,
        typer.Option(
            metavar="USD", help="Exit with 7 when the run could cost more, or its price is unknown."
        ),
    ] = None,
    output_format: ObjectFormatOption = ObjectFormat.table,
) -> None:
    """Say what a run would use and cost; nothing is sent or spent.

    Tokens are estimated from the text, and bounded by what each request allows.

    \b
    promptmill estimate reviews.jsonl --model gemini-3.8-flash
    promptmill estimate reviews.csv --template "Classify: {{ text }}" --key review_id
    promptmill estimate reviews.jsonl --format json | jq .usd_most
    promptmill estimate reviews.jsonl --max-cost-usd 50 && promptmill submit reviews.jsonl
    """
    from promptmill.producers import Promptmill
    from promptmill.producers.pricing import prices

    refusals = RefusedRows()
    mill = Promptmill()
    schema = schema_option.load_schema(response_schema)
    rows = options.row_options(template, key, metadata, media, media_type, system, config)
    source = choose_source(file, prompt, rows)
    cost_estimate = mill.estimate(
        source, model=model, response_schema=schema, on_refused=refusals.record_line, **rows
    )
    refusals.print_summary()
    model_prices = prices.find_prices(model or mill.settings.model)
    if output_format is ObjectFormat.json:
        price_source = (
            {"table": model_prices.table, "checked": model_prices.checked, "on": model_prices.on}
            if model_prices
            else {}
        )
        output.write_json(msgspec.structs.asdict(cost_estimate) | {"prices": price_source})
    else:
        output.stdout_console().print(output.build_table(cost_tables.estimate_rows(cost_estimate)))
        if cost_estimate.open:
            typer.echo(
                f"{cost_estimate.open:,} requests hold media of unknown length, or read more: only the range has that",
                err=True,
            )
        typer.echo(cost_estimate.method, err=True)
        typer.echo(_describe_prices(model_prices), err=True)
    if max_cost_usd is not None and (
        cost_estimate.usd_most is None or cost_estimate.usd_most > max_cost_usd
    ):
        typer.echo(
            f"it could cost up to {cost_tables.format_usd(cost_estimate.usd_most)}, more than {cost_tables.format_usd(max_cost_usd)}",
            err=True,
        )
        raise typer.Exit(exit_codes.OVER_BUDGET)


def _describe_prices(model_prices: "Prices | None") -> str:
    from promptmill.producers.pricing import prices

    if model_prices:
        return cost_tables.describe_price_age(model_prices.checked, model_prices.table)
    if prices.table_version():
        return "the price of this model is not known; those that are: promptmill models"
    return "prices are not known here: pip install 'promptmill[prices]'"


def models(output_format: RowFormatOption = RowFormat.table) -> None:
    """List the models whose batch prices are known.

    In USD per million tokens. Requests of some models cost more above so many input tokens: a row for each rate.
    Thinking costs what output does.

    \b
    promptmill models
    promptmill models --format csv
    """
    from promptmill.producers.pricing import prices

    all_prices = prices.list_prices()
    if not all_prices:
        typer.echo("prices are not known here: pip install 'promptmill[prices]'", err=True)
    output.write_records(
        [row for model_prices in all_prices for row in _price_rows(model_prices, output_format)],
        output_format,
    )
    if all_prices and output_format is RowFormat.table:
        typer.echo(
            cost_tables.describe_price_age(
                min(found.checked for found in all_prices), all_prices[0].table
            ),
            err=True,
        )


def _price_rows(model_prices: "Prices", output_format: RowFormat) -> list[Record]:
    return [
        _price_row(model_prices, *rates, output_format)
        for rates in zip(model_prices.batch, model_prices.online, strict=True)
    ]


def _price_row(
    model_prices: "Prices", batch: "Rate", online: "Rate", output_format: RowFormat
) -> Record:
    """A rate in USD per million tokens; a table has them as text, which is not rounded."""
    prices: dict[str, float] = {kind: batch.per_token[kind] / 10**6 for kind in _TOKEN_KINDS}
    prices |= {f"online_{kind}": online.per_token[kind] / 10**6 for kind in ("input", "output")}
    shown_prices = (
        {kind: f"{usd:g}" for kind, usd in prices.items()}
        if output_format is RowFormat.table
        else prices
    )
    price_details = {
        "context": model_prices.context or "",
        "on": model_prices.on,
        "checked": model_prices.checked,
    }
    return {"model": model_prices.model, "above": batch.above, **shown_prices, **price_details}
