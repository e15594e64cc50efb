"""Traces of lengths have no times, and so no span."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Let a trace of lengths be without a span."""

    dependencies = [('controller', '0004_own_profiles')]

    operations = [
        migrations.RemoveConstraint(model_name='trace', name='trace_is_not_empty'),
        migrations.AlterField(
            model_name='trace',
            name='kind',
            field=models.CharField(
                choices=[('requests', 'requests'), ('lengths', 'lengths'), ('windows', 'windows')],
                max_length=8,
            ),
        ),
        migrations.AlterField(
            model_name='trace',
            name='span_s',
            field=models.FloatField(help_text='None of lengths, which have no times.', null=True),
        ),
        migrations.AddConstraint(
            model_name='trace',
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ('rows__gt', 0),
                    models.Q(
                        models.Q(('span_s__gt', 0), ('span_s__isnull', False)),
                        models.Q(('kind', 'lengths'), ('span_s', None)),
                        _connector='OR',
                    ),
                ),
                name='trace_is_not_empty',
            ),
        ),
    ]
