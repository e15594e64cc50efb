"""The account that a cluster has to have for us, as YAML: no right more than is used."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from controller.core.kube.rights import Right

ACCOUNT: Final = "heteroscale"
HOME: Final = "heteroscale"
"""The namespace of the account."""
_HEAD: Final = f"""\
# What HeteroScale may do in this cluster, and nothing more:
#   kubectl apply -f heteroscale-rights.yaml
# A token that ends by itself (the server may shorten it):
#   kubectl -n {HOME} create token {ACCOUNT} --duration=8760h
# The one of the Secret at the end, which never ends (leave the Secret out if that is not wanted):
#   kubectl -n {HOME} get secret {ACCOUNT}-token -o jsonpath='{{.data.token}}' | base64 -d
# The certificate authority of the server:
#   kubectl -n {HOME} get configmap kube-root-ca.crt -o jsonpath='{{.data.ca\\.crt}}'
apiVersion: v1
kind: Namespace
metadata:
  name: {HOME}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {ACCOUNT}
  namespace: {HOME}
"""
_TOKEN: Final = f"""\
apiVersion: v1
kind: Secret
metadata:
  name: {ACCOUNT}-token
  namespace: {HOME}
  annotations:
    kubernetes.io/service-account.name: {ACCOUNT}
type: kubernetes.io/service-account-token
"""


def manifest(rights: Collection[Right], namespaces: Sequence[str] = ()) -> str:
    """Return the YAML that gives an account these rights.

    Where ``namespaces`` are named, what is in a namespace is allowed in those alone.
    """
    wide = [right for right in rights if right.everywhere or not namespaces]
    narrow = [right for right in rights if not right.everywhere]
    documents = [_HEAD, *_given("Cluster", "", wide)]
    for namespace in namespaces:
        documents += _given("", namespace, narrow)
    return "---\n".join((*documents, _TOKEN))


def _given(scope: str, namespace: str, rights: Sequence[Right]) -> Iterator[str]:
    where = f"  namespace: {namespace}\n" if namespace else ""
    about = f"metadata:\n  name: {ACCOUNT}\n{where}"
    api = "apiVersion: rbac.authorization.k8s.io/v1\n"
    yield f"{api}kind: {scope}Role\n{about}rules:\n{''.join(_rules(rights))}"
    yield (
        f"{api}kind: {scope}RoleBinding\n{about}"
        "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n"
        f"  kind: {scope}Role\n  name: {ACCOUNT}\n"
        f"subjects:\n- kind: ServiceAccount\n  name: {ACCOUNT}\n  namespace: {HOME}\n"
    )


def _rules(rights: Iterable[Right]) -> Iterator[str]:
    """Yield a rule for each set of verbs in a group; why stands above it."""
    together: dict[tuple[str, tuple[str, ...]], list[Right]] = defaultdict(list)
    for right in rights:
        together[right.res.group, right.verbs].append(right)
    for (group, verbs), each in together.items():
        whys = "".join(f"# {right.what}: {right.why}\n" for right in each)
        resources = ", ".join(f'"{right.what}"' for right in each)
        told = ", ".join(f'"{verb}"' for verb in verbs)
        yield f'{whys}- apiGroups: ["{group}"]\n  resources: [{resources}]\n  verbs: [{told}]\n'
