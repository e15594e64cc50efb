"""Who acts, what they may do, and what happens when they may not."""

from dataclasses import dataclass
from typing import ClassVar, Final

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.db.models import Model, Q
from django.db.models.functions import Now

from controller.core import rights
from controller.core.words import clean
from controller.models import Grant
from controller.models.scopes import chain_of
from controller.services import audit
from controller.services.accounts import ROLES
from controller.services.errors import ForbiddenError, InvalidError

APPROVE: Final = "controller.approve_proposal"
PROPOSE: Final = "controller.propose_change"
BREAK_GLASS: Final = "controller.break_glass"
OVERRIDE: Final = "controller.override"
GRANT: Final = "controller.add_grant"
RULE: Final = "controller.add_approvalrule"
FREEZE: Final = "controller.freeze"
RESUME: Final = "controller.resume"
BACKTEST: Final = "controller.run_backtest"
EDIT_POLICY: Final = "inventory.change_policy"
EDIT_FLEET: Final = "inventory.change_node"
EDIT_SOURCES: Final = "inventory.change_metricsendpoint"
SET_UP: Final = "inventory.add_service"
CHANGE_MODE: Final = "inventory.change_service"
CONNECT: Final = "inventory.change_clusteraccess"
PEOPLE: Final = "auth.change_user"
CORDON: Final = "inventory.cordon_node"
NEEDS: Final = rights.NEEDS
LONGEST_REASON: Final = 1000


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The person at the command line of the host, who holds every right there."""

    unix_user: str
    is_active: ClassVar[bool] = True

    def has_perm(self, _right: str) -> bool:
        """Return True: whoever may run the command may also edit the database."""
        return True

    def get_username(self) -> str:
        """Return the name the audit shows."""
        return f"command line ({self.unix_user})"


Person = User | AnonymousUser | CommandLine


def account_of(person: Person) -> User | None:
    """Return the row of a signed-in person, ``None`` for the command line."""
    return person if isinstance(person, AbstractBaseUser) else None


def may(person: Person, right: str, about: Model | None = None) -> bool:
    """Return whether the person has the right over a service, a cluster, a region or their rows.

    Groups give rights everywhere, grants within their scope (product: roles). Without ``about``
    the whole fleet is meant. An account that is disabled has no right.
    """
    if person.has_perm(right):
        return True
    account = account_of(person)
    if account is None or not account.is_active:
        return False
    roles = [name for name, rights in ROLES.items() if right in rights]
    held = Grant.objects.filter(
        Q(expires_at=None) | Q(expires_at__gt=Now()),
        chain_of(about).covering,
        user=account,
        role__in=roles,
        ended_at=None,
    )
    return held.exists()


def require(person: Person, right: str, about: Model | None = None) -> None:
    """Raise :class:`ForbiddenError`, after recording the attempt, unless the person may.

    The rights of an account are read when it is first asked, so one that was disabled since
    sign-in has none.
    """
    if may(person, right, about):
        return
    text = f"{person.get_username() or 'A visitor'} may not do this: {NEEDS[right]} ({right})."
    audit.record(
        actor=person.get_username() or "anonymous",
        verb=f"was refused {right.rpartition('.')[2]}",
        obj=about,
        reason=text,
    )
    raise ForbiddenError(text)


def reason_text(raw: str, *, needed: bool) -> str:
    """Return the reason trimmed; raises :class:`InvalidError` when empty or too long."""
    text = clean(raw).strip()
    if needed and not text:
        raise InvalidError("reason", "Give a reason: it is what the next person reads.")
    if len(text) > LONGEST_REASON:
        raise InvalidError(
            "reason", f"The reason has {len(text):,} characters; at most {LONGEST_REASON:,} fit."
        )
    return text
