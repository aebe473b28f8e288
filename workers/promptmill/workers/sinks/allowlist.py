"""Where runs may write: whoever can send a message can name any sink, so the workers' own settings say which are allowed."""

from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from promptmill.config import names
from promptmill.config.errors import ConfigurationError
from promptmill.config.settings import Settings, variable_name
from promptmill.config.tables import Table, parse_table
from promptmill.config.urls import is_loopback
from promptmill.producers.contract.messages import SinkSpec


def resolve_folder(settings: Settings, spec: SinkSpec, run: str) -> str:
    """Return the ``gs://`` URL of a bucket's folder that a run may write to; raises ConfigurationError.

    It lies in the mill's own bucket, but not among what the mill keeps there, or below one of ``settings.sink_places``.
    """
    url, run_folder = spec.url.rstrip("/"), f"{spec.url.rstrip('/')}/{run}/"
    if not url.startswith("gs://") or {"", ".", ".."} & set(url.removeprefix("gs://").split("/")):
        raise ConfigurationError(f"sink {spec.url}: must look like gs://bucket/folder/")
    if any(
        run_folder.startswith(f"{settings.bucket}/{reserved}")
        for reserved in names.RESERVED_FOLDERS
    ):
        raise ConfigurationError(
            f"sink {spec.url}: this is where Promptmill itself keeps what it knows"
        )
    own_bucket = "/".join(settings.bucket.split("/")[:3]) + "/"
    if not run_folder.startswith((own_bucket, *settings.sink_allowlist)):
        raise _not_allowed_error(spec)
    return url


def resolve_file(settings: Settings, spec: SinkSpec) -> Path:
    """Return the path of a file that runs may write, without any link in it; raises ConfigurationError.

    It lies below one of ``settings.sink_places``, wherever links and ``..`` lead.
    """
    try:
        path = Path(spec.url).resolve()
        allowed_folders = [
            Path(allowed_path).resolve()
            for allowed_path in settings.sink_allowlist
            if allowed_path.startswith("/")
        ]
    except (OSError, ValueError, RuntimeError):
        raise ConfigurationError(
            f"sink {spec.url[:200]!r}: not a path that can be followed"
        ) from None
    if not any(path.parent.is_relative_to(parent) for parent in allowed_folders):
        raise _not_allowed_error(spec)
    return path


class SinkServer(NamedTuple):
    """A server of others: ``name`` is what people may see of it; ``is_host_configured`` whether the workers' settings name its host."""

    name: str
    url: str
    secret: str = ""
    is_host_configured: bool = True

    def __repr__(self) -> str:
        return f"Server({self.name!r})"


def resolve_server(settings: Settings, spec: SinkSpec, *schemes: str) -> SinkServer:
    """Return the database or web server that a run may write to; raises ConfigurationError.

    Either the workers know it by a name; or it is a URL below one of ``settings.sink_places``, which holds nothing secret
    and no options: passwords are the workers' own (for PostgreSQL, a PGPASSFILE).
    """
    if "://" not in spec.url:
        named_sink = settings.get_named_sink(spec.url)
        if not named_sink.url.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ConfigurationError(
                f"sink {spec.url}: is no {schemes[0]}:// in {variable_name('named_sinks')} of the workers"
            )
        return SinkServer(spec.url, named_sink.url, named_sink.secret)
    try:
        url = urlsplit(spec.url)
        allowed_url = next(
            (
                candidate
                for candidate in map(urlsplit, settings.sink_allowlist)
                if _is_below(url, candidate)
            ),
            None,
        )
    except ValueError:
        raise ConfigurationError("sink: not a URL") from None
    if url.scheme not in schemes or not url.hostname or url.password or url.query or url.fragment:
        raise ConfigurationError(
            f"sink {url.scheme}://{url.hostname}: must be {schemes[0]}://host/… without password, ? and #; give it a name "
            f"in {variable_name('named_sinks')} of the workers if it needs them"
        )
    if allowed_url is None:
        raise _not_allowed_error(spec)
    return SinkServer(
        spec.url, spec.url, is_host_configured=bool(allowed_url.hostname) or url.scheme == "http"
    )


def _is_below(url: SplitResult, parent: SplitResult) -> bool:
    """Whether a URL lies below a place; one that is a scheme alone is everywhere, ``http://`` only this machine."""
    if (
        url.scheme != parent.scheme
        or {".", ".."} & set(url.path.split("/"))
        or "%" in url.path
        or "\\" in url.path
    ):
        return False
    if not parent.hostname:
        return url.scheme != "http" or is_loopback(url.hostname or "")
    return (url.hostname, url.port) == (
        parent.hostname,
        parent.port,
    ) and f"{url.path.rstrip('/')}/".startswith(parent.path)


def check_dataset(settings: Settings, dataset_name: str) -> None:
    """Raise ConfigurationError unless runs may have tables in the BigQuery dataset ``dataset_name``."""
    resolve_table(settings, SinkSpec("bigquery", f"{dataset_name}.all"))


def resolve_table(settings: Settings, spec: SinkSpec) -> Table:
    """Return the BigQuery table that runs may write to; raises ConfigurationError.

    It is one of ``settings.sink_places``, or in a dataset or project that is; ``bq://`` alone stands for all.
    """
    requested = parse_table(spec.url)
    allowed_tables = [
        prefix.partition(":")[2].strip("/")
        for prefix in settings.sink_allowlist
        if prefix.startswith("bq:")
    ]
    if not any(not place or f"{requested}.".startswith(f"{place}.") for place in allowed_tables):
        raise _not_allowed_error(spec)
    return requested


def _not_allowed_error(spec: SinkSpec) -> ConfigurationError:
    return ConfigurationError(
        f"sink {spec.url}: the workers may not write there; {variable_name('sinks')} names the places where they may, "
        "beside the mill's own bucket"
    )
