"""Where runs may write: whoever can send a message can name any sink, so the workers' own settings say which are allowed."""

from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from promptmill.config import names
from promptmill.config.errors import ConfigurationError
from promptmill.config.settings import Settings, variable
from promptmill.config.tables import Table, parse
from promptmill.config.urls import is_loopback
from promptmill.producers.contract.messages import SinkSpec


def folder(settings: Settings, spec: SinkSpec, run: str) -> str:
    """Return the ``gs://`` URL of a bucket's folder that a run may write to; raises ConfigurationError.

    It lies in the mill's own bucket, but not among what the mill keeps there, or below one of ``settings.sink_places``.
    """
    url, place = spec.url.rstrip("/"), f"{spec.url.rstrip('/')}/{run}/"
    if not url.startswith("gs://") or {"", ".", ".."} & set(url.removeprefix("gs://").split("/")):
        raise ConfigurationError(f"sink {spec.url}: must look like gs://bucket/folder/")
    if any(place.startswith(f"{settings.bucket}/{kept}") for kept in names.KEPT):
        raise ConfigurationError(f"sink {spec.url}: this is where Promptmill itself keeps what it knows")
    own = "/".join(settings.bucket.split("/")[:3]) + "/"
    if not place.startswith((own, *settings.sink_places)):
        raise _refusal(spec)
    return url


def file(settings: Settings, spec: SinkSpec) -> Path:
    """Return the path of a file that runs may write, without any link in it; raises ConfigurationError.

    It lies below one of ``settings.sink_places``, wherever links and ``..`` lead.
    """
    try:
        path = Path(spec.url).resolve()
        folders = [Path(place).resolve() for place in settings.sink_places if place.startswith("/")]
    except (OSError, ValueError, RuntimeError):
        raise ConfigurationError(f"sink {spec.url[:200]!r}: not a path that can be followed") from None
    if not any(path.parent.is_relative_to(one) for one in folders):
        raise _refusal(spec)
    return path


class Server(NamedTuple):
    """A server of others: ``name`` is what people may see of it; ``named`` whether the workers' settings name its host."""

    name: str
    url: str
    secret: str = ""
    named: bool = True

    def __repr__(self) -> str:
        return f"Server({self.name!r})"


def server(settings: Settings, spec: SinkSpec, *schemes: str) -> Server:
    """Return the database or web server that a run may write to; raises ConfigurationError.

    Either the workers know it by a name; or it is a URL below one of ``settings.sink_places``, which holds nothing secret
    and no options: passwords are the workers' own (for PostgreSQL, a PGPASSFILE).
    """
    if "://" not in spec.url:
        known = settings.named_sink(spec.url)
        if not known.url.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ConfigurationError(
                f"sink {spec.url}: is no {schemes[0]}:// in {variable('named_sinks')} of the workers"
            )
        return Server(spec.url, known.url, known.secret)
    try:
        url = urlsplit(spec.url)
        place = next((one for one in map(urlsplit, settings.sink_places) if _lies_below(url, one)), None)
    except ValueError:
        raise ConfigurationError("sink: not a URL") from None
    if url.scheme not in schemes or not url.hostname or url.password or url.query or url.fragment:
        raise ConfigurationError(
            f"sink {url.scheme}://{url.hostname}: must be {schemes[0]}://host/… without password, ? and #; give it a name "
            f"in {variable('named_sinks')} of the workers if it needs them"
        )
    if place is None:
        raise _refusal(spec)
    return Server(spec.url, spec.url, named=bool(place.hostname) or url.scheme == "http")


def _lies_below(url: SplitResult, place: SplitResult) -> bool:
    """Whether a URL lies below a place; one that is a scheme alone is everywhere, ``http://`` only this machine."""
    if url.scheme != place.scheme or {".", ".."} & set(url.path.split("/")) or "%" in url.path or "\\" in url.path:
        return False
    if not place.hostname:
        return url.scheme != "http" or is_loopback(url.hostname or "")
    return (url.hostname, url.port) == (place.hostname, place.port) and f"{url.path.rstrip('/')}/".startswith(
        place.path
    )


def dataset(settings: Settings, tables: str) -> None:
    """Raise ConfigurationError unless runs may have tables in the BigQuery dataset ``tables``."""
    table(settings, SinkSpec("bigquery", f"{tables}.all"))


def table(settings: Settings, spec: SinkSpec) -> Table:
    """Return the BigQuery table that runs may write to; raises ConfigurationError.

    It is one of ``settings.sink_places``, or in a dataset or project that is; ``bq://`` alone stands for all.
    """
    wanted = parse(spec.url)
    places = [place.partition(":")[2].strip("/") for place in settings.sink_places if place.startswith("bq:")]
    if not any(not place or f"{wanted}.".startswith(f"{place}.") for place in places):
        raise _refusal(spec)
    return wanted


def _refusal(spec: SinkSpec) -> ConfigurationError:
    return ConfigurationError(
        f"sink {spec.url}: the workers may not write there; {variable('sinks')} names the places where they may, "
        "beside the mill's own bucket"
    )
