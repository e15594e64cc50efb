import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("inventory", "0004_fleet_rows")]
    operations = [
        migrations.RemoveField(model_name="hardwaretype", name="gpu_memory_gib"),
        migrations.RemoveField(model_name="node", name="s1"),
        migrations.RemoveField(model_name="rack", name="cluster"),
        migrations.RemoveField(model_name="rack", name="s1"),
        migrations.RemoveField(model_name="switch", name="parent"),
        migrations.AlterField(
            model_name="rack",
            name="site",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="racks",
                to="inventory.site",
            ),
        ),
        migrations.AlterField(
            model_name="switch",
            name="fabric",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="switches",
                to="inventory.fabric",
            ),
        ),
    ]
