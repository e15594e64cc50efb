"""Suggestions of another ratio and target, for a person to adopt."""

import controller.core.lifecycle
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('controller', '0006_outlook_and_forecast'),
        ('inventory', '0002_whole_engine_policy'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='PolicySuggestion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('state', models.CharField(choices=[(controller.core.lifecycle.SuggestionState['FORMING'], controller.core.lifecycle.SuggestionState['FORMING']), (controller.core.lifecycle.SuggestionState['OPEN'], controller.core.lifecycle.SuggestionState['OPEN']), (controller.core.lifecycle.SuggestionState['ADOPTED'], controller.core.lifecycle.SuggestionState['ADOPTED']), (controller.core.lifecycle.SuggestionState['DISMISSED'], controller.core.lifecycle.SuggestionState['DISMISSED']), (controller.core.lifecycle.SuggestionState['SUPERSEDED'], controller.core.lifecycle.SuggestionState['SUPERSEDED']), (controller.core.lifecycle.SuggestionState['EXPIRED'], controller.core.lifecycle.SuggestionState['EXPIRED'])], default=controller.core.lifecycle.SuggestionState['FORMING'], max_length=12)),
                ('version', models.PositiveIntegerField(default=1, help_text='Grows when the figures move.')),
                ('revision', models.PositiveIntegerField(help_text='The policy revision it was made from.')),
                ('driver', models.CharField(max_length=40)),
                ('from_pd_ratio', models.FloatField()),
                ('from_target', models.FloatField()),
                ('pd_ratio', models.FloatField()),
                ('target', models.FloatField()),
                ('sentence', models.TextField()),
                ('evidence', models.JSONField(help_text='Mix, requests a second, needs: what it was made from.')),
                ('first_seen_at', models.DateTimeField(help_text='Since when it is wanted without a break.')),
                ('confirmed_at', models.DateTimeField(help_text='When a tick last wanted it.')),
                ('opened_at', models.DateTimeField(null=True)),
                ('expires_at', models.DateTimeField(null=True)),
                ('decided_at', models.DateTimeField(null=True)),
                ('decided_reason', models.TextField(blank=True)),
                ('closed_at', models.DateTimeField(null=True)),
                ('closed_reason', models.TextField(blank=True)),
                ('decided_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('service', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='suggestions', to='inventory.service')),
            ],
            options={
                'ordering': ('-first_seen_at', '-id'),
                'indexes': [models.Index(fields=['state', 'decided_at'], name='controller__state_d8fefd_idx')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('state__in', [controller.core.lifecycle.SuggestionState['FORMING'], controller.core.lifecycle.SuggestionState['OPEN']])), fields=('service',), name='one_live_suggestion_per_service')],
            },
        ),
    ]
