"""Approvals from the command line count as those of one person without an account."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("controller", "0018_sealing"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="verdict",
            name="by_name",
            field=models.CharField(default="", max_length=150),
            preserve_default=False,
        ),
        migrations.AlterField(
            model_name="verdict",
            name="user",
            field=models.ForeignKey(
                help_text="Null: the command line of the host, which is one person whoever types.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.RemoveConstraint(
            model_name="verdict", name="one_verdict_per_person_and_body"
        ),
        migrations.AddConstraint(
            model_name="verdict",
            constraint=models.UniqueConstraint(
                fields=("proposal", "version", "user"),
                name="one_verdict_per_person_and_body",
                nulls_distinct=False,
            ),
        ),
    ]
