"""What is remembered of people at the door: tries, sessions, second factors."""

from django.conf import settings
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.utils.crypto import salted_hmac


class SignInTries(models.Model):
    """Wrong answers in a row of one name from one address, of an address, or of a name.

    ``key`` is a digest of name and address: what was typed as a name may be a password.
    """

    class Kind(models.TextChoices):
        """What the wrong answers are counted by."""

        PAIR = "pair", "name and address"
        ADDRESS = "address", "address"
        ACCOUNT = "account", "name"

    key = models.CharField(max_length=64, primary_key=True)
    kind = models.CharField(max_length=7, choices=Kind)
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="+"
    )
    address = models.CharField(max_length=45, blank=True)
    failures = models.PositiveIntegerField(default=0)
    last_at = models.DateTimeField()
    shut_until = models.DateTimeField(null=True)
    welcome_at = models.DateTimeField(
        null=True, help_text="When this name last signed in from this address."
    )

    class Meta:
        verbose_name_plural = "sign-in tries"
        indexes = (models.Index(fields=("shut_until",)), models.Index(fields=("last_at",)))

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.failures} wrong"


class Session(AbstractBaseSession):
    """A session with whose it is, so that a person's sessions can be listed and ended."""

    account = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.CASCADE,
        related_name="doors_sessions",
    )
    started_at = models.DateTimeField(null=True)
    seen_at = models.DateTimeField(null=True)
    address = models.CharField(max_length=45, blank=True)
    browser = models.CharField(max_length=200, blank=True)

    @property
    def handle(self) -> str:
        """A name by which a page can speak of the session without giving its key away."""
        return salted_hmac("session", self.session_key, algorithm="sha256").hexdigest()[:24]


class SecondFactor(models.Model):
    """The authenticator of one person; it counts once ``confirmed_at`` is set."""

    account = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        primary_key=True,
        on_delete=models.CASCADE,
        related_name="second_factor",
    )
    encrypted = models.TextField(help_text="The secret shared with it.")
    made_at = models.DateTimeField()
    confirmed_at = models.DateTimeField(null=True)
    used_step = models.BigIntegerField(default=0, help_text="Newest step whose code was used.")

    def __str__(self) -> str:
        return f"{self.account_id}"


class RecoveryCode(models.Model):
    """A code that stands in for the authenticator once."""

    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+"
    )
    digest = models.CharField(max_length=64)
    used_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("account", "digest"), name="recovery_code_unique_per_account"
            ),
        )

    def __str__(self) -> str:
        return f"{self.account_id}"
