"""Results by webhook: signed as Standard Webhooks says (standardwebhooks.com), in messages of bounded size."""

from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus

import msgspec
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from promptmill.config.errors import ConfigurationError, Permanent, Transient
from promptmill.config.settings import variable_name
from promptmill.workers.ports.web import Endpoint, WebClient

MAX_MESSAGE_BYTES = 1 << 20
"""Of the results in one message, unless one result alone is larger."""
_TRANSIENT_STATUSES = {408, 409, 425, 429}


class WebhookSink:
    """Messages of one run; each has an id that is the same whenever it comes, so that a receiver can tell it is known."""

    def __init__(self, web: WebClient, endpoint: Endpoint, run: str) -> None:
        self._web = web
        self._endpoint = endpoint
        self._run = run

    def check(self) -> None:
        """See that there is a secret to sign with, and that the host can be connected to."""
        self._make_signer()
        try:
            self._web.connect(self._endpoint)
        except Permanent as error:
            raise ConfigurationError(f"sink {self._endpoint.name}: {error}") from error

    def deliver(self, part: str, lines: bytes) -> None:
        """Send one part, in as many messages as it takes."""
        for number, results in enumerate(_split_results(lines)):
            self._send_message(
                f"{self._run}.{part}.{number}", self._message_body(part, number, results)
            )

    def finish(self, parts: list[str]) -> str:  # noqa: ARG002
        """Return where the results went."""
        return self._endpoint.name

    def _message_body(self, part: str, number: int, results: list[bytes]) -> bytes:
        head = msgspec.json.encode(
            {"type": "promptmill.results", "run": self._run, "part": part, "number": number}
        )
        return head[:-1] + b',"results":[' + b",".join(results) + b"]}"

    def _send_message(self, message_id: str, body: bytes) -> None:
        sent_at = datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(sent_at.timestamp())),
            "webhook-signature": self._make_signer().sign(message_id, sent_at, body.decode()),
        }
        status, retry_after = self._web.post(self._endpoint, body, headers)
        if status in _TRANSIENT_STATUSES or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            error = Transient(f"sink {self._endpoint.name}: answered {status}")
            error.retry_after = retry_after
            raise error
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise Permanent(
                f"sink {self._endpoint.name}: refused message {message_id} with {status}"
            )

    def _make_signer(self) -> Webhook:
        try:
            return Webhook(self._endpoint.secret)
        except (ValueError, EmptyWebhookSecretError):
            raise ConfigurationError(
                f"sink {self._endpoint.name}: the workers have no secret of the form whsec_BASE64 to sign with; set "
                f"{variable_name('webhook_secret')}, or one for it in {variable_name('named_sinks')}"
            ) from None


def _split_results(lines: bytes) -> Iterator[list[bytes]]:
    """Divide lines into lists of at most MOST_BYTES, the same every time."""
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
