"""Why something was not done; the text is the answer a person reads."""


class SteeringError(Exception):
    """A wish of a person was refused and nothing changed."""


class ConflictError(SteeringError):
    """Somebody or something was faster: the text says who, when, and what holds now (409)."""


class ForbiddenError(SteeringError):
    """The person lacks a right, which the text names (403)."""


class MissingError(SteeringError):
    """What was asked about does not exist (404)."""


class InvalidError(SteeringError):
    """An input can't be used; ``field`` names it (400)."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


class TooManyError(SteeringError):
    """Too much is there already; the text says how much and what to do (429)."""


class OutOfTimeError(BaseException):
    """The time of this job is over; no ``except Exception`` on the way out may keep it going."""


class NotLeadingError(Exception):
    """This execution no longer holds the lease: nothing was written."""
