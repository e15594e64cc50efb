"""A mirror shows what the cluster has, whatever order its events come in (K08, K11)."""

import random

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.adapters.fleet.kubernetes.mirror import MOST_GONE, Mirror

Event = tuple[str, dict[str, object]]


def thing(name: str, uid: str, version: int, value: int = 0) -> dict[str, object]:
    metadata = {"namespace": "llm", "name": name, "uid": uid, "resourceVersion": str(version)}
    return {"metadata": metadata, "value": value}


def project(each: object) -> bytes | None:
    """Keep what has a value, and of it the value alone."""
    value = each["value"]  # type: ignore[index]
    return None if value is None else orjson.dumps(value)


def listed(one: Mirror, objects: list[dict[str, object]], version: str) -> None:
    picture = one.picture()
    for each in objects:
        picture.add([each])
    one.replace(picture, version)


def mirror(*objects: dict[str, object]) -> Mirror:
    made = Mirror(project)
    listed(made, list(objects), "10")
    return made


def shown(one: Mirror) -> list[int]:
    return [orjson.loads(body) for body in one.bodies()]


@pytest.mark.parametrize(
    ("events", "expect"),
    [
        pytest.param([("MODIFIED", thing("a", "u1", 11, 2))], [2], id="11 is after 5"),
        pytest.param([("MODIFIED", thing("a", "u1", 4, 2))], [1], id="4 is before 5: late"),
        pytest.param([("MODIFIED", thing("a", "u1", 5, 2))], [1], id="5 is known: twice"),
        pytest.param([("ADDED", thing("b", "u2", 9, 7))], [1], id="9 went before the list at 10"),
        pytest.param([("ADDED", thing("b", "u2", 11, 7))], [1, 7], id="new"),
        pytest.param([("DELETED", thing("a", "u1", 12))], [], id="gone"),
        pytest.param(
            [("DELETED", thing("a", "u1", 12)), ("MODIFIED", thing("a", "u1", 11, 2))],
            [],
            id="a late word does not bring back what went",
        ),
        pytest.param(
            [("ADDED", thing("a", "u2", 13, 8)), ("DELETED", thing("a", "u1", 12))],
            [8],
            id="made anew: the old one's end is not the new one's",
        ),
        pytest.param(
            [
                ("ADDED", thing("a", "u2", 13, 8)),
                ("DELETED", thing("a", "u1", 12)),
                ("DELETED", thing("a", "u2", 14)),
                ("MODIFIED", thing("a", "u1", 11, 3)),
            ],
            [],
            id="both went, the first one's word comes last",
        ),
        pytest.param([("BOOKMARK", thing("a", "u1", 20, 9))], [1], id="a bookmark is no object"),
        pytest.param([("MODIFIED", {"value": 3})], [1], id="an object without a name"),
        pytest.param([("MODIFIED", thing("a", "u1", 11) | {"value": None})], [], id="left aside"),
        pytest.param(
            [
                ("MODIFIED", thing("a", "u1", 11) | {"value": None}),
                ("MODIFIED", thing("a", "u1", 12, 4)),
            ],
            [4],
            id="left aside and kept again",
        ),
    ],
)
def test_events_after_a_list(events: list[Event], expect: list[int]) -> None:
    one = mirror(thing("a", "u1", 5, 1))
    for event, each in events:
        one.apply(event, each)
    assert shown(one) == expect


def test_versions_that_are_no_numbers_are_taken_as_they_come() -> None:
    one = mirror(thing("a", "u1", 5, 1))
    odd = thing("a", "u1", 4, 2)
    odd["metadata"] = {**odd["metadata"], "resourceVersion": "4f-a"}  # type: ignore[dict-item]
    one.apply("MODIFIED", odd)
    assert shown(one) == [2]


def test_what_changes_nothing_is_no_change() -> None:
    one = mirror(thing("a", "u1", 5, 1))
    before = one.changes
    one.apply("MODIFIED", thing("a", "u1", 11, 1))
    listed(one, [thing("a", "u1", 12, 1)], "12")
    assert one.changes == before
    one.apply("MODIFIED", thing("a", "u1", 13, 2))
    listed(one, [], "14")
    assert one.changes == before + 2


def test_an_object_made_anew_alike_is_a_change() -> None:
    one = mirror(thing("a", "u1", 5, 1))
    before = one.changes
    one.apply("ADDED", thing("a", "u2", 11, 1))
    assert one.changes == before + 1


def test_what_went_is_not_remembered_for_ever() -> None:
    one = mirror()
    for number in range(MOST_GONE + 10):
        one.apply("DELETED", thing(f"p{number}", f"u{number}", 11 + number))
    assert len(one._gone) == MOST_GONE


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Event], list[int]]:
    """Return what happened to three names, in order, and what is there at the end."""
    there: dict[str, tuple[str, int]] = {}
    events: list[Event] = []
    version, made = 10, 0
    for name, is_end in draw(
        st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=14)
    ):
        version += 1
        if name not in there:
            made += 1
            there[name] = (f"u{made}", version)
            events.append(("ADDED", thing(name, f"u{made}", version, version)))
        elif is_end:
            events.append(("DELETED", thing(name, there.pop(name)[0], version)))
        else:
            there[name] = (there[name][0], version)
            events.append(("MODIFIED", thing(name, there[name][0], version, version)))
    return events, [there[name][1] for name in sorted(there)]


@given(histories(), st.randoms(use_true_random=False))
def test_the_order_and_repetition_of_events_tell_nothing(
    history: tuple[list[Event], list[int]], rng: random.Random
) -> None:
    events, expect = history
    mixed = [*events, *rng.choices(events, k=5)] if events else []
    rng.shuffle(mixed)
    one = mirror()
    for event, each in mixed:
        one.apply(event, each)
    assert shown(one) == expect
