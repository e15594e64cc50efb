"""Which account belongs to which subject of an identity provider."""

from django.conf import settings
from django.db import models


class Identity(models.Model):
    """A subject of an issuer (OpenID Connect Core 1.0 §2) and its account here."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="identity"
    )
    issuer = models.CharField(max_length=500)
    subject = models.CharField(max_length=255)
    first_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "identities"
        constraints = (
            models.UniqueConstraint(fields=("issuer", "subject"), name="one_account_per_subject"),
        )

    def __str__(self) -> str:
        return f"{self.subject} of {self.issuer}"
