"""What an API server may answer other than what was asked for, in words for the operator."""

from __future__ import annotations

from typing import ClassVar, Final

MOST_WAIT_S: Final = 60.0
"""However long it asks to wait (429), after this it is asked again."""


class KubeError(Exception):
    """A call brought nothing usable; ``status`` is 0 where no answer came.

    The text names no token, no certificate and no header.
    """

    known: ClassVar[int] = 0

    def __init__(self, text: str, *, status: int | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.status = self.known if status is None else status


class UnauthorisedError(KubeError):
    """It does not know us: a token ran out, a certificate was withdrawn."""

    known = 401


class ForbiddenError(KubeError):
    """It knows us and does not let us: which right is missing, and where."""

    known = 403

    def __init__(self, text: str, *, verb: str, what: str, namespace: str) -> None:
        super().__init__(text)
        self.verb = verb
        self.what = what
        self.namespace = namespace


class MissingError(KubeError):
    """No such object, or no such kind of objects."""

    known = 404


class ConflictError(KubeError):
    """The object is another one than the one that was read."""

    known = 409


class GoneError(KubeError):
    """The version asked for, or the place in a list, is too old: list anew."""

    known = 410


class InvalidError(KubeError):
    """It refuses what was asked for, whoever asks; nothing was changed."""

    known = 422


class ThrottledError(KubeError):
    """It asks to wait ``wait_s``, at most :data:`MOST_WAIT_S`; nothing was changed."""

    known = 429

    def __init__(self, text: str, *, wait_s: float) -> None:
        super().__init__(text)
        self.wait_s = min(wait_s, MOST_WAIT_S)


class ServerError(KubeError):
    """It failed (5xx): a write may have been done or not."""

    known = 500


class UnreachableError(KubeError):
    """No answer, or one cut off: ``sent`` tells whether the request may have arrived."""

    def __init__(self, text: str, *, sent: bool) -> None:
        super().__init__(text)
        self.sent = sent
