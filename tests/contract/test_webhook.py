"""The sink that is a webhook, against real servers: signed, the same id every time, and never to an address inside."""

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from promptmill.config.errors import ConfigurationError, Permanent, Transient
from promptmill.local.ports import HOST
from promptmill.workers.adapters import web
from promptmill.workers.ports.web import Endpoint
from promptmill.workers.sinks.webhook import MAX_MESSAGE_BYTES, WebhookSink
from support.certificates import certify
from support.receiver import Receiver, receiving

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PART = "0000-1-00000"
LINES = b"".join(
    json.dumps({"key": str(row), "row": row, "text": "é"}).encode() + b"\n" for row in range(1, 4)
)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def sink(url: str, *, secret: str = SECRET, private: bool = True) -> WebhookSink:
    return WebhookSink(web.open_web(), Endpoint("crm", url, secret, private), "01jtest")


def test_results_come_as_a_message_that_the_receiver_can_verify(receiver: Receiver) -> None:
    sink(receiver.url).check()
    sink(receiver.url).deliver(PART, LINES)

    ((headers, body),) = receiver.got
    message = Webhook(SECRET).verify(body, headers)
    assert message["type"] == "promptmill.results"
    assert (message["run"], message["part"]) == ("01jtest", PART)
    assert [result["key"] for result in message["results"]] == ["1", "2", "3"]
    assert headers["host"] == f"{HOST}:{receiver.port}"
    assert sink(receiver.url).finish([PART]) == "crm"


def test_a_part_that_comes_again_has_the_same_ids_and_bodies_in_messages_of_bounded_size(
    receiver: Receiver,
) -> None:
    lines = b"".join(
        json.dumps({"key": str(row), "text": "x" * 300_000}).encode() + b"\n" for row in range(10)
    )

    for _ in range(2):
        sink(receiver.url).deliver(PART, lines)

    first, again = receiver.got[: len(receiver.got) // 2], receiver.got[len(receiver.got) // 2 :]
    assert [(headers["webhook-id"], body) for headers, body in first] == [
        (headers["webhook-id"], body) for headers, body in again
    ]
    assert len(first) == 4
    assert all(len(body) < MAX_MESSAGE_BYTES + 1000 for _, body in first)
    assert [result["key"] for _, body in first for result in json.loads(body)["results"]] == [
        str(row) for row in range(10)
    ]


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_may_pass_is_tried_again(receiver: Receiver, status: int) -> None:
    receiver.status = status

    with pytest.raises(Transient, match=f"sink crm: answered {status}"):
        sink(receiver.url).deliver(PART, LINES)


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("", 0),
        ("7", 7),
        ("90000", 3600),
        ("soon", 0),
        ("-4", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
    ],
)
def test_who_says_when_to_come_back_is_heard(receiver: Receiver, told: str, seconds: float) -> None:
    receiver.status, receiver.retry_after = 429, told

    with pytest.raises(Transient) as busy:
        sink(receiver.url).deliver(PART, LINES)

    assert busy.value.retry_after == seconds


@pytest.mark.parametrize("status", [302, 307, 400, 401, 404, 410, 413])
def test_a_refusal_is_one_and_no_redirect_is_followed(receiver: Receiver, status: int) -> None:
    receiver.status = status

    with pytest.raises(
        Permanent, match=rf"sink crm: refused message 01jtest\.{PART}\.0 with {status}"
    ):
        sink(receiver.url).deliver(PART, LINES)
    assert len(receiver.got) == 1


def test_a_server_that_is_away_is_waited_for() -> None:
    away = sink("http://127.0.0.1:1/")
    calls: list[Any] = [away.check, lambda: away.deliver(PART, LINES)]
    for call in calls:
        with pytest.raises(Transient, match="no response"):
            call()


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_%"])
def test_without_a_secret_nothing_is_sent(receiver: Receiver, secret: str) -> None:
    with pytest.raises(ConfigurationError, match="PROMPTMILL_WEBHOOK_SECRET"):
        sink(receiver.url, secret=secret).check()
    assert receiver.got == []


INSIDE = [
    "127.0.0.1",
    "10.1.2.3",
    "192.168.0.1",
    "172.16.0.1",
    "100.64.0.1",
    "::1",
    "::ffff:127.0.0.1",
    "fd00::1",
]
NEVER = ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "224.0.0.1"]


@pytest.mark.parametrize(
    ("address", "private"),
    [*((one, False) for one in (*INSIDE, *NEVER)), *((one, True) for one in NEVER)],
)
def test_an_address_inside_is_written_to_only_where_its_host_is_named_and_one_with_credentials_never(
    monkeypatch: pytest.MonkeyPatch, address: str, private: bool
) -> None:
    def resolve(*_: Any, **__: Any) -> Any:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 443))
            for one in ("93.184.216.34", address)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    with pytest.raises(ConfigurationError, match="which is not on the public internet"):
        sink("https://hooks.acme.com/", private=private).check()
    with pytest.raises(Permanent, match="which is not on the public internet"):
        sink("https://hooks.acme.com/", private=private).deliver(PART, LINES)


def test_a_server_must_be_the_one_that_its_name_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = certify(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with receiving(context) as receiver:
        url = f"https://localhost:{receiver.port}/answers"
        calls: list[Any] = [sink(url).check, lambda: sink(url).deliver(PART, LINES)]
        for call in calls:
            with pytest.raises((Permanent, ConfigurationError), match="certificate"):
                call()
        assert receiver.got == []

        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        sink(url).check()
        sink(url).deliver(PART, LINES)

        ((headers, body),) = receiver.got
        assert Webhook(SECRET).verify(body, headers)["part"] == PART
