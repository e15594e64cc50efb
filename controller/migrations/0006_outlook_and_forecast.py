"""What is learnt of a service, what a decision provided for, and the engines of simulated services."""

from django.db import migrations, models


def name_profiles(apps, _schema_editor):
    """Name the profiles that play simulated services in their roles too."""
    roles = apps.get_model('inventory', 'RoleSpec')
    for row in apps.get_model('controller', 'SimulatedService').objects.all():
        for role, profile in (('prefill', row.prefill_profile), ('decode', row.decode_profile)):
            roles.objects.filter(service=row.service_id, role=role).update(profile=profile)


class Migration(migrations.Migration):

    dependencies = [
        ('controller', '0005_traces_of_lengths'),
        ('inventory', '0002_whole_engine_policy'),
    ]

    operations = [
        migrations.AddField(
            model_name='decision',
            name='forecast',
            field=models.JSONField(help_text='What was provided for; null where nothing was reckoned.', null=True),
        ),
        migrations.AddField(
            model_name='decision',
            name='parts',
            field=models.JSONField(default=list, help_text='What each policy of a composition wanted.'),
        ),
        migrations.AddField(
            model_name='servicestatus',
            name='outlook',
            field=models.JSONField(default=dict, help_text='What is learnt from tick to tick.'),
        ),
        migrations.AlterField(
            model_name='decision',
            name='code',
            field=models.CharField(choices=[('ABOVE_TARGET', 'ABOVE_TARGET'), ('BELOW_TARGET', 'BELOW_TARGET'), ('WITHIN_TOLERANCE', 'WITHIN_TOLERANCE'), ('RATIO_CORRECTION', 'RATIO_CORRECTION'), ('AT_MAX', 'AT_MAX'), ('AT_MIN', 'AT_MIN'), ('STEP_LIMITED', 'STEP_LIMITED'), ('COOLDOWN', 'COOLDOWN'), ('FLAP_PREVENTED', 'FLAP_PREVENTED'), ('PINNED', 'PINNED'), ('FROZEN', 'FROZEN'), ('OUT_ONLY', 'OUT_ONLY'), ('IN_ONLY', 'IN_ONLY'), ('WINDOW_DENY', 'WINDOW_DENY'), ('BUDGET_EXHAUSTED', 'BUDGET_EXHAUSTED'), ('NO_CAPACITY_SKU', 'NO_CAPACITY_SKU'), ('NO_CAPACITY_DOMAIN', 'NO_CAPACITY_DOMAIN'), ('FRAGMENTED', 'FRAGMENTED'), ('METRIC_MISSING', 'METRIC_MISSING'), ('METRIC_STALE', 'METRIC_STALE'), ('METRIC_PARTIAL', 'METRIC_PARTIAL'), ('METRIC_INVALID', 'METRIC_INVALID'), ('CHANGED_OUTSIDE', 'CHANGED_OUTSIDE'), ('IN_PROGRESS', 'IN_PROGRESS'), ('AWAITING_APPROVAL', 'AWAITING_APPROVAL'), ('REJECTED', 'REJECTED'), ('EXPIRED', 'EXPIRED'), ('SUPERSEDED', 'SUPERSEDED'), ('ADVISORY_ONLY', 'ADVISORY_ONLY'), ('EXECUTOR_ERROR', 'EXECUTOR_ERROR'), ('BREAKER_OPEN', 'BREAKER_OPEN'), ('CONFIG_INVALID', 'CONFIG_INVALID'), ('LATENCY_HIGH', 'LATENCY_HIGH'), ('LATENCY_LOW', 'LATENCY_LOW'), ('SCHEDULED', 'SCHEDULED'), ('SLO_AT_RISK', 'SLO_AT_RISK'), ('STARTING', 'STARTING'), ('DAMPED', 'DAMPED'), ('REMOVAL_BUDGET', 'REMOVAL_BUDGET'), ('RATIO_EXCEPTION', 'RATIO_EXCEPTION'), ('UNCHANGED', 'UNCHANGED')], max_length=32),
        ),
        migrations.RunPython(name_profiles, migrations.RunPython.noop),
    ]
