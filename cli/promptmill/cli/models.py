"""``promptmill models``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from promptmill.cli import cost_tables, output
from promptmill.cli.estimate import INSTALL_PRICES
from promptmill.cli.help_text import add_help
from promptmill.cli.options import RowFormatOption
from promptmill.cli.output import Record, RowFormat

if TYPE_CHECKING:
    from promptmill.producers.models.model_table import Model
    from promptmill.producers.pricing.prices import Prices, Rate

_TOKEN_KINDS = ("input", "input_audio", "cached", "output", "output_image")
_PRICE_DETAILS = ("context", "location", "on", "checked")
_SHOWN_KINDS = ("input", "cached", "output")
_PRICE_FIELDS: tuple[str, ...] = (
    "above",
    *_TOKEN_KINDS,
    "online_input",
    "online_output",
    *_PRICE_DETAILS,
)
_NO_PRICE: Record = dict.fromkeys(_PRICE_FIELDS)
_FACTS_NOTE = (
    "thinking: the level of a request without one; regions: listed by --format csv\n"
    "Google may retire a GA model later than on its date, but not earlier"
)
_PRICES_NOTE = (
    "USD per million tokens in batch jobs; output includes thinking\n"
    "above: the rate of requests with more input tokens than that; from: first day of the price"
)

ShowPrices = Annotated[
    bool, typer.Option("--prices", help="Show prices, in USD per million tokens.")
]


@add_help(
    """
    Batch jobs of a model run in its locations only; set GOOGLE_CLOUD_LOCATION to one
    of them. Requests without a thinking level have the level shown.

    Prices are in USD per million tokens. Some models have a higher rate above a
    number of input tokens; each rate is a row. So is a coming price, with its first
    day. Prices are those of GOOGLE_CLOUD_LOCATION. Thinking is billed as output.
    Formats for programs have all fields.

    \b
    Examples:
      promptmill models
      promptmill models --prices
      promptmill models --format csv
    """
)
def models(
    show_prices: ShowPrices = False, output_format: RowFormatOption = RowFormat.table
) -> None:
    """List the known models with their locations, or with their prices."""
    if output_format is not RowFormat.table:
        output.write_records(_list_records(), output_format)
    elif show_prices:
        _show_prices()
    else:
        output.write_records(map(_fact_row, _list_models()), output_format)
        typer.echo(f"{_FACTS_NOTE}; table checked on {_find_oldest_check()}", err=True)


def _list_models() -> "list[Model]":
    from promptmill.producers.models.model_table import MODELS

    return list(MODELS.values())


def _find_oldest_check() -> str:
    return min(model.checked for model in _list_models())


def _fact_row(model: "Model") -> Record:
    """Return the facts of a model for a table of at most 80 columns."""
    count = len(model.locations)
    return {
        "model": model.name,
        "stage": model.stage.value,
        "locations": f"{count} regions" if count > 3 else " ".join(model.locations),
        "thinking": model.default_thinking_level,
        "retires": model.retires,
    }


def _list_records() -> Iterator[Record]:
    """Yield each rate of each model, with the facts of the model."""
    for model in _list_models():
        facts = _fact_record(model)
        prices = [_price_record(*rates) for rates in _list_rates(model.name)]
        yield from ({**facts, **price} for price in prices or [_NO_PRICE])


def _fact_record(model: "Model") -> Record:
    return {
        "model": model.name,
        "stage": model.stage.value,
        "task": model.task.value,
        "locations": " ".join(model.locations),
        "retires": model.retires,
        "thinking": model.default_thinking_level,
        "thinking_levels": " ".join(model.thinking_levels),
        "refused_fields": " ".join(model.refused_fields),
        "ignored_fields": " ".join(model.ignored_fields),
        "max_input_tokens": model.max_input_tokens,
        "max_output_tokens": model.max_output_tokens,
        "facts_checked": model.checked,
    }


def _list_rates(name: str) -> "Iterator[tuple[Prices, Rate, Rate]]":
    """Yield the current rates of a model, then those of its next price change."""
    from promptmill.config.settings import load_settings
    from promptmill.producers.pricing import prices

    location = load_settings().location
    now, changed = prices.find_prices, prices.find_price_change
    for found in (now(name, location=location), changed(name, location=location)):
        if found:
            rates = zip(found.batch, found.online, strict=True)
            yield from ((found, batch, online) for batch, online in rates)


def _price_record(model_prices: "Prices", batch: "Rate", online: "Rate") -> Record:
    """Return a rate in USD per million tokens."""
    prices: dict[str, object] = {kind: batch.per_token[kind] / 10**6 for kind in _TOKEN_KINDS}
    prices |= {f"online_{kind}": online.per_token[kind] / 10**6 for kind in ("input", "output")}
    details = {name: getattr(model_prices, name) for name in _PRICE_DETAILS}
    return {"above": batch.above, **prices, **details}


def _show_prices() -> None:
    """Print the prices as a table of at most 80 columns, their unit and their age."""
    from promptmill.config.settings import load_settings
    from promptmill.producers.pricing import prices

    all_prices = prices.list_prices()
    if not all_prices:
        typer.echo(INSTALL_PRICES, err=True)
        return
    names = [model_prices.model for model_prices in all_prices]
    rows = [_price_row(name, *rates) for name in names for rates in _list_rates(name)]
    output.write_records(rows, RowFormat.table)
    oldest_check = min(model_prices.checked for model_prices in all_prices)
    location = load_settings().location
    age = cost_tables.describe_price_age(oldest_check, all_prices[0].table, location)
    typer.echo(f"{_PRICES_NOTE}\n{age}", err=True)


def _price_row(name: str, model_prices: "Prices", batch: "Rate", _online: "Rate") -> Record:
    shown_prices = {kind: f"{batch.per_token[kind] / 10**6:g}" for kind in _SHOWN_KINDS}
    return {"model": name, "from": model_prices.on, "above": batch.above, **shown_prices}
