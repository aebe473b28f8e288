"""``promptmill models``."""

from typing import TYPE_CHECKING

import typer

from promptmill.cli import cost_tables, output
from promptmill.cli.estimate import INSTALL_PRICES
from promptmill.cli.help_text import add_help
from promptmill.cli.options import RowFormatOption
from promptmill.cli.output import Record, RowFormat

if TYPE_CHECKING:
    from promptmill.producers.pricing.prices import Prices, Rate

_TOKEN_KINDS = ("input", "input_audio", "cached", "output", "output_image")


@add_help(
    """
    Prices are in USD per million tokens. Some models have a higher rate above a
    number of input tokens; each rate is a row. Thinking is billed as output.

    \b
    Examples:
      promptmill models
      promptmill models --format csv
    """
)
def models(output_format: RowFormatOption = RowFormat.table) -> None:
    """List the models with known batch prices."""
    from promptmill.producers.pricing import prices

    all_prices = prices.list_prices()
    if not all_prices:
        typer.echo(INSTALL_PRICES, err=True)
    output.write_records(
        [row for model_prices in all_prices for row in _price_rows(model_prices, output_format)],
        output_format,
    )
    if all_prices and output_format is RowFormat.table:
        oldest_check = min(model_prices.checked for model_prices in all_prices)
        typer.echo(cost_tables.describe_price_age(oldest_check, all_prices[0].table), err=True)


def _price_rows(model_prices: "Prices", output_format: RowFormat) -> list[Record]:
    return [
        _price_row(model_prices, *rates, output_format)
        for rates in zip(model_prices.batch, model_prices.online, strict=True)
    ]


def _price_row(
    model_prices: "Prices", batch: "Rate", online: "Rate", output_format: RowFormat
) -> Record:
    """Return a rate in USD per million tokens, as unrounded text in a table."""
    prices: dict[str, float] = {kind: batch.per_token[kind] / 10**6 for kind in _TOKEN_KINDS}
    prices |= {f"online_{kind}": online.per_token[kind] / 10**6 for kind in ("input", "output")}
    is_table = output_format is RowFormat.table
    shown_prices = {kind: f"{usd:g}" if is_table else usd for kind, usd in prices.items()}
    price_details = {
        "context": model_prices.context or "",
        "on": model_prices.on,
        "checked": model_prices.checked,
    }
    return {"model": model_prices.model, "above": batch.above, **shown_prices, **price_details}
