"""Resumable uploads under way. They end with the process: a caller is told so and starts anew."""

import secrets
from dataclasses import dataclass, field
from typing import Any

from .checksums import Declared
from .conditions import Conditions
from .errors import Refused
from .index import Stored
from .store import Draft

MOST = 1000
"""Uploads that are remembered, finished ones too; the oldest are given up for new ones, so that memory stays flat."""


@dataclass
class Session:
    """One upload: what it is to become, and how far it is. `stored` is what it became."""

    bucket: str
    name: str
    about: dict[str, Any]
    conditions: Conditions
    declared: Declared
    draft: Draft
    id: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    stored: Stored | None = None
    requests: int = 0

    def give_up(self) -> None:
        """Remove what has arrived, unless it became an object."""
        if self.stored is None:
            self.draft.discard()


class Sessions:
    """The uploads by their ids."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def add(self, session: Session) -> None:
        """Remember an upload."""
        self._sessions[session.id] = session
        if len(self._sessions) > MOST:
            self.remove(next(iter(self._sessions)))

    def require(self, number: str) -> Session:
        """The upload of that id. Raises Refused 410 if it is cancelled, refused, or of an earlier process."""
        if number not in self._sessions:
            raise Refused(410, "The upload session is gone; start a new one.")
        return self._sessions[number]

    def remove(self, number: str) -> None:
        """Forget an upload, and what has arrived of it."""
        if session := self._sessions.pop(number, None):
            session.give_up()
