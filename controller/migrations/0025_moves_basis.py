from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('controller', '0024_who_decided_and_on_what'),
    ]

    operations = [
        migrations.AddField(
            model_name='rearrangement',
            name='basis',
            field=models.JSONField(default=dict, help_text='Policy revision, mode and overrides by service, as they were approved (A03).'),
        ),
    ]
