"""The version of a service's workloads: what a decision rests on, whatever else changes (S13).

An object's own ``resourceVersion`` changes with each report of its status, every few seconds while
pods start. A decision rests on which objects they are and on the counts they hold.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from controller.core.kube.values import WorkloadRef, WorkloadSeen


def token_of(workloads: Iterable[tuple[WorkloadRef, WorkloadSeen]]) -> str:
    """Return the version of these workloads, in whatever order they come: 32 hex digits.

    It is another one as soon as an object was made anew under its name (K11) or holds another
    count (S25).
    """
    parts = sorted(
        f"{ref.role}|{ref.namespace}|{ref.plural}|{ref.name}|{ref.part}|{seen.uid}|{seen.replicas}"
        for ref, seen in workloads
    )
    return sha256("\n".join(parts).encode()).hexdigest()[:32]
