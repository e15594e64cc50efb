"""What changed under a proposal since it was made: of all that an approval is bound to (A03)."""

from collections.abc import Iterator

from django.core.exceptions import ObjectDoesNotExist

from controller.core.lifecycle import ProposalState
from controller.core.overrides import digest
from controller.core.types import Instances
from controller.core.words import counts
from controller.models.orders import Orders
from controller.models.steering import Proposal
from inventory.models import Service
from inventory.snapshot import service_spec

LOOKED_AT = (ProposalState.PENDING, ProposalState.APPROVED)


def drift(proposal: Proposal, in_force: Orders, now_s: float) -> tuple[str, ...]:
    """Return in words what is no longer as it was: running the proposal would find it stale."""
    if proposal.state not in LOOKED_AT:
        return ()
    return tuple(_changes(proposal, in_force, now_s))


def _changes(proposal: Proposal, in_force: Orders, now_s: float) -> Iterator[str]:
    service = proposal.service
    policy, status = (getattr(service, part, None) for part in ("policy", "status"))
    if policy is not None and policy.revision != proposal.policy_revision:
        yield f"the policy is now revision {policy.revision}"
    if status is not None:
        asked = Instances(status.prefill_desired, status.decode_desired)
        if asked != (proposal.from_prefill, proposal.from_decode):
            yield f"the cluster was asked for {counts(asked)} meanwhile"
        elif status.resource_version != proposal.resource_version:
            yield "the cluster's object was changed meanwhile"
    if proposal.mode:  # empty: made before its mode and overrides were kept
        yield from _orders(proposal, in_force, now_s)


def _orders(proposal: Proposal, in_force: Orders, now_s: float) -> Iterator[str]:
    try:
        mode, overrides = _present(proposal.service, in_force, now_s)
    except (ObjectDoesNotExist, KeyError, ValueError):
        yield "the service's configuration can't be read any more"
        return
    if mode != proposal.mode:
        yield f"the service is in mode {mode} now"
    if overrides != proposal.overrides:
        yield "an override was set, changed or ended since"


def _present(service: Service, in_force: Orders, now_s: float) -> tuple[str, str]:
    """Return the mode and the digest of the overrides; a service under none is not steered."""
    if not in_force.over(service.slug):
        return service.mode, ""
    spec = in_force.steer(service_spec(service), now_s)
    return spec.mode.value, digest(spec.overrides)
