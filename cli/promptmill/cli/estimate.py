"""``promptmill estimate``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from promptmill.cli import cost_tables, exit_codes, options, output, schema_option, status_text
from promptmill.cli.help_text import add_help
from promptmill.cli.option_groups import RowFlags, expand_groups
from promptmill.cli.options import ObjectFormatOption
from promptmill.cli.output import ObjectFormat
from promptmill.cli.refused_rows import RefusedRows

if TYPE_CHECKING:
    from promptmill.config.settings import Settings
    from promptmill.producers import Estimate
    from promptmill.producers.pricing.prices import Prices

INSTALL_PRICES = "prices are not installed; run: pip install 'promptmill[prices]'"

MaxCostUsd = Annotated[
    float | None,
    typer.Option(
        metavar="USD", help="Exit with 7 if the run could cost more or its price is unknown."
    ),
]


@expand_groups
@add_help(
    """
    Sends nothing. The range covers everything that the requests allow. Prices are those
    of GOOGLE_CLOUD_LOCATION. A coming price and the model's retirement are shown.

    \b
    Examples:
      promptmill estimate reviews.jsonl --model gemini-3.8-flash
      promptmill estimate reviews.csv --template "Classify: {{ text }}" --key id
      promptmill estimate reviews.jsonl --format json | jq .usd_most
      promptmill estimate rows.jsonl --max-cost-usd 50 && promptmill submit rows.jsonl
    """
)
def estimate(
    file: options.File = "",
    prompt: options.Prompts = None,
    model: options.Model = None,
    response_schema: options.ResponseSchema = "",
    *,
    row_flags: RowFlags,
    max_cost_usd: MaxCostUsd = None,
    output_format: ObjectFormatOption = ObjectFormat.table,
) -> None:
    """Estimate the tokens and the cost of a run."""
    from promptmill.producers import Promptmill
    from promptmill.producers.pricing import prices

    refusals = RefusedRows()
    mill = Promptmill()
    schema = schema_option.load_schema(response_schema)
    rows = row_flags.row_options()
    source = options.choose_source(file, prompt, has_rows=bool(rows))
    cost_estimate = mill.estimate(
        source, model=model, response_schema=schema, on_refused=refusals.record_line, **rows
    )
    refusals.print_summary()
    name, location = model or mill.settings.model, mill.settings.location
    model_prices = prices.find_prices(name, location=location)
    change = prices.find_price_change(name, location=location)
    if output_format is ObjectFormat.json:
        _print_json(cost_estimate, model_prices, change, _find_retirement(name))
    else:
        _print_table(cost_estimate, model_prices)
        for note in _list_notes(mill.settings, name, change):
            typer.echo(note, err=True)
    _check_limit(cost_estimate, max_cost_usd)


def _print_json(
    cost_estimate: "Estimate",
    model_prices: "Prices | None",
    change: "Prices | None",
    retires: str,
) -> None:
    details = {
        "prices": _describe_source(model_prices) if model_prices else {},
        "price_change": {"on": change.on, **_list_rates(change)} if change else None,
        "retires": retires or None,
    }
    output.write_json(msgspec.structs.asdict(cost_estimate) | details)


def _list_rates(model_prices: "Prices") -> dict[str, float]:
    """Return the lowest rates for text in USD per million tokens."""
    per_token = model_prices.batch[0].per_token
    return {kind: per_token[kind] / 10**6 for kind in ("input", "output")}


def _list_notes(settings: "Settings", name: str, change: "Prices | None") -> Iterator[str]:
    """Yield what else decides about the price: location, a coming price, retirement."""
    if "location" not in settings.model_fields_set:
        yield (
            f"prices of jobs in {settings.location}, because GOOGLE_CLOUD_LOCATION is not set; "
            "set it if the workers use another location"
        )
    else:
        yield f"prices of jobs in {settings.location}"
    if change:
        rates = " and ".join(f"${usd:g} {kind}" for kind, usd in _list_rates(change).items())
        yield f"from {change.on} on: {rates} per million tokens"
    if retires := _find_retirement(name):
        yield f"Google retires the model on {retires} or later"


def _find_retirement(name: str) -> str:
    from promptmill.producers.models.model_table import find_model

    row = find_model(name)
    return row.retires if row else ""


def _describe_source(model_prices: "Prices") -> dict[str, str]:
    return {"table": model_prices.table, "checked": model_prices.checked, "on": model_prices.on}


def _print_table(cost_estimate: "Estimate", model_prices: "Prices | None") -> None:
    output.stdout_console().print(output.build_table(cost_tables.estimate_rows(cost_estimate)))
    if cost_estimate.open:
        requests = status_text.format_count(cost_estimate.open, "request")
        note = "with media of unknown length or tools that read more; only the range covers them"
        typer.echo(f"{requests} {note}", err=True)
    typer.echo(cost_estimate.method, err=True)
    typer.echo(_describe_prices(model_prices), err=True)


def _check_limit(cost_estimate: "Estimate", max_cost_usd: float | None) -> None:
    """Exit with OVER_BUDGET if the run could exceed the limit."""
    most = cost_estimate.usd_most
    if max_cost_usd is None or (most is not None and most <= max_cost_usd):
        return
    limit = cost_tables.format_usd(max_cost_usd)
    typer.echo(f"the run could cost up to {cost_tables.format_usd(most)}, over {limit}", err=True)
    raise typer.Exit(exit_codes.OVER_BUDGET)


def _describe_prices(model_prices: "Prices | None") -> str:
    from promptmill.producers.pricing import prices

    if model_prices:
        return cost_tables.describe_price_age(model_prices.checked, model_prices.table)
    if prices.table_version():
        return (
            "the price of this model is unknown; list known prices with: promptmill models --prices"
        )
    return INSTALL_PRICES
