"""What sizes a service beyond its target: look ahead, backlog, latency, schedule, engine speeds."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('inventory', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='policy',
            name='adapt',
            field=models.CharField(choices=[('off', 'off: target and ratio stay as entered'), ('propose', 'propose: shown, to be adopted by a person'), ('automatic', 'automatic: used in place of those entered')], default='off', help_text='What becomes of the target and ratio reckoned for the present requests; nothing is reckoned without engine profiles.', max_length=16, verbose_name='following the mix'),
        ),
        # Policies that are there stay as they are; new ones follow the mix.
        migrations.AlterField(
            model_name='policy',
            name='adapt',
            field=models.CharField(choices=[('off', 'off: target and ratio stay as entered'), ('propose', 'propose: shown, to be adopted by a person'), ('automatic', 'automatic: used in place of those entered')], default='automatic', help_text='What becomes of the target and ratio reckoned for the present requests; nothing is reckoned without engine profiles.', max_length=16, verbose_name='following the mix'),
        ),
        migrations.AddField(
            model_name='policy',
            name='damp_frac',
            field=models.FloatField(default=1.0, help_text='Share of a wanted change that is made at once; 1 makes all of it.', verbose_name='damping [share]'),
        ),
        migrations.AddField(
            model_name='policy',
            name='drain_s',
            field=models.FloatField(default=120, help_text='Waiting requests count as load to be served in this time; 0 leaves them out.', verbose_name='work off a backlog within [s]'),
        ),
        migrations.AddField(
            model_name='policy',
            name='force_driver',
            field=models.BooleanField(default=False, help_text='Lets a signal drive that does not grow in proportion to the load.', verbose_name='take the driver as it is'),
        ),
        migrations.AddField(
            model_name='policy',
            name='hold_s',
            field=models.FloatField(default=3600, help_text='0 provides for the load of now.', verbose_name='provide for the peak of the last [s]'),
        ),
        migrations.AddField(
            model_name='policy',
            name='latency_idle',
            field=models.FloatField(default=0.5, help_text='Below this the latency policy, where it is the only one, asks for less.', verbose_name='idle latency [× goal]'),
        ),
        migrations.AddField(
            model_name='policy',
            name='latency_moderate',
            field=models.FloatField(default=1.1, help_text='Above this the latency policy asks for a small step out.', verbose_name='moderate latency [× goal]'),
        ),
        migrations.AddField(
            model_name='policy',
            name='latency_severe',
            field=models.FloatField(default=1.5, help_text='Above this the latency policy asks for a large step out.', verbose_name='severe latency [× goal]'),
        ),
        migrations.AddField(
            model_name='policy',
            name='lead_s',
            field=models.FloatField(blank=True, help_text='How long an instance takes from order to service; empty: measured.', null=True, verbose_name='start-up time [s]'),
        ),
        migrations.AddField(
            model_name='policy',
            name='margin_frac',
            field=models.FloatField(blank=True, help_text='What is added for growth during a start; empty: measured from how the load outran its peaks.', null=True, verbose_name='margin [share]'),
        ),
        migrations.AddField(
            model_name='policy',
            name='ratio_band',
            field=models.FloatField(default=8.0, help_text='A reckoned ratio stays between the P/D ratio divided and multiplied by this.', verbose_name='farthest a ratio may go [×]'),
        ),
        migrations.AddField(
            model_name='policy',
            name='schedule',
            field=models.JSONField(blank=True, default=list, help_text='Windows of time and the counts they ask for, as a JSON list of objects: name, begin and end (HH:MM), prefill, decode, kind (floor or target), days (0 is Monday), dates and except_dates (YYYY-MM-DD).'),
        ),
        migrations.AddField(
            model_name='policy',
            name='slo_margin_frac',
            field=models.FloatField(default=0.1, help_text='Instances are sized, and a scale-in is judged, for goals tighter by this.', verbose_name='room below the goals [share]'),
        ),
        migrations.AddField(
            model_name='policy',
            name='step_out_frac',
            field=models.FloatField(default=1.0, help_text='1 lets one change double a role.', verbose_name='largest step out [share]'),
        ),
        migrations.AddField(
            model_name='policy',
            name='time_zone',
            field=models.CharField(default='UTC', help_text="In which the schedule's times are meant, like Europe/Berlin.", max_length=64),
        ),
        migrations.AddField(
            model_name='rolespec',
            name='profile',
            field=models.CharField(blank=True, help_text="Built in or kept here. With one for each role, what the load needs is reckoned from the engines' speeds; without, from the driver and its target alone.", max_length=80, verbose_name='engine profile'),
        ),
        migrations.AlterField(
            model_name='policy',
            name='step_abs',
            field=models.PositiveIntegerField(default=4, help_text='One change moves a role by this or by the share, whichever is more.', verbose_name='largest step [instances]'),
        ),
        migrations.AlterField(
            model_name='policy',
            name='step_frac',
            field=models.FloatField(default=0.25, verbose_name='largest step in [share]'),
        ),
        migrations.AlterField(
            model_name='policy',
            name='cooldown_out_s',
            field=models.FloatField(default=15, verbose_name='cooldown after scale-out [s]'),
        ),
    ]
