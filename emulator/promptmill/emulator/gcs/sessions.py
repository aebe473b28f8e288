"""Resumable uploads in progress. A restart discards them; clients then start again."""

import secrets
from dataclasses import dataclass, field

from ..json_types import JsonObject
from .checksums import DeclaredChecksums
from .conditions import Conditions
from .errors import RequestRefused
from .index import StoredObject
from .store import Draft

MAX_SESSIONS = 1000
"""Maximum sessions, finished ones included. New ones replace the oldest."""


@dataclass
class UploadSession:
    """One upload. `stored` is the resulting object, if complete."""

    bucket: str
    name: str
    metadata: JsonObject
    conditions: Conditions
    declared: DeclaredChecksums
    draft: Draft
    id: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    stored: StoredObject | None = None
    request_count: int = 0

    def discard_draft(self) -> None:
        """Delete the received bytes, unless they became an object."""
        if self.stored is None:
            self.draft.discard()


class UploadSessions:
    """The uploads by id."""

    def __init__(self) -> None:
        self._sessions: dict[str, UploadSession] = {}

    def add_session(self, session: UploadSession) -> None:
        """Add an upload."""
        self._sessions[session.id] = session
        if len(self._sessions) > MAX_SESSIONS:
            self.remove_session(next(iter(self._sessions)))

    def require_session(self, session_id: str) -> UploadSession:
        """Return an upload. Raises RequestRefused 410 if it no longer exists."""
        if session_id not in self._sessions:
            raise RequestRefused(410, "The upload session is gone; start a new one.")
        return self._sessions[session_id]

    def remove_session(self, session_id: str) -> None:
        """Remove an upload and its received bytes."""
        if session := self._sessions.pop(session_id, None):
            session.discard_draft()
