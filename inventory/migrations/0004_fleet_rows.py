"""Move S1 and S2 from switches that stood for them to domains, racks to a site, GiB to MiB."""

from django.db import migrations


def forwards(apps, _schema):
    model = lambda name: apps.get_model("inventory", name)  # noqa: E731
    for hardware in model("HardwareType").objects.all():
        hardware.gpu_memory_mib = round(hardware.gpu_memory_gib * 1024)
        hardware.save()
    for cluster in model("Cluster").objects.all():
        _cluster(cluster, model)


def _cluster(cluster, model):
    fabric, _ = model("Fabric").objects.get_or_create(cluster=cluster, name="compute")
    domains, s1 = model("LocalityDomain").objects, {}
    switches = model("Switch").objects.filter(cluster=cluster)
    for upper in switches.filter(tier=2):
        s2 = domains.create(cluster=cluster, level="S2", key=upper.name.lower(), name=upper.name)
        for lower in switches.filter(tier=1, parent=upper):
            s1[lower.pk] = _domain(domains, cluster, lower, s2)
    for lower in switches.filter(tier=1, parent=None):
        s1[lower.pk] = _domain(domains, cluster, lower, None)
    for node in model("Node").objects.filter(cluster=cluster):
        at = s1.get(node.s1_id)
        if at is not None:
            node.s1_domain, node.s2_domain = at, at.parent
            node.tiers = [at.name, *([at.parent.name] if at.parent else [])]
            node.save()
    for switch in switches:
        switch.fabric, switch.tier = fabric, switch.tier - 1
        switch.save()
    racks = model("Rack").objects.filter(cluster=cluster)
    if racks.exists():
        site, _ = model("Site").objects.get_or_create(
            region=cluster.region, slug=cluster.slug, defaults={"name": cluster.slug}
        )
        racks.update(site=site)


def _domain(domains, cluster, switch, parent):
    return domains.create(
        cluster=cluster, level="S1", key=switch.name.lower(), name=switch.name, parent=parent
    )


class Migration(migrations.Migration):
    dependencies = [("inventory", "0003_fleet")]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
