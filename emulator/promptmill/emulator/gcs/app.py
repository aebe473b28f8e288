"""The calls of the JSON API that exist here. Plain ASGI: a router of any kind would take longer than most calls."""

import contextlib
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send

from . import conditions, listing, resources
from .calls import Answer, Body, Call, HungUp, to_json
from .downloads import Media, download
from .errors import Refused
from .store import Store
from .uploads import Uploads

_UNKNOWN = ("versions", "matchGlob", "softDeleted", "includeFoldersAsPrefixes", "includeTrailingDelimiter")
"""Parameters of a list call that change what is listed, and that nobody here knows."""


class _Sendable(Protocol):
    async def send(self, send: Send) -> None: ...


class App:
    """The application over one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        uploads = Uploads(store)
        self._calls: dict[tuple[str, str], Callable[[Call], Awaitable[_Sendable]]] = {
            ("GET", "buckets"): self._list_buckets,
            ("POST", "buckets"): self._create_bucket,
            ("GET", "bucket"): self._get_bucket,
            ("DELETE", "bucket"): self._delete_bucket,
            ("GET", "objects"): self._list,
            ("GET", "object"): self._get,
            ("GET", "download object"): self._get,
            ("GET", "xml object"): self._download,
            ("HEAD", "xml object"): self._head,
            ("DELETE", "object"): self._delete,
            ("POST", "upload objects"): uploads.begin,
            ("PUT", "upload objects"): uploads.go_on,
            ("DELETE", "upload objects"): uploads.cancel,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        with contextlib.suppress(HungUp):
            answer = await self._answer(scope, Body(receive))
            await answer.send(send)

    async def _answer(self, scope: Scope, body: Body) -> _Sendable:
        try:
            call = Call(scope, body)
            return await self._effect(call)(call)
        except Refused as refusal:
            return await _refused(refusal, body)
        except HungUp:
            raise
        except Exception as error:  # noqa: BLE001 - the next call may do better
            traceback.print_exc()
            return await _refused(Refused(500, f"Internal error of the emulator: {error!r}"), body)

    def _effect(self, call: Call) -> Callable[[Call], Awaitable[_Sendable]]:
        effect = self._calls.get((call.method, call.target))
        if effect is None:
            raise Refused(501, f"{call.method} of {call.target} is not emulated.")
        return effect

    async def _list_buckets(self, call: Call) -> Answer:
        items = [resources.of_bucket(name, created, call.base) for name, created in self._store.index.buckets().items()]
        return to_json({"kind": "storage#buckets", "items": items})

    async def _create_bucket(self, call: Call) -> Answer:
        name = (await call.json()).get("name")
        if not isinstance(name, str) or not name:
            raise Refused(400, "Required parameter: name")
        self._store.add_bucket(name)
        return to_json(resources.of_bucket(name, self._store.require_bucket(name), call.base))

    async def _get_bucket(self, call: Call) -> Answer:
        return to_json(resources.of_bucket(call.bucket, self._store.require_bucket(call.bucket), call.base))

    async def _delete_bucket(self, call: Call) -> Answer:
        self._store.remove_bucket(call.bucket)
        return Answer(status=204)

    async def _list(self, call: Call) -> Answer:
        for name in _UNKNOWN:
            if name in call.query:
                raise Refused(501, f"Listing by {name} is not emulated.")
        self._store.require_bucket(call.bucket)
        page = listing.page(self._store.index, call.bucket, call.query)
        found: dict[str, Any] = {"kind": "storage#objects"}
        if page.objects:
            found["items"] = [resources.of_object(stored, call.base) for stored in page.objects]
        if page.prefixes:
            found["prefixes"] = page.prefixes
        return to_json(found | ({"nextPageToken": page.token} if page.next else {}))

    async def _get(self, call: Call) -> _Sendable:
        if call.query.get("alt") == "media":
            return download(self._store, call)
        stored = self._store.require(call.bucket, call.name, conditions.read(call.query))
        return to_json(resources.of_object(stored, call.base))

    async def _download(self, call: Call) -> Media:
        return download(self._store, call)

    async def _head(self, call: Call) -> Media:
        return download(self._store, call, bare=True)

    async def _delete(self, call: Call) -> Answer:
        self._store.delete(call.bucket, call.name, conditions.read(call.query))
        return Answer(status=204)


async def _refused(refusal: Refused, body: Body) -> Answer:
    """The answer, once all of the body has come in: a caller that is still sending would not hear it."""
    async for _ in body:
        pass
    if refusal.code == 304:
        return Answer(status=304)
    return to_json(refusal.body(), refusal.code, refusal.headers)
