"""What ``deploy/`` says is what ``up`` starts, under settings and rights that are real."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from django.core.management import get_commands
from django.urls import resolve
from lightkube import codecs

from controller.core.kube import manifest
from heteroscale_site.configuration import BASE_DIR, ConfigurationError, declared, load
from heteroscale_site.home import Home
from heteroscale_site.launch.product import background_programs, web_program
from heteroscale_site.production import PLACEHOLDER

KUBERNETES: Final = BASE_DIR / "deploy" / "kubernetes"
SYSTEMD: Final = BASE_DIR / "deploy" / "systemd"
EXAMPLE: Final = "secret.example.yaml"
NAMES: Final = {each.name for each in declared()} | {"HETEROSCALE_PROCESS"}
OWNER: Final = "HETEROSCALE_OWNER_URL"
COMMANDS: Final = get_commands().keys()
Object = dict[str, Any]


def documents() -> Iterator[Object]:
    for path in sorted(KUBERNETES.glob("*.yaml")):
        if path.name != "kustomization.yaml":
            yield from yaml.safe_load_all(path.read_text())


def of_kind(*kinds: str) -> list[Object]:
    return [one for one in documents() if one["kind"] in kinds]


def pod(one: Object) -> Object:
    found: Object = one["spec"]["template"]["spec"]
    return found


def containers(one: Object) -> list[Object]:
    return [*pod(one).get("initContainers", []), *pod(one)["containers"]]


def called(one: Object) -> str:
    found: str = one["metadata"]["name"]
    return found


def programs() -> dict[str, list[str]]:
    """Return what ``up`` starts beside servers: each name with its words after Python."""
    home = Home(Path("/nowhere"))
    web = web_program(home, host="0.0.0.0", port=8000, known_as="x")  # noqa: S104 - compared only
    found = (web, *background_programs(home, Path("manage.py")))
    return {program.name: list(map(str, program.command[1:])) for program in found}


def processes(found: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Leave out where the web server listens, which each place says for itself."""
    return {
        name: words[: words.index("--bind")] + words[words.index("--bind") + 2 :]
        if "--bind" in words
        else words
        for name, words in found.items()
    }


# Kubernetes.


@pytest.mark.parametrize(
    "one", [pytest.param(one, id=f"{one['kind']} {called(one)}") for one in documents()]
)
def test_every_field_of_a_manifest_is_one_that_kubernetes_knows(one: Object) -> None:
    # What a typed object does not know is lost on the way through it.
    assert codecs.from_dict(one).to_dict() == one
    if one["kind"] != "Namespace":
        assert one["metadata"]["namespace"] == manifest.HOME


def test_the_kustomization_has_every_manifest_but_the_example() -> None:
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    there = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml", EXAMPLE}
    assert set(kustomization["resources"]) == there
    assert {one["name"] for one in kustomization["images"]} == {
        container["image"] for one in of_kind("Deployment", "Job") for container in containers(one)
    }


def test_deployments_are_the_processes_that_up_starts() -> None:
    found = {
        called(one).removeprefix("heteroscale-"): pod(one)["containers"][0]["command"][1:]
        for one in of_kind("Deployment")
    }
    assert processes(found) == processes(programs())


def test_every_command_is_one_of_ours() -> None:
    for one in of_kind("Deployment", "Job"):
        for container in containers(one):
            words = container["command"]
            assert words[0] == "python"
            if words[1] == "manage.py":
                assert words[2] in COMMANDS


@pytest.mark.parametrize("one", of_kind("Deployment", "Job"), ids=called)
def test_pods_are_as_restricted_as_their_namespace_asks(one: Object) -> None:
    held = pod(one)["securityContext"]
    assert held["runAsNonRoot"]
    assert held["seccompProfile"] == {"type": "RuntimeDefault"}
    assert f"useradd --uid {held['runAsUser']} " in (BASE_DIR / "Containerfile").read_text()
    assert set(pod(one)).isdisjoint({"hostNetwork", "hostPID", "hostIPC"})
    for container in containers(one):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} == set(container["resources"])
        assert {each["mountPath"] for each in container["volumeMounts"]} == {
            "/tmp",  # noqa: S108 - an empty volume of the pod's own
            config_map()["HETEROSCALE_HOME"],
        }


def test_only_who_speaks_to_clusters_has_the_account() -> None:
    assert {pod(one)["serviceAccountName"] for one in of_kind("Deployment", "Job")} == {
        manifest.ACCOUNT
    }
    with_account = {
        called(one)
        for one in of_kind("Deployment", "Job")
        if pod(one)["automountServiceAccountToken"]
    }
    assert with_account == {"heteroscale-web", "heteroscale-watch", "heteroscale-worker-actions"}


def test_only_migrations_are_told_the_owners_password() -> None:
    reads = {
        called(one)
        for one in of_kind("Deployment", "Job")
        for container in containers(one)
        for source in container["envFrom"]
        if source.get("secretRef", {}).get("name") == "heteroscale-owner"
    }
    assert reads == {"heteroscale-migrate"}
    assert secrets()["heteroscale-owner"].keys() == {OWNER}


def config_map() -> dict[str, str]:
    (found,) = of_kind("ConfigMap")
    data: dict[str, str] = found["data"]
    return data


def secrets() -> dict[str, dict[str, str]]:
    return {called(one): one["stringData"] for one in of_kind("Secret")}


def test_every_setting_of_the_manifests_is_one() -> None:
    given = {*config_map(), *(name for one in secrets().values() for name in one)}
    for one in of_kind("Deployment", "Job"):
        for container in containers(one):
            given |= {each["name"] for each in container.get("env", [])}
    assert given <= NAMES


def test_probes_ask_for_pages_that_are_there_under_a_name_that_is_allowed() -> None:
    web = next(one for one in of_kind("Deployment") if called(one) == "heteroscale-web")
    (container,) = pod(web)["containers"]
    asked = [container[probe]["httpGet"] for probe in PROBES]
    assert [resolve(one["path"]).url_name for one in asked] == ["healthz", "healthz", "readyz"]
    names = config_map()["ALLOWED_HOSTS"].split(",")
    assert {header["value"] for one in asked for header in one["httpHeaders"]} <= set(names)
    (port,) = container["ports"]
    assert f"0.0.0.0:{port['containerPort']}" in container["command"]


PROBES: Final = ("startupProbe", "livenessProbe", "readinessProbe")


def test_what_is_selected_is_there() -> None:
    labels = {
        called(one): one["spec"]["template"]["metadata"]["labels"] for one in of_kind("Deployment")
    }
    for one in of_kind("Deployment", "PodDisruptionBudget"):
        assert one["spec"]["selector"]["matchLabels"] == labels[called(one)]
    for one in of_kind("Service"):
        assert one["spec"]["selector"] == labels[called(one)]
    (_, web) = of_kind("NetworkPolicy")
    assert web["spec"]["podSelector"]["matchLabels"] == labels["heteroscale-web"]


def test_a_stop_leaves_time_for_what_is_under_way() -> None:
    """P07: the longest job of a queue ends before its worker is killed; a backtest begins anew."""
    from django.conf import settings  # noqa: PLC0415 - beside its one use

    for one in of_kind("Deployment"):
        words = pod(one)["containers"][0]["command"]
        queues = [word for word in words if word in settings.RQ_QUEUES and word != "heavy"]
        longest_s = {"control": 30, "placement": 60, "actions": 120, "default": 300}
        needed_s = max((longest_s[queue] for queue in queues), default=0)
        assert pod(one)["terminationGracePeriodSeconds"] >= needed_s


# The examples.


def env_file(name: str) -> dict[str, str]:
    lines = (SYSTEMD / name).read_text().splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return {name: value for name, _, value in pairs}


def given(place: str) -> dict[str, str]:
    if place == "systemd":
        return env_file("heteroscale.env.example") | env_file("owner.env.example")
    found = secrets()
    return config_map() | found["heteroscale"] | found["heteroscale-owner"]


@pytest.mark.parametrize("place", ["kubernetes", "systemd"])
def test_an_example_is_refused_until_everything_in_it_is_ones_own(place: str) -> None:
    example = given(place)
    assert example.keys() <= NAMES
    own = {
        name: value.replace(f"{PLACEHOLDER}/16", "10.42.0.0/16").replace(PLACEHOLDER, "x" * 64)
        for name, value in example.items()
    }
    assert load(own).production
    for name in example:
        if PLACEHOLDER in example[name]:
            with pytest.raises(ConfigurationError, match=f"^{name}: .*write your own"):
                load({**own, name: example[name]})


# systemd.


def unit(path: Path) -> dict[str, list[str]]:
    """Return every setting of a unit file, whatever its section, with all its values."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def units() -> dict[str, dict[str, list[str]]]:
    return {path.name: unit(path) for path in sorted(SYSTEMD.glob("*.service"))}


def words_of(name: str) -> list[str]:
    (line,) = units()[name]["ExecStart"]
    python, *words = shlex.split(line)
    assert python == "/opt/heteroscale/.venv/bin/python"
    return words


def test_units_are_the_processes_that_up_starts() -> None:
    found = {}
    for line in unit(SYSTEMD / "heteroscale.target")["Wants"]:
        for name in line.split():
            template, at, instance = name.removesuffix(".service").partition("@")
            words = words_of(f"{template}{at}.service")
            queues = env_file(f"worker-{instance}.env")["QUEUES"].split() if at else []
            process = "-".join(filter(None, (template.removeprefix("heteroscale-"), instance)))
            found[process] = [
                each for word in words for each in (queues if word == "$QUEUES" else [word])
            ]
    assert processes(found) == processes(programs())
    assert {path.name for path in SYSTEMD.glob("worker-*.env")} == {
        f"{name}.env" for name in programs() if name.startswith("worker-")
    }


def test_commands_and_settings_of_units_are_real() -> None:
    for name, found in units().items():
        words = words_of(name)
        assert words[0] == "-m" or words[1] in COMMANDS
        pairs = [pair for line in found.get("Environment", []) for pair in line.split()]
        assert {pair.partition("=")[0] for pair in pairs} <= NAMES
        reads = "/etc/heteroscale/owner.env" in found.get("EnvironmentFile", [])
        assert reads is (name == "heteroscale-migrate.service")
    assert env_file("owner.env.example").keys() == {OWNER}


def test_units_are_valid(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze")
    shutil.copytree(SYSTEMD, tmp_path / "units")
    for path in (tmp_path / "units").rglob("*"):
        if path.suffix in {".service", ".target", ".conf"}:
            text = path.read_text().replace("/opt/heteroscale/.venv/bin/python", sys.executable)
            path.write_text(
                text.replace("WorkingDirectory=/opt/heteroscale", f"WorkingDirectory={BASE_DIR}")
            )
    names = [
        path.name.replace("@.", "@control.")
        for path in (tmp_path / "units").glob("heteroscale*")
        if path.is_file() and path.suffix in {".service", ".target"}
    ]
    said = subprocess.run(  # noqa: S603 - systemd's own
        ["systemd-analyze", "verify", "--man=no", *names],  # noqa: S607 - wherever it lies
        env={"PATH": "/usr/bin:/bin", "SYSTEMD_UNIT_PATH": f"{tmp_path / 'units'}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in said.stderr.splitlines() if "heteroscale" in line]
    assert (ours, said.returncode) == ([], 0), said.stderr


def test_the_image_has_what_is_imported_and_nothing_to_try_out_with() -> None:
    text = (BASE_DIR / "Containerfile").read_text()
    copied = set(re.findall(r"^COPY (\S+) ", text, re.MULTILINE))
    assert copied == {
        "requirements.txt", "manage.py",
        "controller", "heteroscale_site", "inventory", "static", "templates",
    }  # fmt: skip
    assert all((BASE_DIR / name).exists() for name in copied)
    assert "--require-hashes" in text
