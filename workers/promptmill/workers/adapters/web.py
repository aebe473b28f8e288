"""The way out to servers of others: to no address inside, unless the workers' settings name its host."""

import ipaddress
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import urllib3

from promptmill.config.errors import Permanent, Transient
from promptmill.workers.ports.web import Endpoint, WebClient, WebResponse

_TIMEOUT = urllib3.Timeout(connect=10, read=30)
_MAX_RESPONSE_BYTES = 64 << 10
_MAX_RETRY_AFTER = 3600.0
"""Seconds for which a server may put us off."""


def open_web() -> WebClient:
    """Return the way out; nothing is kept between two calls."""
    return WebClient(post_body, check_connection)


def post_body(endpoint: Endpoint, body: bytes, headers: Mapping[str, str]) -> WebResponse:
    """Send a body in one try and return the answer; no redirect is followed."""
    with _translate_errors(), _open_pool(endpoint) as pool:
        response = pool.urlopen(
            "POST", _request_path(endpoint), body, {**headers, "host": urlsplit(endpoint.url).netloc.rpartition("@")[2]},
            retries=False, redirect=False, preload_content=False,
        )  # fmt: skip
        response.read(_MAX_RESPONSE_BYTES)
        response.close()
        return WebResponse(
            int(response.status), _parse_retry_after(response.headers.get("retry-after", "0"))
        )


def _parse_retry_after(text: str) -> float:
    """Return the seconds of a header Retry-After, which may be a date; 0 when it is neither."""
    try:
        return min(float(urllib3.Retry().parse_retry_after(text)), _MAX_RETRY_AFTER)
    except urllib3.exceptions.InvalidHeader:
        return 0.0


def check_connection(endpoint: Endpoint) -> None:
    """Connect, and over TLS see that the server is who it says."""
    with _translate_errors(), _open_pool(endpoint) as pool:
        connection: Any = pool._new_conn()  # which makes the pool's own checks of the certificate
        try:
            connection.connect()
        finally:
            connection.close()


def _open_pool(endpoint: Endpoint) -> Any:
    """A pool of one connection to the very address that was looked at: a name may mean another one a moment later."""
    url = urlsplit(endpoint.url)
    host = url.hostname or ""
    address = _resolve_address(
        host, url.port or (443 if url.scheme == "https" else 80), endpoint.allow_private
    )
    if url.scheme != "https":
        return urllib3.HTTPConnectionPool(address, url.port or 80, timeout=_TIMEOUT, maxsize=1)
    return urllib3.HTTPSConnectionPool(
        address,
        url.port or 443,
        timeout=_TIMEOUT,
        maxsize=1,
        server_hostname=host,
        assert_hostname=host,
    )


def _resolve_address(host: str, port: int, allow_private: bool) -> str:
    """Return the host's address; raises Permanent when any of those that it has is not to be written to."""
    try:
        addresses = {
            str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        }
    except socket.gaierror as error:
        raise Transient(f"{host} has no address: {error.strerror}") from None
    for address in addresses:
        if not _is_allowed_address(ipaddress.ip_address(address.partition("%")[0]), allow_private):
            raise Permanent(f"{host} is at {address}, which is not on the public internet")
    return min(
        addresses, key=lambda one: (":" in one, one)
    )  # IPv4 first: many machines have no way out over IPv6


def _is_allowed_address(address: Any, allow_private: bool) -> bool:
    address = getattr(address, "ipv4_mapped", None) or address
    if (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address.is_reserved
    ):
        return False  # among them the metadata servers of clouds, which hand out credentials
    return bool(allow_private or address.is_global)


def _request_path(endpoint: Endpoint) -> str:
    url = urlsplit(endpoint.url)
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


@contextmanager
def _translate_errors() -> Iterator[None]:
    """The one place where the library's errors become ours; whether a message was taken is unknown then."""
    try:
        yield
    except (urllib3.exceptions.SSLError, ssl.SSLError):
        raise Permanent("its certificate is not one that this machine trusts") from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Transient(f"no answer: {type(error).__name__}") from None
