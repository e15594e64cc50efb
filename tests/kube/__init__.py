"""A Kubernetes API server for tests: real sockets, documented semantics, faults on demand.

    from tests.kube import Double, Rule, deployment, fleet, faults

    with Double() as kube:                        # or the fixture ``kube``; Double(tls=True)
        kube.put(*fleet(16), deployment("prod", "chat-decode", 4, gpus=2))
        kube.address, kube.token                  # the token may do everything
        kube.kubeconfig(tmp_path / "config")      # for clients that want one (kubectl: with TLS)
        token = kube.grant(yaml.safe_load_all(manifest))          # of its RBAC roles and bindings
        token = kube.account("heteroscale", [Rule(("get", "list", "watch"), ("nodes", "pods"))])

What others do, past the wire (no request is logged, each write is):

    kube.get("deployments", "prod", "chat-decode")["spec"]["replicas"]
    kube.change("deployments", "prod", "chat-decode", {"spec": {"replicas": 3}}, by="kubectl")
    kube.scale("deployments", "prod", "chat-decode", 5, by="kube-controller-manager")   # an HPA
    kube.recreate("deployments", "prod", "chat-decode")      # another uid
    kube.put(broken, checked=False)               # an object that no schema has seen
    kube.hook(lambda asked: capped(asked.new))    # an admission webhook; it may raise ApiError

Controllers, scheduler and kubelets make pods, nodes and status of it, when they are let:

    kube.settle()                                 # until nothing changes; kube.step(3): rounds
    kube.run()                                    # by themselves, in a thread
    kube.all("pods", "prod", "app=chat-decode")
    kube.kubelet.ready_after = 5; kube.kubelet.stuck["chat-decode"] = "ImagePullBackOff"
    kube.kubelet.unready.add(pod)                 # runs, and is not ready

What goes wrong: a fault hits the next request that fits, or ``nth``, or ``times`` of them:

    kube.fault(faults.answer(503), method="PATCH", path="chat-decode")
    kube.fault(faults.answer(503, done=True), ...)      # carried out, and yet a 503
    kube.fault(faults.answer(429, retry_after="30"), times=None)
    kube.fault(faults.drop(done=True), method="PATCH")  # carried out, the answer is lost
    kube.fault(faults.truncate(), path="/pods")         # half the body
    kube.fault(faults.stale(then), method="GET")        # as it was at version ``then``
    held = faults.Hold(); kube.fault(held, method="PATCH"); held.arrived.wait(); held.release()
    kube.fault(faults.duplicated(), path="/pods", when=lambda r: "watch" in r.query)
    kube.end_watches(gone=True); kube.compact(); kube.pause(); kube.resume(); kube.heal()
    kube.close(); kube.start()                          # connections refused, and back

What happened:

    [w.epoch for w in kube.writes("deployments", "prod", "chat-decode", by="heteroscale")]
    [r.code for r in kube.asked("PATCH", "chat-decode")]      # r.body, r.agent, r.account, r.fault
"""

from tests.kube import faults
from tests.kube.accounts import EVERYTHING, Rule
from tests.kube.builders import (
    autoscaler,
    deployment,
    dynamo,
    dynamo_adapter,
    fleet,
    leaderworkerset,
    node,
    rolebasedgroup,
    rolebasedgroup_adapter,
    statefulset,
    template,
)
from tests.kube.double import Double
from tests.kube.kinds import Kind, Scale
from tests.kube.objects import Admission
from tests.kube.status import ApiError
from tests.kube.store import Write
from tests.kube.wire import Reply, Request

__all__ = [
    "EVERYTHING",
    "Admission",
    "ApiError",
    "Double",
    "Kind",
    "Reply",
    "Request",
    "Rule",
    "Scale",
    "Write",
    "autoscaler",
    "deployment",
    "dynamo",
    "dynamo_adapter",
    "faults",
    "fleet",
    "leaderworkerset",
    "node",
    "rolebasedgroup",
    "rolebasedgroup_adapter",
    "statefulset",
    "template",
]
