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
from promptmill.workers.sinks.webhook import Answer, Endpoint, Web

_TIMEOUT = urllib3.Timeout(connect=10, read=30)
_MOST_READ = 64 << 10
_LONGEST = 3600.0
"""Seconds for which a server may put us off."""


def open_web() -> Web:
    """Return the way out; nothing is kept between two calls."""
    return Web(post, connect)


def post(endpoint: Endpoint, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Send a body in one try and return the answer; no redirect is followed."""
    with _translated(), _pool(endpoint) as pool:
        answer = pool.urlopen(
            "POST", _path(endpoint), body, {**headers, "host": urlsplit(endpoint.url).netloc.rpartition("@")[2]},
            retries=False, redirect=False, preload_content=False,
        )  # fmt: skip
        answer.read(_MOST_READ)
        answer.close()
        return Answer(int(answer.status), _retry_after(answer.headers.get("retry-after", "0")))


def _retry_after(text: str) -> float:
    """Return the seconds of a header Retry-After, which may be a date; 0 when it is neither."""
    try:
        return min(float(urllib3.Retry().parse_retry_after(text)), _LONGEST)
    except urllib3.exceptions.InvalidHeader:
        return 0.0


def connect(endpoint: Endpoint) -> None:
    """Connect, and over TLS see that the server is who it says."""
    with _translated(), _pool(endpoint) as pool:
        connection: Any = pool._new_conn()  # which makes the pool's own checks of the certificate
        try:
            connection.connect()
        finally:
            connection.close()


def _pool(endpoint: Endpoint) -> Any:
    """A pool of one connection to the very address that was looked at: a name may mean another one a moment later."""
    url = urlsplit(endpoint.url)
    host = url.hostname or ""
    address = _address(host, url.port or (443 if url.scheme == "https" else 80), endpoint.private)
    if url.scheme != "https":
        return urllib3.HTTPConnectionPool(address, url.port or 80, timeout=_TIMEOUT, maxsize=1)
    return urllib3.HTTPSConnectionPool(
        address, url.port or 443, timeout=_TIMEOUT, maxsize=1, server_hostname=host, assert_hostname=host
    )


def _address(host: str, port: int, private: bool) -> str:
    """Return the host's address; raises Permanent when any of those that it has is not to be written to."""
    try:
        found = {str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except socket.gaierror as error:
        raise Transient(f"{host} has no address: {error.strerror}") from None
    for address in found:
        if not _may_be_written_to(ipaddress.ip_address(address.partition("%")[0]), private):
            raise Permanent(f"{host} is at {address}, which is not on the public internet")
    return min(found, key=lambda one: (":" in one, one))  # IPv4 first: many machines have no way out over IPv6


def _may_be_written_to(address: Any, private: bool) -> bool:
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved:
        return False  # among them the metadata servers of clouds, which hand out credentials
    return bool(private or address.is_global)


def _path(endpoint: Endpoint) -> str:
    url = urlsplit(endpoint.url)
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


@contextmanager
def _translated() -> Iterator[None]:
    """The one place where the library's errors become ours; whether a message was taken is unknown then."""
    try:
        yield
    except (urllib3.exceptions.SSLError, ssl.SSLError):
        raise Permanent("its certificate is not one that this machine trusts") from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Transient(f"no answer: {type(error).__name__}") from None
