"""Whatever is written in whatever order: a watch and a list tell the same."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.kube import ApiError, Double, deployment
from tests.kube.faults import Lines
from tests.kube.listing import Asked, Watch, listed
from tests.kube.selectors import by_labels

NAMES = ("a", "b", "c")
LABELS = ("on", "off", None)
SELECTORS = ("", "gate=on", "gate!=on", "gate in (on, off)", "!gate")

Write = tuple[str, str, Any]
Said = dict[str, dict[str, Any]]

writes = st.lists(
    st.tuples(
        st.sampled_from(("put", "count", "label", "status", "delete", "mark")),
        st.sampled_from(NAMES),
        st.integers(0, 3),
    ),
    max_size=25,
)


def write(kube: Double, what: Write) -> None:
    """Do one of them; what the server refuses changes nothing."""
    do, name, number = what
    where = ("deployments", "prod", name)
    with contextlib.suppress(ApiError):
        if do == "put":
            kube.put(deployment("prod", name, number, {"gate": "on"}))
        elif do == "count":
            kube.change(*where, {"spec": {"replicas": number - 1}})
        elif do == "label":
            kube.change(*where, {"metadata": {"labels": {"gate": LABELS[number % 3]}}})
        elif do == "status":
            kube.change(*where, {"status": {"replicas": number}})
        elif do == "mark":
            keep = ["example.com/wait"] if number else None
            kube.change(*where, {"metadata": {"finalizers": keep}})
        elif do == "delete":
            kube.delete(*where)


def asked(kube: Double, **query: Any) -> Asked:
    return Asked(kube.kind("deployments"), "prod", {k: str(each) for k, each in query.items()})


def by_name(text: bytes) -> Said:
    return {each["metadata"]["name"]: each for each in json.loads(text)["items"]}


def replayed(begin: Said, lines: Lines) -> Said:
    """Return what a client knows that began with a list and was told events."""
    known = dict(begin)
    for line in lines:
        event = json.loads(line)
        name = event["object"]["metadata"]["name"]
        assert (event["type"] == "ADDED") == (name not in known), event["type"]
        if event["type"] == "DELETED":
            del known[name]
        else:
            known[name] = event["object"]
    return known


def events(kube: Double, version: int, selector: str) -> Lines:
    """Yield what there is to tell after a version, without waiting for more."""
    query = asked(kube, resourceVersion=version, labelSelector=selector, timeoutSeconds=0.000001)
    watch = Watch(kube.store, query, 60.0, gone=lambda: False, wait=lambda: None)
    return watch.lines()


@given(writes, st.sampled_from(SELECTORS), st.data())
def test_a_watch_from_any_version_comes_to_the_same_as_a_list(
    changes: Sequence[Write], selector: str, data: st.DataObject
) -> None:
    kube = Double()
    lists: dict[int, Said] = {kube.version: {}}
    for change in changes:
        write(kube, change)
        lists[kube.version] = by_name(listed(kube.store, asked(kube, labelSelector=selector)))
    begin = data.draw(st.sampled_from(sorted(lists)))
    assert replayed(lists[begin], events(kube, begin, selector)) == lists[kube.version]


@given(writes, st.sampled_from(SELECTORS))
def test_the_list_of_a_version_is_what_it_was(changes: Sequence[Write], selector: str) -> None:
    kube = Double()
    then: dict[int, Said] = {}
    for change in changes:
        write(kube, change)
        then[kube.version] = by_name(listed(kube.store, asked(kube, labelSelector=selector)))
    for version, expect in then.items():
        exact = asked(
            kube,
            labelSelector=selector,
            resourceVersion=version,
            resourceVersionMatch="Exact",
        )
        assert by_name(listed(kube.store, exact)) == expect


@given(writes, st.integers(1, 4), writes)
def test_a_list_in_parts_is_whole_whatever_is_written_meanwhile(
    changes: Sequence[Write], limit: int, meanwhile: Sequence[Write]
) -> None:
    kube = Double()
    for change in changes:
        write(kube, change)
    whole = by_name(listed(kube.store, asked(kube)))
    found: Said = {}
    part = json.loads(listed(kube.store, asked(kube, limit=limit)))
    while True:
        found |= {each["metadata"]["name"]: each for each in part["items"]}
        token = part["metadata"].get("continue")
        if not token:
            break
        for change in meanwhile:
            write(kube, change)
        part = json.loads(listed(kube.store, asked(kube, **{"limit": limit, "continue": token})))
    assert found == whole


@given(writes)
def test_versions_rise_and_generations_follow_the_spec(changes: Sequence[Write]) -> None:
    kube = Double()
    for change in changes:
        write(kube, change)
    told = kube.writes("deployments")
    versions = [each.version for each in told]
    assert versions == sorted(set(versions))
    for name in NAMES:
        history = [each for each in told if each.key.name == name]
        for before, after in pairwise(history):
            same = before.body["metadata"]["uid"] == after.body["metadata"]["uid"]
            if not same:
                assert (before.what, after.what) == ("DELETED", "ADDED")
                continue
            moved = before.body["spec"] != after.body["spec"]
            assert after.body["metadata"]["generation"] == (
                before.body["metadata"]["generation"] + moved
            )


@given(st.dictionaries(st.sampled_from(("x", "y")), st.sampled_from(("1", "2", ""))))
def test_a_selector_and_its_contrary_share_no_object(labels: dict[str, str]) -> None:
    found = {"metadata": {"labels": labels}}
    for key in ("x", "y"):
        for one, other in (
            (f"{key}=1", f"{key}!=1"),
            (f"{key} in (1,2)", f"{key} notin (1,2)"),
            (key, f"!{key}"),
        ):
            ours, theirs = by_labels(one), by_labels(other)
            assert ours is not None
            assert theirs is not None
            assert ours(found) != theirs(found)
