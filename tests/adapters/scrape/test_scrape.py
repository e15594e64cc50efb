"""Targets scraped over real sockets: windows over several looks, and whatever can go wrong."""

from __future__ import annotations

import gzip
import re
import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from controller.adapters.metrics.scrape.marks import unpacked
from controller.adapters.metrics.scrape.reader import read, who
from controller.adapters.turn import Turn
from controller.core.readings.asking import Grid, Reading, Scope, Wanted
from controller.core.readings.attach import ByLabels, ByPod
from controller.core.readings.cook import windows
from controller.core.readings.presets import PRESETS, leaves_of
from controller.core.readings.recipe import Kind, Leaf
from controller.core.readings.sources import Access, EndpointKind, Source, Target
from controller.core.readings.tables import Table
from controller.core.types import Quality, Role
from tests.adapters.scrape.fleet import Exporters, exporting, ok, reply
from tests.core.readings.exporters import graded

NOW_S = 1_700_000_000.0
STEP_S = 15.0
TOKENS = "vllm:generation_tokens_total"
WAITING = "vllm:num_requests_waiting"
RATE = Leaf((TOKENS,), Kind.COUNTER, Role.DECODE, apart=("engine",))
GAUGE = Leaf((WAITING,), Kind.GAUGE, Role.DECODE, apart=("engine",))
UP = Leaf(("up",), Kind.GAUGE, Role.DECODE)
UTIL = next(
    leaf
    for leaf in leaves_of([PRESETS["dcgm"].recipes["decode_util"]])
    if leaf.role is Role.DECODE
)
TOKEN = "s3cr3t-t0ken"


@pytest.fixture
def exporters() -> Iterator[Exporters]:
    with exporting() as found:
        yield found


def page(tokens: float, waiting: float = 2.0, engine: str = "0") -> str:
    return f'{TOKENS}{{engine="{engine}"}} {tokens}\n{WAITING}{{engine="{engine}"}} {waiting}\n'


class Looks:
    """Looks one after another, a step apart unless said otherwise, with what they remember."""

    def __init__(self, exporters: Exporters, targets: Sequence[Target], **source: object) -> None:
        self.source = Source("s", EndpointKind.SCRAPE, "", ByLabels(), targets=targets)
        self.source = replace(self.source, **source)  # type: ignore[arg-type]
        self.exporters, self.marks, self.now_s = exporters, None, NOW_S
        self.leaves: dict[Leaf, object] = dict.fromkeys((RATE, GAUGE, UP), self.source.attach)
        self.services = ["chat"]
        self.marks: bytes | None = None

    def look(self, *, after_s: float = STEP_S, within_s: float = 10.0) -> Reading:
        self.now_s += after_s
        reading, self.marks = read(self.source, self.wanted, self.turn(within_s), self.marks)
        return reading

    @property
    def wanted(self) -> Wanted:
        grid = Grid(self.now_s, STEP_S, 4)
        return Wanted(self.leaves, Scope(self.services, 60), grid)  # type: ignore[arg-type]

    def turn(self, within_s: float = 10.0) -> Turn:
        until = time.monotonic() + within_s
        return Turn(self.now_s, until, np.random.default_rng(0), lambda _: None)


def target(exporters: Exporters, name: str, **of: object) -> Target:
    usual = {"service": "chat", "role": Role.DECODE, "instance": name, **of}
    return Target(f"{exporters.base}/{name}", **usual)  # type: ignore[arg-type]


def table(reading: Reading, leaf: Leaf) -> Table:
    found = reading.leaves[leaf]
    assert isinstance(found, Table)
    return found


def close(*numbers: float | None) -> object:
    """Compare with what was read a moment later than the clock of the test says."""
    found = [np.nan if each is None else each for each in numbers]
    return pytest.approx(found, rel=0.05, nan_ok=True)


def test_a_window_fills_look_by_look_and_rates_are_of_each_series(exporters: Exporters) -> None:
    looks = Looks(exporters, [target(exporters, "a"), target(exporters, "b")])
    exporters.says = {"a": ok(page(100)), "b": ok(page(1_000))}
    first = looks.look()
    assert list(table(first, GAUGE).values[0]) == close(None, None, None, 4)
    assert not table(first, RATE).present.any()
    # 150 / 15 + 300 / 15 = 30 tokens/s; after a restart of b 150 / 15 + 75 / 15 = 15.
    exporters.says = {"a": ok(page(250)), "b": ok(page(1_300, 5))}
    second = looks.look()
    assert list(table(second, RATE).values[0]) == close(None, None, None, 30)
    assert list(table(second, GAUGE).values[0]) == close(None, None, 4, 7)
    exporters.says = {"a": ok(page(400)), "b": ok(page(75))}
    third = looks.look()
    assert list(table(third, RATE).values[0]) == close(None, None, 30, 15)
    assert list(table(third, RATE).reporting[0]) == [0, 0, 2, 1]
    assert list(table(third, RATE).at_s[0, 2:]) == [looks.now_s - STEP_S, looks.now_s]
    # Longer than the window, and than rates may reach back: all begins anew (M18).
    fourth = looks.look(after_s=301.0)
    assert not table(fourth, RATE).present.any()
    assert list(table(fourth, GAUGE).present[0]) == [False, False, False, True]


def test_looks_that_are_late_or_more_often_stand_for_the_nearest_time(
    exporters: Exporters,
) -> None:
    looks = Looks(exporters, [target(exporters, "a")])
    for at, after_s in enumerate((0.0, 14.0, 3.0, 3.0, 9.5)):
        exporters.says = {"a": ok(page(0, at))}
        found = table(looks.look(after_s=after_s), GAUGE)
    # Looks at 0, 14, 17, 20 and 29.5 s; the grid is at -15.5, -0.5, 14.5 and 29.5 s.
    assert list(found.values[0]) == close(None, 0, 1, 4)
    assert list(found.at_s[0, 1:]) == [NOW_S - 0.5, NOW_S + 14.0, NOW_S + 29.5]


def test_another_configuration_begins_its_own_leaves_anew(exporters: Exporters) -> None:
    looks = Looks(exporters, [target(exporters, "a"), target(exporters, "z", service="code")])
    exporters.says = {"a": ok(page(0, 1)), "z": ok(page(0, 9))}
    looks.look()
    looks.services = ["code", "chat"]
    both = table(looks.look(), GAUGE)
    assert both.values[:, 2:].tolist() == [close(None, 9), close(1, 1)]
    other = replace(GAUGE, apart=())
    looks.leaves = {GAUGE: ByLabels(), other: ByLabels()}
    changed = looks.look()
    assert table(changed, GAUGE).present.sum() == 5
    assert table(changed, other).present.sum() == 2


@pytest.mark.parametrize("marks", [None, b"", b"x" * 99, b"HSMARKS1", b"HSMARKS1" + b"\0" * 50])
def test_marks_that_cannot_be_read_are_as_none(marks: bytes | None) -> None:
    assert unpacked(marks).columns == ()


def test_marks_cut_anywhere_are_as_none_and_never_an_error(exporters: Exporters) -> None:
    looks = Looks(exporters, [target(exporters, "a")])
    exporters.says = {"a": ok(page(1))}
    looks.look()
    assert looks.marks is not None
    assert unpacked(looks.marks).scrapes
    for end in range(0, len(looks.marks), 7):
        assert not unpacked(looks.marks[:end]).scrapes


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(reply(b"", "503 No"), "not ready, or overloaded", id="503"),
        pytest.param(reply(b"", "429 Slow"), "left alone", id="429"),
        pytest.param(reply(b"", "500 No"), "status 500", id="500"),
        pytest.param(reply(TOKEN.encode(), "401 No"), "the credentials", id="401"),
        pytest.param(
            reply(b"<!doctype html><form>", Content_Type="text/html"), "login", id="login page"
        ),
        pytest.param(
            reply(b"", "302 Found", Location="http://evil.example/"), "redirects", id="redirect"
        ),
        pytest.param(reply(b"# \xff\n"), "not UTF-8", id="invalid UTF-8"),
        pytest.param(ok('{"status": "down"}\n'), "line 1", id="no metrics"),
        pytest.param(
            reply(gzip.compress(b" " * 2**27), Content_Encoding="gzip"),
            "too large",
            id="gzip bomb of 128 MiB",
        ),
        pytest.param(ok("#" * 5 * 2**20), "too large", id="5 MiB where 4 are allowed"),
        pytest.param(ok(f'{TOKENS}{{engine="{"x" * 100_000}"}} 1\n'), "too long", id="M16 label"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", "can't be reached", id="no HTTP"),
        pytest.param(b"", "can't be reached", id="hangs up"),
    ],
)
def test_what_one_target_does_costs_no_other_and_is_told(
    exporters: Exporters, answer: bytes, said: str
) -> None:
    looks = Looks(
        exporters,
        [target(exporters, "bad"), target(exporters, "good")],
        access=Access(token=TOKEN),
    )
    exporters.says = {"bad": answer, "good": ok(page(1, 3))}
    reading = looks.look()
    assert table(reading, GAUGE).values[0, -1] == 3
    assert (table(reading, UP).values[0, -1], table(reading, UP).reporting[0, -1]) == (1, 2)
    (told,) = reading.told
    assert re.search(rf"^bad \(http.*/bad\): .*{said}", told)
    assert TOKEN not in f"{reading}{looks.marks!r}"
    assert all(f"Authorization: Bearer {TOKEN}" in head for head in exporters.asked)


def test_silent_and_dripping_targets_are_left_and_asked_last(exporters: Exporters) -> None:
    names = [f"silent{at}" for at in range(64)]
    looks = Looks(exporters, [*(target(exporters, n) for n in names), target(exporters, "good")])
    exporters.says = {"good": ok(page(1, 3)), "silent0": b"HTTP/1.1 200 OK\r\n"}
    exporters.drips = {"silent0"}
    begin_s = time.monotonic()
    first = looks.look(within_s=0.6)
    assert not table(first, GAUGE).present.any()
    assert first.told[-1] == "60 more targets do not answer, 65 of 65."
    second = looks.look(within_s=3.0)
    assert time.monotonic() - begin_s < 15
    assert table(second, GAUGE).values[0, -1] == 3
    assert table(second, GAUGE).reporting[0, -1] == 1


def test_nobody_listening_is_told_and_what_was_said_before_is_kept(exporters: Exporters) -> None:
    with exporting() as gone:
        looks = Looks(exporters, [target(gone, "a")])
        gone.says = {"a": ok(page(100))}
        looks.look()
        base, gone.says["a"] = gone.base, b""
        silent = looks.look()
        assert silent.told == (f"a ({base}/a): It can't be reached.",)
        assert not table(silent, GAUGE).present[0, -1]
        gone.says["a"] = ok(page(400))
        # 300 / 30 s = 10 tokens/s over the look that failed.
        assert list(table(looks.look(), RATE).values[0]) == close(None, None, None, 10)
    assert table(looks.look(), UP).values[0, -1] == 0


@pytest.mark.parametrize("text", ["NaN", "+Inf", "-Inf", "-5", "-0.0", "1e999"])
def test_what_is_no_value_stays_visible_as_such(exporters: Exporters, text: str) -> None:
    """M05, M06: the signal is invalid; it is neither missing nor 0."""
    recipe = PRESETS["vllm"].recipes["decode_waiting"]
    looks = Looks(exporters, [target(exporters, "a")])
    looks.leaves = dict.fromkeys(leaves_of([recipe]), ByLabels())
    for _ in range(4):
        exporters.says = {"a": ok(f'{WAITING}{{engine="0"}} {text}\n')}
        reading = looks.look()
    due = np.ones((1, 2), dtype=np.int64)
    times_s = looks.wanted.grid.times_s
    (window,) = windows([{"decode_waiting": recipe}], reading.leaves, due, times_s, STEP_S)
    assert graded(window, "decode_waiting", looks.now_s).quality is Quality.INVALID


@pytest.mark.parametrize(
    ("ahead_s", "said"),
    [
        pytest.param(600, "600 s ahead of our clock", id="M08: 10 minutes ahead"),
        pytest.param(-400, "400 s old", id="M07: 400 s old"),
        pytest.param(-30, None, id="30 s old, as DCGM's are"),
    ],
)
def test_samples_with_wrong_times_do_not_count(
    exporters: Exporters, ahead_s: int, said: str | None
) -> None:
    looks = Looks(exporters, [target(exporters, "a"), target(exporters, "b")])
    stamp = int((NOW_S + STEP_S + ahead_s) * 1000)
    exporters.says = {"a": ok(f"{TOKENS} 1\n{WAITING} 7 {stamp}\n"), "b": ok(page(1, 2))}
    reading = looks.look()
    found = table(reading, GAUGE)
    if said is None:
        assert (found.values[0, -1], found.reporting[0, -1], reading.told) == (9, 2, ())
    else:
        assert (found.values[0, -1], found.reporting[0, -1]) == (2, 1)
        assert said in reading.told[0]


def test_a_metric_renamed_in_half_the_pods_is_hinted_at(exporters: Exporters) -> None:
    """M14."""
    looks = Looks(exporters, [target(exporters, "a"), target(exporters, "b")])
    exporters.says = {"a": ok(page(1)), "b": ok(page(1).replace("_waiting", "_in_waiting"))}
    reading = looks.look()
    assert table(reading, GAUGE).reporting[0, -1] == 1
    hint = f"b (1 of 2 instances) does not export {WAITING}, but it exports"
    assert reading.told == (f"{hint} vllm:num_requests_in_waiting.",)


def test_engines_on_one_port_add_up_and_one_instance_under_two_targets_counts_once(
    exporters: Exporters,
) -> None:
    """M12 and trap 6."""
    twice = replace(target(exporters, "a"), url=f"{exporters.base}/again")
    looks = Looks(exporters, [target(exporters, "a"), twice])
    for tokens in (0, 150):
        text = ok(page(tokens, 1, "0") + page(2 * tokens, 4, "1"))
        exporters.says = {"a": text, "again": text}
        reading = looks.look()
    # (150 + 300) / 15 = 30 tokens/s and 1 + 4 requests.
    assert table(reading, RATE).values[0, -1] == pytest.approx(30, rel=0.05)
    assert table(reading, GAUGE).values[0, -1] == 5
    assert table(reading, GAUGE).reporting[0, -1] == 1
    assert (table(reading, UP).values[0, -1], table(reading, UP).reporting[0, -1]) == (1, 1)


def test_an_engine_that_tells_its_role_needs_none_and_keeps_it_while_silent(
    exporters: Exporters,
) -> None:
    leaf = Leaf(("sglang:num_queue_reqs",), Kind.GAUGE, Role.DECODE)
    roleless = [target(exporters, name, role=None) for name in ("p", "d")]
    looks = Looks(exporters, roleless)
    looks.leaves = dict.fromkeys((leaf, UP), ByLabels())
    for name, role, waiting in (("p", "prefill", 3), ("d", "decode", 4)):
        text = f'sglang:num_queue_reqs{{engine_type="{role}"}} {waiting}\n'
        exporters.says[name] = ok(f"sglang:num_running_reqs 1\n{text}")
    assert table(looks.look(), leaf).values[0, -1] == 4
    exporters.says["d"] = b""
    silent = looks.look()
    assert not table(silent, leaf).present[0, -1]
    assert (table(silent, UP).values[0, -1], table(silent, UP).reporting[0, -1]) == (0, 1)


def test_a_silent_frontend_makes_what_the_others_say_partial(exporters: Exporters) -> None:
    leaf = Leaf(("dynamo_frontend_requests",), Kind.GAUGE, None)
    looks = Looks(exporters, [target(exporters, n, role=None) for n in ("f0", "f1")])
    looks.leaves = {leaf: ByLabels()}
    exporters.says = {"f0": ok("dynamo_frontend_requests 2\n"), "f1": ok("x 1\n")}
    assert table(looks.look(), leaf).reporting[0, -1] == 1
    exporters.says["f1"] = b""
    assert table(looks.look(), leaf).reporting[0, -1] == 0


def test_a_node_speaks_of_pods_by_the_names_of_targets_by_pattern_or_by_labels(
    exporters: Exporters,
) -> None:
    node = Target(f"{exporters.base}/node", "node")
    gpu = 'DCGM_FI_DEV_GPU_UTIL{{gpu="{0}",UUID="u{0}",namespace="{1}",pod="{2}"{3}}} {4}\n'
    pods = [
        ("ml", "d0", "", 40),
        ("ml", "code-decode-7", "", 60),
        ("ml", "x", ',service="web",role="decode"', 80),
        ("other", "code-decode-8", "", 99),
        ("ml", "stranger", "", 99),
    ]
    text = "".join(
        gpu.format(at, space, pod, labels, value)
        for at, (space, pod, labels, value) in enumerate(pods)
    )
    exporters.says = {"node": ok(text), "d0": ok(page(1))}
    looks = Looks(exporters, [node, target(exporters, "d0")])
    looks.services = ["chat", "code", "web"]
    by_pod = ByPod({Role.DECODE: "(?P<service>.+)-decode-[0-9]+"}, only={"namespace": "ml"})
    looks.leaves = {UTIL: by_pod}
    assert table(looks.look(), UTIL).values[:, -1].tolist() == close(40, 60, None)
    assert who(looks.source, looks.wanted, looks.turn(), looks.marks) == {
        UTIL: {"chat": frozenset({"d0"}), "code": frozenset({"code-decode-7"})}
    }
    looks.leaves = {UTIL: ByLabels()}
    assert table(looks.look(), UTIL).values[:, -1].tolist() == close(40, None, 80)


def test_ten_thousand_series_and_a_hostile_fleet_stay_within_bounds(exporters: Exporters) -> None:
    """M16: 16 targets of up to 128 MiB unpacked, and one of 10,000 series."""
    series = "".join(f'{WAITING}{{engine="{at}"}} 1\n' for at in range(10_000))
    bombs = [target(exporters, f"bomb{at}") for at in range(16)]
    looks = Looks(exporters, [*bombs, target(exporters, "many")])
    bomb = reply(gzip.compress(b"#" * 2**27, 1), Content_Encoding="gzip")
    exporters.says = {**dict.fromkeys((each.instance for each in bombs), bomb)}
    exporters.says["many"] = ok(series)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reading = looks.look()
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert table(reading, GAUGE).values[0, -1] == 10_000
    assert reading.told[-1] == "11 more targets do not answer, 16 of 17."
    assert grown_mib < 256
