"""A web server that receives webhooks."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from support.http_server import HttpAnswer, HttpCall, serve_http

LINK_LOCAL = "http://169.254.169.254/"
"""Where every answer redirects to; a client must not follow it."""


@dataclass
class Receiver:
    """Keeps the headers and bodies that it receives, and answers with ``status``."""

    port: int = 0
    url: str = ""
    status: int = 204
    retry_after: str = ""
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def answer_call(self, call: HttpCall) -> HttpAnswer:
        """Keep a call, and answer it."""
        self.got.append((call.headers, call.body))
        retry_after = (("retry-after", self.retry_after),) if self.retry_after else ()
        return HttpAnswer(status=self.status, headers=(("location", LINK_LOCAL), *retry_after))


@contextmanager
def receiving(context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Run a receiver until the block ends; with ``context`` it speaks TLS."""
    receiver = Receiver()
    with serve_http(receiver.answer_call, context) as server:
        receiver.port, receiver.url = server.server_port, f"{server.url}/answers"
        yield receiver
