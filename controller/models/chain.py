"""The chain over decisions and audit events that shows what was changed or removed later."""

from django.db import models


class ToSeal(models.Model):
    """A record that waits for its seal; the database itself puts it here when it is final."""

    kind = models.CharField(max_length=8)
    object_id = models.CharField(max_length=64)

    class Meta:
        ordering = ("id",)
        verbose_name_plural = "to seal"

    def __str__(self) -> str:
        return f"{self.kind} {self.object_id}"


class Seal(models.Model):
    """One link: ``hash`` is over the hash before, the kind, the object and its digest."""

    KINDS = (("audit", "audit event"), ("decision", "decision"), ("removal", "removal"))

    seq = models.BigIntegerField(primary_key=True, help_text="1, 2, 3: gapless.")
    kind = models.CharField(max_length=8, choices=KINDS)
    object_id = models.CharField(
        max_length=64, help_text="The row's number; a decision's service before it."
    )
    digest = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)
    at = models.DateTimeField()

    class Meta:
        ordering = ("-seq",)
        constraints = (models.UniqueConstraint(fields=("kind", "object_id"), name="sealed_once"),)

    def __str__(self) -> str:
        return f"{self.seq}: {self.kind} {self.object_id}"


class Removal(models.Model):
    """Decisions that went, all of a service at once: with the service, or to be made anew."""

    service_id = models.UUIDField()
    service = models.CharField(max_length=63)
    rows = models.PositiveIntegerField()
    last_id = models.BigIntegerField(help_text="The newest of them.")
    at = models.DateTimeField()
    role = models.CharField(max_length=63, help_text="The database role that removed them.")
    transaction = models.CharField(max_length=20)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("service_id", "transaction"), name="removal_once_a_transaction"
            ),
        )

    def __str__(self) -> str:
        return f"{self.rows} decisions of {self.service}"


class ChainCheck(models.Model):
    """How far the chain was verified, and what is wrong; one row."""

    checked_to = models.BigIntegerField(default=0, help_text="The newest seal that was right.")
    checked_seal_at = models.DateTimeField(null=True)
    checked_at = models.DateTimeField(null=True)
    again_from = models.BigIntegerField(
        default=0, help_text="The seal after which older ones are being read again."
    )
    round_at = models.DateTimeField(null=True, help_text="When that began.")
    whole_at = models.DateTimeField(
        null=True, help_text="When the last look at all of it began that came to its end."
    )
    problem = models.TextField(blank=True)
    problem_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.problem or f"verified to {self.checked_to}"
