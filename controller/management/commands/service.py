"""Set up services out of what runs in a cluster, and say what may be done with them."""

from dataclasses import replace
from typing import Any, Final

from django.core.management.base import CommandParser
from django.utils import timezone

from controller import wiring
from controller.core.kube.errors import KubeError
from controller.core.kube.offers import Offer, pairs
from controller.core.types import ROLES, Role
from controller.management import stopping
from controller.management.answering import FAILED, AnswerError, AnsweringCommand, document
from controller.selectors import clusters, service_proposal, service_sizing, would_have
from controller.services import modes, service_setup
from controller.services.errors import InvalidError, SteeringError
from inventory.models import Cluster, Service

VALUES: Final = (("ttft", "ttft_s"), ("tbt", "tbt_s"), ("target", "target"), ("ratio", "pd_ratio"))
GOALS: Final = VALUES[:2]
PER_ROLE: Final = ("gpus", "minimum", "maximum")
OF_ROLE: Final = ("hardware", *PER_ROLE, "profile")
NONE: Final = "none"
PROFILE: Final = "how fast its engine is, built in or kept; without, one that fits; or none"
WORKLOAD: Final = "kind/namespace/name, such as deployment/prod/chat-decode"


class Command(AnsweringCommand):
    """Lists workloads that may become services, sets services up, and changes their mode."""

    help = "Set up services out of what runs in a cluster, and say what may be done with them."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add one subcommand for each thing to do."""
        acts = parser.add_subparsers(dest="act", required=True)
        listing = acts.add_parser("workloads", help="what runs in a cluster that may become one")
        listing.add_argument("--cluster", required=True, metavar="NAME")
        adding = acts.add_parser("add", help="set up a service that is observed")
        _add(adding)
        would = acts.add_parser("would", help="what would have been done to one that is observed")
        would.add_argument("slug", metavar="NAME")
        changing = acts.add_parser("mode", help="say what the controller may do with it")
        changing.add_argument("slug", metavar="NAME")
        changing.add_argument("mode", choices=Service.Mode.values)
        changing.add_argument("--reason", required=True, help="what the next person reads")
        for each in (listing, adding, would, changing):
            each.add_argument("--json", action="store_true", help="answer one JSON document")

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Do it as the person at the command line.

        Exit 1 when it was refused or the cluster does not answer, 2 for a value of no use.
        """
        try:
            answer = _ACTS[options["act"]](options)
        except InvalidError as fault:
            option = _option(fault.field)
            raise stopping.refused(
                AnswerError("bad_value", str(fault), option), options, self.stdout
            ) from fault
        except KubeError as fault:
            silent = AnswerError("no_answer", fault.text, "--cluster", status=FAILED)
            raise stopping.refused(silent, options, self.stdout) from fault
        except (AnswerError, SteeringError) as refusal:
            raise stopping.refused(refusal, options, self.stdout) from refusal
        self.stdout.write(document(answer) if options["json"] else answer["sentence"])


def _add(parser: CommandParser) -> None:
    parser.add_argument("slug", metavar="NAME", help="what it is called here")
    parser.add_argument("--cluster", required=True, metavar="NAME", help="one that is connected")
    parser.add_argument("--model", default="", help="which model it serves")
    parser.add_argument("--source", help="the metrics source that it reads from")
    parser.add_argument("--presets", help="its engines there, comma between: vllm")
    for option, _ in VALUES:
        parser.add_argument(f"--{option}", type=float)
    for role in ROLES:
        parser.add_argument(f"--{role}", required=True, metavar="WORKLOAD", help=WORKLOAD)
        parser.add_argument(f"--{role}-hardware", metavar="TYPE")
        for name in PER_ROLE:
            parser.add_argument(f"--{role}-{name}", type=int, metavar="N")
        parser.add_argument(f"--{role}-profile", metavar="NAME", help=PROFILE)


def _option(field: str) -> str:
    known = {name: option for option, name in VALUES} | {"slug": "NAME"}
    return known.get(field, f"--{field.removesuffix('_workload').replace('_', '-')}")


def _workloads(options: dict[str, Any]) -> dict[str, Any]:
    found = wiring.offers_of(_cluster(options["cluster"]))
    lines = [f"{offer.key}: {offer.count} now, {_role(offer)}" for offer in found.offers]
    lines += [
        f"{pair.name}: --prefill {pair.prefill.key} --decode {pair.decode.key}"
        for pair in pairs(found.offers)
    ]
    return {
        "workloads": [
            {
                "key": offer.key,
                "count": offer.count,
                "gpus": offer.gpus,
                "role": offer.role.value if offer.role else None,
                "why": offer.why,
            }
            for offer in found.offers
        ],
        "told": list(found.told),
        "sentence": "\n".join((*lines, *found.told)) or "No workload with GPUs was found.",
    }


def _role(offer: Offer) -> str:
    gpus = f"{offer.gpus} GPUs each" if offer.gpus else "GPUs not told"
    return f"{gpus}, {offer.role} by {offer.why}" if offer.role else f"{gpus}, role not told"


def _added(options: dict[str, Any]) -> dict[str, Any]:
    cluster = _cluster(options["cluster"])
    known = {offer.key: offer for offer in wiring.offers_of(cluster).offers}
    offers = {role: _chosen(known, options[role.value], role) for role in ROLES}
    under = {role: wiring.nodes_under(cluster, offers[role]) for role in ROLES}
    found = service_proposal.propose(cluster, options["slug"], offers, under)
    proposed = _reckoned(_given(options, found), offers)
    made = service_setup.set_up(cluster, _wish(options, offers, proposed), user=stopping.person())
    said = f"{made.slug} is observed: what would be done is recorded, nothing is."
    return {
        "service": made.slug,
        "mode": made.mode,
        "basis": list(proposed.basis),
        "sentence": "\n".join((said, *proposed.basis)),
    }


def _reckoned(
    proposed: service_proposal.Proposed, offers: dict[Role, Offer]
) -> service_proposal.Proposed:
    engines = service_sizing.engines(proposed.values, offers)
    filled = service_sizing.with_engines(proposed, engines)
    return service_sizing.reckoned(filled, engines, offers)


def _given(options: dict[str, Any], found: service_proposal.Proposed) -> service_proposal.Proposed:
    """Return what is proposed with what was given in its place, but for target and ratio.

    Those are reckoned from it, and put over it afterwards.
    """
    given = {name: options[opt] for opt, name in GOALS}
    given |= {f"{role}_{name}": options[f"{role}_{name}"] for role in ROLES for name in OF_ROLE}
    given |= {"model": options["model"] or None}
    typed = {name: value for name, value in given.items() if value is not None}
    for role in ROLES:
        if typed.get(f"{role}_profile") == NONE:
            typed[f"{role}_profile"] = ""
    return replace(found, values={**found.values, **typed})


def _chosen(known: dict[str, Offer], key: str, role: Role) -> Offer:
    if key not in known:
        said = f"{key!r} is not among the workloads there: `service workloads` lists them"
        raise AnswerError("unknown_workload", said, f"--{role}")
    return known[key]


def _wish(
    options: dict[str, Any], offers: dict[Role, Offer], proposed: service_proposal.Proposed
) -> service_setup.Wish:
    values = dict(proposed.values)
    values |= {name: options[opt] for opt, name in VALUES if options[opt] is not None}
    asked = options["source"]
    if asked is not None and asked != values.get("source"):
        values |= {"source": asked, "found": ""}
    if options["presets"]:
        values |= {"presets": options["presets"].replace(",", " ").split(), "found": ""}
    return service_setup.Wish(
        slug=options["slug"],
        model=values["model"],
        roles={role: _role_wish(role, offers[role], values) for role in ROLES},
        source=values.get("source", ""),
        found=values.get("found", ""),
        presets=tuple(values.get("presets", ())),
        **{name: values[name] for _, name in VALUES},
    )


def _role_wish(role: Role, offer: Offer, values: dict[str, Any]) -> service_setup.RoleWish:
    return service_setup.RoleWish(offer, **{name: values[f"{role}_{name}"] for name in OF_ROLE})


def _would(options: dict[str, Any]) -> dict[str, Any]:
    service = would_have.find(options["slug"])
    if service is None:
        raise AnswerError("unknown_service", f"There is no service {options['slug']!r}.", "NAME")
    found = would_have.read(service, timezone.now())
    said = (
        f"{found.counted.wanted} changes recorded in {would_have.DAYS} days, "
        f"{found.counted.would} would have been made."
    )
    lines = [
        f"{one.last_at.isoformat(timespec='seconds')} {one.sentence}" for one in found.decisions
    ]
    return {
        "service": service.slug,
        "mode": service.mode,
        "recorded": found.counted.wanted,
        "would": found.counted.would,
        "sentence": "\n".join((said, *lines)),
    }


def _changed(options: dict[str, Any]) -> dict[str, Any]:
    slug, mode = options["slug"], options["mode"]
    found = would_have.find(slug)
    seen = found.mode if found else ""
    changed = modes.change(slug, mode, seen=seen, user=stopping.person(), reason=options["reason"])
    said = f"{slug} is in mode {mode} from now on." if changed else f"{slug} is in mode {mode}."
    return {"service": slug, "mode": mode, "changed": changed, "sentence": said}


def _cluster(name: str) -> Cluster:
    found = clusters.find(name)
    if found is None:
        raise AnswerError("unknown_cluster", f"No cluster {name!r} is connected.", "--cluster")
    return found


_ACTS: Final = {"workloads": _workloads, "add": _added, "would": _would, "mode": _changed}
