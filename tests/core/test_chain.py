"""What is changed, removed, moved or put between in a chain is found, whatever it was."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from controller.core.chain import BEGINNING, End, Link, digest, followed, hash_of, linked, told

HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
RECORDS = st.lists(
    st.tuples(st.sampled_from(["audit", "decision"]), st.text(max_size=8), HEX),
    min_size=1,
    max_size=12,
    unique_by=lambda one: one[:2],
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
BODIES = st.dictionaries(st.text(max_size=6), LEAVES | st.lists(LEAVES, max_size=3), max_size=6)


def found_in(links: list[Link]) -> dict[tuple[str, str], str | None]:
    return {(link.kind, link.name): link.digest for link in links}


@given(RECORDS)
def test_a_chain_that_nobody_touched_is_right_to_its_end(
    records: list[tuple[str, str, str]],
) -> None:
    links = linked(End(), records)
    end, faults = followed(End(), links, found_in(links))
    assert not faults
    assert end == End(len(records), links[-1].hash)


@given(RECORDS, st.data())
def test_it_is_the_same_chain_whether_followed_at_once_or_in_stretches(
    records: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(records)))
    first = linked(End(), records[:cut])
    middle = End(first[-1].seq, first[-1].hash) if first else End()
    links = first + linked(middle, records[cut:])
    assert links == linked(End(), records)
    half, _ = followed(End(), links[:cut], found_in(links))
    assert followed(half, links[cut:], found_in(links)) == followed(End(), links, found_in(links))


@given(RECORDS, st.data())
def test_a_changed_record_is_named(
    records: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    links = linked(End(), records)
    at = data.draw(st.integers(0, len(links) - 1))
    link, now = links[at], data.draw(HEX)
    assume(now != link.digest)
    end, (fault,) = followed(End(), links, found_in(links) | {(link.kind, link.name): now})
    assert (fault.what, fault.kind, fault.name) == ("changed", link.kind, link.name)
    assert (fault.seq, end.seq) == (at + 1, len(links)), "it goes on past the fault"


@given(RECORDS, st.data())
def test_a_missing_record_is_named_unless_it_went_with_leave(
    records: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    links = linked(End(), records)
    link = data.draw(st.sampled_from(links))
    found = found_in(links)
    del found[link.kind, link.name]
    _, (fault,) = followed(End(), links, found)
    assert (fault.what, fault.name, fault.seq) == ("missing", link.name, link.seq)
    found[link.kind, link.name] = None
    assert not followed(End(), links, found)[1]


@given(RECORDS, st.data())
def test_a_seal_that_is_gone_or_forged_is_found(
    records: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    links = linked(End(), records)
    at = data.draw(st.integers(0, len(links) - 1))
    forged = replace(links[at], digest=data.draw(HEX))
    assume(forged != links[at])
    _, (fault, *_) = followed(End(), [*links[:at], forged, *links[at + 1 :]], found_in(links))
    assert fault.seq == links[at].seq
    if at < len(links) - 1:
        _, (fault, *_) = followed(End(), links[:at] + links[at + 1 :], found_in(links))
        assert fault.text.startswith(f"Seal {at + 1} is missing")


@given(RECORDS)
def test_a_tail_that_is_cut_off_shows_only_at_the_end(
    records: list[tuple[str, str, str]],
) -> None:
    links = linked(End(), records)
    end, faults = followed(End(), links[:-1], found_in(links))
    assert not faults
    assert end.seq == len(records) - 1, "which is why the end is written down outside"


@given(BODIES, BODIES)
def test_a_digest_tells_contents_apart_and_not_their_order(
    body: dict[str, object], other: dict[str, object]
) -> None:
    assert digest(body) == digest(dict(reversed(body.items())))
    kept, others = (
        {name: value for name, value in one.items() if value not in (None, "", [])}
        for one in (body, other)
    )
    if repr(sorted(kept.items())) != repr(sorted(others.items())):
        assert digest(body) != digest(other)


@given(BODIES)
def test_a_column_that_is_added_and_empty_changes_no_digest(body: dict[str, object]) -> None:
    for empty in (None, "", [], {}):
        assert digest({**body, "added later": empty}) == digest(
            {name: value for name, value in body.items() if name != "added later"}
        )


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param(0, None, False, id="nought is a value"),
        pytest.param(False, None, False, id="no is a value"),
        pytest.param(1, 1.0, False, id="1 is not 1.0"),
        pytest.param(
            datetime(2026, 1, 1, 12, tzinfo=UTC),
            datetime(2026, 1, 1, 13, tzinfo=timezone(timedelta(hours=1))),
            True,
            id="a time is the same in every zone",
        ),
    ],
)
def test_values_that_are_easily_mistaken(one: object, other: object, same: bool) -> None:  # noqa: FBT001 - a table
    assert (digest({"value": one}) == digest({"value": other})) is same


def test_the_form_is_written_down_for_others_to_recompute() -> None:
    text = b'{"a":"\\u00e9","at":"2026-01-01T12:00:00.000000+00:00","b":1}'
    record = {"b": 1, "a": "é", "c": None, "at": datetime(2026, 1, 1, 12, tzinfo=UTC)}
    assert digest(record) == hashlib.sha256(text).hexdigest()
    link = f"{BEGINNING}\naudit\n1\nab"
    assert hash_of(BEGINNING, "audit", "1", "ab") == hashlib.sha256(link.encode()).hexdigest()


@pytest.mark.parametrize(
    ("changed", "end"),
    [
        pytest.param(0, "", id="none"),
        pytest.param(5, "sealed.", id="five are named"),
        pytest.param(7, " And 2 more.", id="7 - 5 = 2"),
    ],
)
def test_five_faults_are_named_and_the_others_counted_s22(changed: int, end: str) -> None:
    links = linked(End(), [("audit", str(i), "a" * 64) for i in range(9)])
    now = {("audit", str(i)): "b" * 64 for i in range(changed)}
    _, faults = followed(End(), links, found_in(links) | now)
    words = told(faults)
    assert (len(faults), words.count("was changed")) == (changed, min(changed, 5))
    assert words.endswith(end)
