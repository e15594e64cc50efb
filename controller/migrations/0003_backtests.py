"""Backtests and the traces they play."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """Add both tables."""

    dependencies = [
        ('controller', '0002_append_only'),
        ('inventory', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Trace',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=120)),
                ('content', models.BinaryField(help_text='The CSV, gzipped.')),
                ('packed_bytes', models.PositiveIntegerField()),
                ('sha256', models.CharField(help_text='Of the CSV, unpacked.', max_length=64, unique=True)),
                ('kind', models.CharField(choices=[('requests', 'requests'), ('windows', 'windows')], max_length=8)),
                ('rows', models.PositiveIntegerField()),
                ('span_s', models.FloatField()),
                ('created_at', models.DateTimeField()),
                ('uploaded_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ('-created_at', '-id'),
            },
        ),
        migrations.CreateModel(
            name='Backtest',
            fields=[
                ('id', models.UUIDField(primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField()),
                ('asked', models.JSONField()),
                ('source', models.CharField(choices=[('trace', 'trace'), ('recorded', 'recorded'), ('generated', 'generated')], max_length=9)),
                ('load_name', models.CharField(max_length=200)),
                ('recorded_since', models.DateTimeField(null=True)),
                ('recorded_until', models.DateTimeField(null=True)),
                ('generator', models.JSONField(null=True)),
                ('state', models.CharField(choices=[('queued', 'queued'), ('running', 'running'), ('done', 'done'), ('failed', 'failed'), ('cancelled', 'cancelled')], default='queued', max_length=9)),
                ('attempts', models.PositiveSmallIntegerField(default=0)),
                ('progress_frac', models.FloatField(default=0.0)),
                ('started_at', models.DateTimeField(null=True)),
                ('heartbeat_at', models.DateTimeField(null=True)),
                ('finished_at', models.DateTimeField(null=True)),
                ('cancel_requested_at', models.DateTimeField(null=True)),
                ('error', models.TextField(blank=True)),
                ('error_field', models.CharField(blank=True, max_length=40)),
                ('answer', models.JSONField(null=True)),
                ('series', models.JSONField(null=True)),
                ('cancel_requested_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('service', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='backtests', to='inventory.service')),
                ('trace', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='backtests', to='controller.trace')),
            ],
            options={
                'ordering': ('-created_at', '-id'),
                'permissions': (('run_backtest', 'Can start and cancel backtests'),),
            },
        ),
        migrations.AddConstraint(
            model_name='trace',
            constraint=models.CheckConstraint(condition=models.Q(('packed_bytes__lte', 16777216)), name='trace_is_not_too_large'),
        ),
        migrations.AddConstraint(
            model_name='trace',
            constraint=models.CheckConstraint(condition=models.Q(('rows__gt', 0), ('span_s__gt', 0)), name='trace_is_not_empty'),
        ),
        migrations.AddIndex(
            model_name='backtest',
            index=models.Index(fields=['state', 'created_at'], name='controller__state_177d5d_idx'),
        ),
        migrations.AddIndex(
            model_name='backtest',
            index=models.Index(fields=['-created_at', '-id'], name='controller__created_616521_idx'),
        ),
        migrations.AddConstraint(
            model_name='backtest',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['queued', 'running', 'done', 'failed', 'cancelled'])), name='backtest_state'),
        ),
        migrations.AddConstraint(
            model_name='backtest',
            constraint=models.CheckConstraint(condition=models.Q(('progress_frac__gte', 0), ('progress_frac__lte', 1)), name='backtest_progress'),
        ),
        migrations.AddConstraint(
            model_name='backtest',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('started_at', None), ('started_at__gte', models.F('created_at')), _connector='OR'), models.Q(('heartbeat_at', None), ('heartbeat_at__gte', models.F('started_at')), _connector='OR'), models.Q(('finished_at', None), ('finished_at__gte', models.F('created_at')), _connector='OR'), models.Q(('finished_at', None), ('started_at', None), ('finished_at__gte', models.F('started_at')), _connector='OR')), name='backtest_times_in_order'),
        ),
        migrations.AddConstraint(
            model_name='backtest',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('finished_at__isnull', False), ('state__in', ['done', 'failed', 'cancelled'])), models.Q(('heartbeat_at__isnull', False), ('started_at__isnull', False), ('state', 'running')), models.Q(('finished_at', None), ('started_at', None), ('state', 'queued')), _connector='OR'), name='backtest_state_has_its_times'),
        ),
        migrations.AddConstraint(
            model_name='backtest',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('answer__isnull', False), ('series__isnull', False)), models.Q(('state', 'done'), _negated=True), _connector='OR'), name='backtest_done_has_an_answer'),
        ),
        migrations.AddConstraint(
            model_name='backtest',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('source', 'trace'), ('trace__isnull', False)), models.Q(('recorded_since__isnull', False), ('recorded_until__gt', models.F('recorded_since')), ('source', 'recorded')), models.Q(('generator__isnull', False), ('source', 'generated')), _connector='OR'), name='backtest_has_its_load'),
        ),
        migrations.AddConstraint(
            model_name='backtest',
            constraint=models.UniqueConstraint(condition=models.Q(('state', 'running')), fields=('state',), name='one_backtest_runs_at_a_time'),
        ),
    ]
