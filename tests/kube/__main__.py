"""The double as a process of its own: ``python -m tests.kube --port 6443 --nodes 500``.

It prints its address and the token of an account that may do everything, runs its controllers,
and ends with SIGTERM. A scenario is a file of manifests (YAML), or of Python with
``prepare(kube)``, which may set faults as well.
"""

from __future__ import annotations

import argparse
import runpy
import signal
import sys
import threading
from pathlib import Path

import yaml

from tests.kube.builders import deployment, fleet
from tests.kube.double import Double


def main() -> None:
    """Serve until told to stop."""
    asked = _arguments()
    kube = Double(port=asked.port, tls=asked.tls)
    kube.account("system:serviceaccount:heteroscale:heteroscale", token=asked.token)
    kube.put(*fleet(asked.nodes))
    for name, replicas in (("chat-prefill", asked.prefill), ("chat-decode", asked.decode)):
        if replicas:
            kube.put(deployment("prod", name, replicas, gpus=asked.gpus))
    for path in asked.scenario:
        prepare(kube, path)
    kube.start()
    if asked.kubeconfig:
        kube.kubeconfig(asked.kubeconfig)
    if asked.every:
        kube.run(asked.every)
    sys.stdout.write(f"{kube.address} {kube.token}\n")
    sys.stdout.flush()
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    stop.wait()
    kube.close()


def prepare(kube: Double, path: Path) -> None:
    """Set up what a file describes."""
    if path.suffix == ".py":
        runpy.run_path(str(path))["prepare"](kube)
    else:
        kube.put(*(each for each in yaml.safe_load_all(path.read_text()) if each))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.kube", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--tls", action="store_true", help="with a certificate of its own CA")
    parser.add_argument("--token", default="", help="a bearer token that may do everything")
    parser.add_argument("--kubeconfig", type=Path, help="where to write a kubeconfig")
    parser.add_argument("--nodes", type=int, default=0, help="of 8 GPUs each")
    parser.add_argument("--prefill", type=int, default=0, help="replicas of prod/chat-prefill")
    parser.add_argument("--decode", type=int, default=0, help="replicas of prod/chat-decode")
    parser.add_argument("--gpus", type=int, default=1, help="of each of their pods")
    parser.add_argument("--every", type=float, default=0.5, help="seconds between two rounds")
    parser.add_argument("--scenario", type=Path, action="append", default=[], metavar="FILE")
    return parser.parse_args()


main()
