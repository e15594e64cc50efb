"""Connect clusters, check what we may there, and print the rights that are needed."""

import json
import sys
from typing import Any, Final

from django.core.management.base import CommandParser
from django.utils import timezone

from controller import wiring
from controller.core.kube import rights
from controller.core.kube.access import Credentials
from controller.core.kube.errors import KubeError
from controller.core.kube.kinds import Gate, WorkloadKind
from controller.core.kube.manifest import manifest
from controller.core.kube.preflight import Check
from controller.management import stopping
from controller.management.answering import (
    FAILED,
    AnswerError,
    AnsweringCommand,
    document,
    text_file,
)
from controller.selectors import clusters
from controller.services import cluster_access, kubeconfig, preflight
from controller.services.errors import InvalidError, SteeringError
from inventory.models import Cluster, ClusterAccess

KINDS: Final = tuple(kind.value for kind in WorkloadKind if kind is not WorkloadKind.SCALE)
FIELDS: Final = {
    "kubeconfig": "--kubeconfig",
    "context": "--context",
    "server": "--server",
    "ca": "--ca",
    "token": "--token-file",
    "certificate": "--kubeconfig",
    "key": "--kubeconfig",
    "namespaces": "--namespaces",
    "way": "--in-cluster",
    "slug": "NAME",
}
_WAY: Final = ClusterAccess.Way


class Command(AnsweringCommand):
    """Connects, checks, lists and disconnects clusters of Kubernetes."""

    help = "Connect clusters of Kubernetes, check what may be done there, print the rights needed."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add one subcommand for each thing to do."""
        acts = parser.add_subparsers(dest="act", required=True)
        _add(acts.add_parser("add", help="connect a cluster, or say anew how it is reached"))
        _rights(acts.add_parser("rights", help="print the rights it has to give us, as YAML"))
        checking = acts.add_parser("check", help="ask it what we may do there")
        checking.add_argument("name", metavar="NAME")
        reading = acts.add_parser("nodes", help="print its nodes as import_fleet reads them")
        reading.add_argument("name", metavar="NAME")
        removing = acts.add_parser("remove", help="forget how it is reached; its nodes stay")
        removing.add_argument("name", metavar="NAME")
        removing.add_argument("--reason", required=True, help="what the next person reads")
        listing = acts.add_parser("list", help="which are connected, and how they answer")
        for each in (checking, reading, removing, listing):
            each.add_argument("--json", action="store_true", help="answer one JSON document")

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Do it as the person at the command line.

        Exit 1 when a right that is needed lacks or the change was refused, 2 for a value that
        can't be used.
        """
        try:
            answer = _ACTS[options["act"]](options)
        except InvalidError as fault:
            wrong = AnswerError("bad_value", str(fault), FIELDS.get(fault.field, fault.field))
            raise stopping.refused(wrong, options, self.stdout) from fault
        except KubeError as fault:
            silent = AnswerError("no_answer", fault.text, "NAME", status=FAILED)
            raise stopping.refused(silent, options, self.stdout) from fault
        except (AnswerError, SteeringError) as refusal:
            raise stopping.refused(refusal, options, self.stdout) from refusal
        self.stdout.write(document(answer) if options["json"] else answer["sentence"])
        if answer.get("lacking"):
            sys.exit(FAILED)


def _add(parser: CommandParser) -> None:
    parser.add_argument("name", metavar="NAME", help="what it is called here")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--kubeconfig", metavar="FILE", help=f"what `{kubeconfig.INLINE}` prints")
    way.add_argument("--server", metavar="URL", help="the address of its API server")
    way.add_argument("--in-cluster", action="store_true", help="the account of this pod")
    parser.add_argument("--context", default="", help="which of the kubeconfig's contexts")
    parser.add_argument("--ca", metavar="FILE", help="with --server: who signed its certificate")
    parser.add_argument("--token-file", metavar="FILE", help="with --server: the token")
    parser.add_argument("--namespaces", default="", help="look at a,b only; else at all")
    parser.add_argument("--region", default="", help="where a cluster that is new here is")
    parser.add_argument("--reason", default="", help="what the next person reads")
    parser.add_argument("--json", action="store_true", help="answer one JSON document")


def _rights(parser: CommandParser) -> None:
    parser.add_argument("--cluster", metavar="NAME", help="for what is used there by now")
    parser.add_argument("--kinds", default="", help=f"of workloads, comma between: {list(KINDS)}")
    parser.add_argument("--namespaces", default="", help="in a,b only; else in all")
    parser.add_argument("--gate", choices=[gate.value for gate in Gate], default="none")
    parser.add_argument("--observe", action="store_true", help="to look on only")
    parser.add_argument("--json", action="store_true", help="answer one JSON document")


def _added(options: dict[str, Any]) -> dict[str, Any]:
    draft = _draft(options)
    cluster = cluster_access.connect(
        options["name"],
        draft,
        user=stopping.person(),
        reason=options["reason"],
        region=options["region"],
    )
    answer = _checked(options)
    return answer | {"sentence": f"{cluster.slug} is connected.\n{answer['sentence']}"}


def _draft(options: dict[str, Any]) -> cluster_access.Draft:
    namespaces = cluster_access.read_namespaces(options["namespaces"])
    if options["in_cluster"]:
        return cluster_access.Draft(_WAY.IN_CLUSTER, namespaces=namespaces)
    if options["kubeconfig"]:
        text = text_file("--kubeconfig", options["kubeconfig"])
        given = kubeconfig.read(text, options["context"])
        return cluster_access.Draft(_WAY.KUBECONFIG, given, namespaces)
    given = Credentials(
        options["server"],
        ca=text_file("--ca", options["ca"]) if options["ca"] else "",
        token=text_file("--token-file", options["token_file"]) if options["token_file"] else "",
    )
    return cluster_access.Draft(_WAY.TOKEN, given, namespaces)


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    cluster = _cluster(options["name"])
    found = preflight.check(cluster, wiring.api_of, user=stopping.person())
    lines = [_line(check) for check in found.checks]
    if not found.lacking:
        lines.append("Nothing that is needed lacks.")
    return {
        "cluster": cluster.slug,
        "account": found.account,
        "checks": [check.plain() for check in found.checks],
        "lacking": len(found.lacking),
        "sentence": "\n".join(lines),
    }


def _line(check: Check) -> str:
    where = f" in {check.where}" if check.where else ""
    return f"{check.word:>7}  {check.what}{where}: {check.said}"


def _printed(options: dict[str, Any]) -> dict[str, Any]:
    namespaces = cluster_access.read_namespaces(options["namespaces"])
    asked = preflight.Asked(
        rights.usual(_kinds(options["kinds"]), Gate(options["gate"])), namespaces
    )
    if options["cluster"]:
        known = preflight.asked_of(_cluster(options["cluster"]))
        asked = preflight.Asked(known.used, namespaces or known.namespaces)
    wanted = rights.wanted(asked.used, acts=not options["observe"])
    text = manifest(wanted, asked.namespaces)
    return {"manifest": text, "sentence": text}


def _kinds(text: str) -> tuple[WorkloadKind, ...]:
    names = text.replace(",", " ").split()
    if unknown := [name for name in names if name not in KINDS]:
        said = f"there is no kind {unknown[0]!r}, but {', '.join(KINDS)}"
        raise AnswerError("bad_value", said, "--kinds")
    return tuple(map(WorkloadKind, names)) or rights.USUAL


def _listed(_options: dict[str, Any]) -> dict[str, Any]:
    rows = [clusters.plain(each) for each in clusters.read_clusters(timezone.now())]
    said = "\n".join(f"{row['cluster']}: {row['state']}, {row['server']}" for row in rows)
    return {"clusters": rows, "sentence": said or "No cluster is connected."}


def _nodes(options: dict[str, Any]) -> dict[str, Any]:
    text = wiring.nodes_of(_cluster(options["name"])).decode()
    return {"nodes": json.loads(text), "sentence": text}


def _removed(options: dict[str, Any]) -> dict[str, Any]:
    name = options["name"]
    cluster_access.remove(name, user=stopping.person(), reason=options["reason"])
    said = f"{name} is not connected any more. Its nodes and services stay; nothing is known now."
    return {"cluster": name, "sentence": said}


def _cluster(name: str) -> Cluster:
    found = clusters.find(name)
    if found is None:
        raise AnswerError("unknown_cluster", f"No cluster {name!r} is connected.", "NAME")
    return found


_ACTS: Final = {
    "add": _added,
    "check": _checked,
    "rights": _printed,
    "list": _listed,
    "nodes": _nodes,
    "remove": _removed,
}
