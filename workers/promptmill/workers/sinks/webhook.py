"""Results as webhook messages, signed as Standard Webhooks defines.

The specification is at https://www.standardwebhooks.com.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus

import msgspec
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from promptmill.config.errors import ConfigurationError, Permanent, Transient
from promptmill.config.settings import variable_name
from promptmill.producers.contract.messages import SinkSpec
from promptmill.workers.ports.web import Endpoint, WebClient
from promptmill.workers.sinks import allowlist
from promptmill.workers.sinks.context import SinkContext
from promptmill.workers.sinks.sink import Sink

MAX_MESSAGE_BYTES = 1 << 20
"""Maximum size of the results of one message. A single result may be larger."""
_TRANSIENT_STATUSES = {408, 409, 425, 429}


def open_sink(spec: SinkSpec, context: SinkContext) -> Sink:
    """Open a sink for a named server or an allowed URL. Raises ConfigurationError."""
    server = allowlist.resolve_server(context.settings, spec, "https", "http")
    secret = server.secret or context.settings.webhook_secret.get_secret_value()
    endpoint = Endpoint(server.name, server.url, secret, server.is_host_configured)
    return WebhookSink(context.connectors.open_web(), endpoint, context.run)


class WebhookSink:
    """Sends the messages of one run. A message sent again has the same id."""

    def __init__(self, web: WebClient, endpoint: Endpoint, run: str) -> None:
        self._web = web
        self._endpoint = endpoint
        self._run = run

    def check(self) -> None:
        """Check that there is a signing secret, and connect to the host."""
        self._make_signer()
        try:
            self._web.connect(self._endpoint)
        except Permanent as error:
            raise ConfigurationError(f"sink {self._endpoint.name}: {error}") from error

    def deliver(self, part: str, lines: bytes) -> None:
        """Send one part, in one or more messages."""
        for number, results in enumerate(_split_results(lines)):
            body = self._message_body(part, number, results)
            self._send_message(f"{self._run}.{part}.{number}", body)

    def finish(self, parts: list[str]) -> str:  # noqa: ARG002
        """Return the public name of the server."""
        return self._endpoint.name

    def _message_body(self, part: str, number: int, results: list[bytes]) -> bytes:
        head = msgspec.json.encode(
            {"type": "promptmill.results", "run": self._run, "part": part, "number": number}
        )
        return head[:-1] + b',"results":[' + b",".join(results) + b"]}"

    def _send_message(self, message_id: str, body: bytes) -> None:
        headers = self._sign_message(message_id, body)
        status, retry_after = self._web.post(self._endpoint, body, headers)
        if status in _TRANSIENT_STATUSES or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            error = Transient(f"sink {self._endpoint.name}: answered {status}")
            error.retry_after = retry_after
            raise error
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise Permanent(
                f"sink {self._endpoint.name}: refused message {message_id} with {status}"
            )

    def _sign_message(self, message_id: str, body: bytes) -> dict[str, str]:
        """Return the headers of a message."""
        sent_at = datetime.now(UTC)
        return {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(sent_at.timestamp())),
            "webhook-signature": self._make_signer().sign(message_id, sent_at, body.decode()),
        }

    def _make_signer(self) -> Webhook:
        try:
            return Webhook(self._endpoint.secret)
        except (ValueError, EmptyWebhookSecretError):
            raise ConfigurationError(
                f"sink {self._endpoint.name}: the workers have no signing secret (whsec_BASE64). "
                f"Set {variable_name('webhook_secret')}, or its secret in "
                f"{variable_name('named_sinks')}"
            ) from None


def _split_results(lines: bytes) -> Iterator[list[bytes]]:
    """Split lines into lists of at most MAX_MESSAGE_BYTES."""
    batch: list[bytes] = []
    size = 0
    for line in lines.split(b"\n")[:-1]:
        if batch and size + len(line) > MAX_MESSAGE_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line)
    if batch:
        yield batch
