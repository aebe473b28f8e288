"""Posts to web servers. Refuses private addresses unless the settings name the host."""

import ipaddress
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

import urllib3

from promptmill.config.errors import Permanent, Transient
from promptmill.workers.ports.web import Endpoint, WebClient, WebResponse

_TIMEOUT = urllib3.Timeout(connect=10, read=30)
_MAX_RESPONSE_BYTES = 64 << 10
_MAX_RETRY_AFTER = 3600.0
"""Maximum seconds that a server may request by Retry-After."""


def open_web() -> WebClient:
    """Return the client. It keeps nothing between calls."""
    return WebClient(post_body, check_connection)


def post_body(endpoint: Endpoint, body: bytes, headers: Mapping[str, str]) -> WebResponse:
    """Post a body in one attempt. Redirects are not followed."""
    path = _request_path(endpoint)
    all_headers = {**headers, "host": urlsplit(endpoint.url).netloc.rpartition("@")[2]}
    with _translate_errors(), _open_pool(endpoint) as pool:
        response = pool.urlopen(
            "POST", path, body, all_headers, retries=False, redirect=False, preload_content=False
        )
        response.read(_MAX_RESPONSE_BYTES)
        response.close()
        retry_after = _parse_retry_after(response.headers.get("retry-after", "0"))
        return WebResponse(int(response.status), retry_after)


# The header has seconds or a date.
def _parse_retry_after(text: str) -> float:
    try:
        return min(float(urllib3.Retry().parse_retry_after(text)), _MAX_RETRY_AFTER)
    except urllib3.exceptions.InvalidHeader:
        return 0.0


def check_connection(endpoint: Endpoint) -> None:
    """Connect. Over TLS, verify the server's certificate."""
    with _translate_errors(), _open_pool(endpoint) as pool:
        connection = pool._new_conn()  # verifies the certificate as the pool does
        try:
            connection.connect()
        finally:
            connection.close()


def _open_pool(endpoint: Endpoint) -> urllib3.HTTPConnectionPool:
    """Return a pool of one connection to the checked address.

    Resolving the name again could return another address.
    """
    url = urlsplit(endpoint.url)
    host = url.hostname or ""
    port = url.port or (443 if url.scheme == "https" else 80)
    address = _resolve_address(host, port, endpoint.allow_private)
    if url.scheme != "https":
        return urllib3.HTTPConnectionPool(address, port, timeout=_TIMEOUT, maxsize=1)
    return urllib3.HTTPSConnectionPool(
        address, port, timeout=_TIMEOUT, maxsize=1, server_hostname=host, assert_hostname=host
    )


def _resolve_address(host: str, port: int, allow_private: bool) -> str:
    """Return the host's address. Raises Permanent if one of its addresses is not allowed."""
    try:
        addresses = {
            str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        }
    except socket.gaierror as error:
        raise Transient(f"{host} has no address: {error.strerror}") from None
    for address in addresses:
        if not _is_allowed_address(ipaddress.ip_address(address.partition("%")[0]), allow_private):
            raise Permanent(f"{host} is at {address}, which is not on the public internet")
    # IPv4 first: many machines have no route over IPv6.
    return min(addresses, key=lambda address: (":" in address, address))


def _is_allowed_address(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, allow_private: bool
) -> bool:
    address = getattr(address, "ipv4_mapped", None) or address
    if (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address.is_reserved
    ):
        return False  # among them clouds' metadata servers, which serve credentials
    return bool(allow_private or address.is_global)


def _request_path(endpoint: Endpoint) -> str:
    url = urlsplit(endpoint.url)
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Translate the library's errors. Whether the message was accepted is then unknown."""
    try:
        yield
    except (urllib3.exceptions.SSLError, ssl.SSLError):
        raise Permanent("its certificate is not trusted by this machine") from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Transient(f"no response: {type(error).__name__}") from None
