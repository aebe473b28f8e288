"""URLs: masked passwords, and access checks."""

import ipaddress
from urllib.parse import urlsplit, urlunsplit


def mask_password(url: str) -> str:
    """Return ``url`` with its password masked."""
    parts = urlsplit(url)
    if not parts.password:
        return url
    host = f"{parts.username or ''}:***@{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    return urlunsplit(parts._replace(netloc=host))


def is_insecure_redis(url: str) -> bool:
    """Whether ``url`` is a Redis on another machine without password and TLS."""
    parts = urlsplit(url)
    is_remote = parts.hostname and not is_loopback(parts.hostname)
    return parts.scheme in {"redis", "sentinel"} and bool(is_remote) and not parts.password


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``: an address, or ``localhost``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
