"""URLs as people may see them."""

from urllib.parse import urlsplit, urlunsplit


def masked(url: str) -> str:
    """Return ``url`` without its password, for people to read."""
    parts = urlsplit(url)
    if not parts.password:
        return url
    host = f"{parts.username or ''}:***@{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    return urlunsplit(parts._replace(netloc=host))
