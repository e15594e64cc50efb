"""Files that are broken, packed, huge or meant to harm: refused in words, and never expanded."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zipfile

import pytest

from inventory.importers.detect import FORMATS, MAX_BYTES, read
from inventory.importers.found import Options, RefusedError
from tests.inventory.files import found, node, nodes, s1


def zipped(text: bytes) -> bytes:
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w") as archive:
        archive.writestr("xl/workbook.xml", text)
    return kept.getvalue()


BOMB = b"version: 1\na: &a [x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: [*b, *b, *b]\n"


@pytest.mark.parametrize(
    ("data", "code", "line", "why"),
    [
        pytest.param(b"x" * (MAX_BYTES + 1), "too_large", None, "at most 64 MiB", id="too large"),
        pytest.param(zipped(b"<x/>"), "packed", None, "save the sheet as CSV", id="zip or xlsx"),
        pytest.param(gzip.compress(b"node\n" * 9), "packed", None, "packed with gzip", id="gzip"),
        pytest.param(b"node,s1\ngpu\xff1,a\n", "not_utf8", 2, "byte 12 is no UTF-8", id="bytes"),
        pytest.param("node\ta\n".encode("utf-16"), "not_utf8", None, "is UTF-16", id="UTF-16"),
        pytest.param(b"node,s1\na\0b,c\n", "binary", 2, "zero bytes", id="zero bytes"),
        pytest.param(
            b"SwitchName=a\n" + b"\n" * 4_000_000, "too_many", None, "4,000,000 lines", id="lines"
        ),
        pytest.param(b" \n\n", "empty", None, "empty", id="empty"),
        pytest.param(BOMB, "alias", 3, "aliases", id="a YAML bomb"),
        pytest.param(
            b"version: 1\nskus: !!python/object:os.system [x]\n", "tag", 2, "tags", id="tag"
        ),
        pytest.param(
            b"version: 1\nskus: " + b"[" * 60 + b"]" * 60, "too_deep", 2, "levels", id="deep"
        ),
        pytest.param(b"version: 1\nversion: 2\n", "twice", 2, "twice", id="a key twice"),
        pytest.param(b"version: 1\nskus: [a: b: c\n", "bad_yaml", 2, "no YAML", id="broken YAML"),
        pytest.param(b"version: 7\n", "bad_version", 1, "not '7'", id="another version"),
        pytest.param(
            b'{"kind": "List",\n "items": [}', "bad_json", 2, "no JSON", id="broken JSON"
        ),
        pytest.param(
            b'{"kind": "List", "items": ' + b"[" * 100_000,
            "too_deep",
            None,
            "deep",
            id="deep JSON",
        ),
        pytest.param(
            b'{"kind": "List", "items": [' + b"[]," * 3_000_000 + b"0]}",
            "too_large",
            None,
            "3,000,000 values",
            id="small values without end",
        ),
        pytest.param(b"hello", "no_format", None, "no format", id="a word"),
        pytest.param(b"<html></html>", "no_format", None, "no format", id="a page"),
        pytest.param(b'{"a": 1}', "no_format", None, "no format", id="other JSON"),
        pytest.param(b"when,who\nnow,me\n", "no_columns", 1, "'when', 'who'", id="other table"),
    ],
)
def test_what_can_not_be_read_is_refused_in_words(
    data: bytes, code: str, line: int | None, why: str
) -> None:
    with pytest.raises(RefusedError) as refused:
        read(data, "file", Options())
    assert (refused.value.code, refused.value.line) == (code, line)
    assert why in refused.value.message


def test_a_refusal_costs_no_memory() -> None:
    data = b'{"kind": "List", "items": [' + b"[]," * 3_000_000 + b"0]}"
    tracemalloc.start()
    try:
        for hostile in (data, BOMB, b'node,s1\n"g[1-999999][1-999999]",a\n'):
            try:
                read(hostile, "file", Options())
            except RefusedError:
                continue
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The text of the file, decoded and encoded, and nothing that grows from it.
    assert peak < 3 * len(data)


def test_ranges_that_add_up_are_refused_before_anything_is_kept() -> None:
    with pytest.raises(RefusedError, match="stand for more than 200,000 names"):
        found('node,s1\n"a[1-90000];b[1-90000];c[1-90000]",x\n')


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            "version: 1\nclusters: [{slug: c, s1: [{name: x, leaves: ['l[1-65]'], "
            "nodes: ['n[1-9999]']}]}]\n",
            id="yaml",
        ),
        pytest.param('host,leaves\n"n[1-9999]","l[1-65]"\n', id="csv"),
    ],
)
def test_more_leaves_than_a_node_has_adapters_cable_nothing(text: str) -> None:
    answer = found(text)
    assert [one.message for one in answer.faults] == ["65 leaves, a node hangs on 64 at most"]
    assert answer.links == ()


def test_very_many_sets_of_switches_are_not_compared() -> None:
    # Every choice of 11 switches: 2^11 - 1 = 2,047 nodes with as many different sets.
    rows = [
        f"n{bits}," + ";".join(f"l{n}" for n in range(11) if bits >> n & 1)
        for bits in range(1, 2**11)
    ]
    assert len(s1(found("host,leaves\n" + "\n".join(rows)))) == 2_047


def test_more_nodes_than_are_read_at_once_are_refused() -> None:
    rows = "\n".join(f'"r{n}g[1-90000]"' for n in range(2))
    with pytest.raises(RefusedError, match="more than 100,000 nodes"):
        found(f"node,\n{rows}\n", form="csv")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{}", id="an empty mapping"),
        pytest.param("[[], 1, null]", id="a list of anything"),
        pytest.param('{"items": 7, "lldp": [[]], "results": [[3]], "version": 1}', id="odd types"),
        pytest.param("a,b\n1,2\n", id="a table"),
        pytest.param("version: 1\nregions: [[], 3, {slug: []}]\nblocks: [[], 3]", id="odd YAML"),
        pytest.param("### \x1b[31mred\nSwitchName=\x07 Nodes=", id="control characters"),
        pytest.param("<a><b/></a>", id="markup"),
        *(
            pytest.param(begin + sign * 200_000, id=f"{begin}{sign!r} without end")
            for begin, sign in (
                *(("", "\n"), ("", " "), ("x\n", "1"), ("a: ", "uuid"), ("### a\n", " \t")),
                *(("Switch 1 ", "["), ("SwitchName=", "a-"), ("index,uuid\n", " [")),
            )
        ),
    ],
)
def test_any_reader_answers_or_refuses_whatever_it_is_given(form: str, text: str) -> None:
    try:
        answer = found(text, form=form)
    except RefusedError:
        return
    assert answer.format == form
    assert not answer.nodes or not answer.faults


@pytest.mark.parametrize(
    "name",
    ["=cmd|' /C calc'!A0", "@SUM(1)", "<b>x</b>", "a b", "../etc", "x" * 300, "\x1b[31m", "a\nb"],
)
def test_a_name_that_is_none_never_arrives(name: str) -> None:
    answer = found(nodes(node("good"), node(name)))
    assert [one.name for one in answer.nodes] == ["good"]
    assert len(answer.faults) == 1
    assert not set("\x1b\n") & set(answer.faults[0].message)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("team", "=1+1", id="a formula"),
        pytest.param("team", "<script>", id="markup"),
        pytest.param("a b", "x", id="a key with a space"),
        pytest.param("team", "x" * 64, id="64 characters"),
    ],
)
def test_a_label_kubernetes_would_refuse_never_arrives(key: str, value: str) -> None:
    answer = found(nodes(node("a", {key: value, "good": "yes"})))
    assert answer.nodes[0].labels == {"good": "yes"}
    assert [one.field for one in answer.faults] == ["items[0].metadata.labels"]
