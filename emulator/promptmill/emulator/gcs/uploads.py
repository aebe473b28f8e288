"""The three ways of bringing an object in: its bytes alone, together with its metadata, or piece by piece."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from . import checksums, conditions, ranges, resources
from .calls import Answer, Call, decoded, to_json
from .errors import Refused
from .index import Stored
from .multipart import Multipart
from .ranges import Piece
from .sessions import Session, Sessions
from .store import Store

CANCELLED = 499
"""What Google answers to a cancelled upload."""


class Uploads:
    """Uploads to one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sessions = Sessions()

    async def begin(self, call: Call) -> Answer:
        """POST: a whole object, or the start of a resumable upload. Raises Refused 400, 404 or 412."""
        match call.query.get("uploadType"):
            case "multipart":
                return await self._multipart(call)
            case "media":
                return await self._media(call)
            case "resumable":
                return await self._resumable(call)
        raise Refused(400, f"Invalid upload type: {call.query.get('uploadType')!r}.")

    async def go_on(self, call: Call) -> Answer:
        """PUT: a piece of a resumable upload, or the question how far it is. Raises Refused 400, 404, 410, 412 or 503."""
        session = self._sessions.require(call.query.get("upload_id", ""))
        if session.stored is None:
            await self._take(session, call)
        if session.stored is None:
            return Answer(status=308, headers=ranges.so_far(session.draft.size))
        return _answer(session.stored, call)

    async def cancel(self, call: Call) -> Answer:
        """DELETE: nothing of a resumable upload is left. Raises Refused 410."""
        session = self._sessions.require(call.query.get("upload_id", ""))
        self._sessions.remove(session.id)
        return Answer(status=CANCELLED)

    async def _media(self, call: Call) -> Answer:
        content_type = call.header(b"content-type")
        about = {"contentType": content_type} if content_type else {}
        return await self._whole(call, _name(call, {}), about, {}, call.body)

    async def _multipart(self, call: Call) -> Answer:
        parts = Multipart(call.body, call.header(b"content-type") or "")
        metadata = decoded(await parts.metadata())
        about = _about(metadata, parts.content_type)
        return await self._whole(call, _name(call, metadata), about, metadata, parts.content())

    async def _whole(
        self, call: Call, name: str, about: dict[str, Any], metadata: Mapping[str, Any], content: AsyncIterator[bytes]
    ) -> Answer:
        asked = conditions.read(call.query)
        self._store.require_room(call.bucket, name, asked)
        declared = checksums.in_metadata(metadata) | checksums.in_headers(call.headers)
        draft = self._store.draft()
        try:
            with draft.appending():
                async for piece in content:
                    draft.add(piece)
            return _answer(self._store.publish(draft, call.bucket, name, about, asked, declared), call)
        except BaseException:
            draft.discard()
            raise

    async def _resumable(self, call: Call) -> Answer:
        metadata = await call.json()
        name, asked = _name(call, metadata), conditions.read(call.query)
        self._store.require_room(call.bucket, name, asked)
        about = _about(metadata, call.header(b"x-upload-content-type"))
        declared = checksums.in_metadata(metadata) | checksums.in_headers(call.headers)
        session = Session(call.bucket, name, about, asked, declared, self._store.draft())
        self._sessions.add(session)
        place = f"{call.base}/upload/storage/v1/b/{call.bucket}/o?uploadType=resumable&upload_id={session.id}"
        return Answer(headers={"Location": place, "X-GUploader-UploadID": session.id})

    async def _take(self, session: Session, call: Call) -> None:
        """Append what the request carries, and publish the object when that was all."""
        piece = ranges.piece(call.header(b"content-range"))
        await _append(session, piece, call)
        whole = piece is ranges.WHOLE or session.draft.size == piece.total
        if whole and session.stored is None:
            self._publish(session, session.declared | checksums.in_headers(call.headers))

    def _publish(self, session: Session, declared: checksums.Declared) -> None:
        try:
            session.stored = self._store.publish(
                session.draft, session.bucket, session.name, session.about, session.conditions, declared
            )
        except Refused:
            self._sessions.remove(session.id)
            raise


async def _append(session: Session, piece: Piece, call: Call) -> None:
    """Append what is new in the request. A later request for the same upload ends this one, which its caller gave up."""
    skip, left = piece.wanted(session.draft.size)
    session.requests += 1
    mine = session.requests
    with session.draft.appending():
        async for data in call.body:
            if session.requests != mine or session.stored:
                raise Refused(409, "Another request goes on with this upload.")
            fresh = data[skip:] if skip else data
            skip = max(0, skip - len(data))
            fresh = fresh if left is None else fresh[:left]
            left = left if left is None else left - len(fresh)
            session.draft.add(fresh)


def _name(call: Call, metadata: Mapping[str, Any]) -> str:
    name = call.query.get("name") or metadata.get("name")
    if not isinstance(name, str) or not name:
        raise Refused(400, "Required parameter: name")
    return name


def _about(metadata: Mapping[str, Any], content_type: str | None) -> dict[str, Any]:
    about = {name: metadata[name] for name in resources.DESCRIBING if metadata.get(name) is not None}
    return {"contentType": content_type} | about if content_type else about


def _answer(stored: Stored, call: Call) -> Answer:
    headers = {"X-Goog-Hash": f"crc32c={stored.crc32c},md5={stored.md5}", "ETag": resources.etag(stored)}
    return to_json(resources.of_object(stored, call.base), headers=headers)
