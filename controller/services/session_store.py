"""Where sessions are kept: each row knows whose it is."""

from datetime import UTC, datetime

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.db import InternalError
from psycopg.errors import ReadOnlySqlTransaction

from controller.models import Session
from controller.services.sessions import ACTIVE_AT, ADDRESS, BROWSER, SIGNED_IN_AT


class SessionStore(DatabaseStore):
    """Django's store, with the columns that list and end the sessions of a person."""

    @classmethod
    def get_model_class(cls) -> type[Session]:
        """Return our table."""
        return Session

    def save(self, must_create: bool = False) -> None:  # noqa: FBT001, FBT002 - Django's signature
        """Keep the session; where the database can only be read, one that is there goes on (D05).

        A new one is refused: nobody signs in by what nobody could end.
        """
        try:
            super().save(must_create=must_create)
        except InternalError as fault:
            if must_create or not isinstance(fault.__cause__, ReadOnlySqlTransaction):
                raise

    def create_model_instance(self, data: dict[str, object]) -> Session:
        """Return the row, its columns filled from what the session holds."""
        row = super().create_model_instance(data)
        assert isinstance(row, Session)  # noqa: S101 - the class above
        account = data.get(SESSION_KEY)
        row.account_id = int(str(account)) if account else None
        row.started_at, row.seen_at = _time(data.get(SIGNED_IN_AT)), _time(data.get(ACTIVE_AT))
        row.address, row.browser = str(data.get(ADDRESS, "")), str(data.get(BROWSER, ""))
        return row


def _time(value: object) -> datetime | None:
    return datetime.fromtimestamp(value, UTC) if isinstance(value, float) else None
