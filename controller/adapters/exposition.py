"""The text that exporters answer, Prometheus 0.0.4 or OpenMetrics, read into samples."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from math import inf
from typing import Final, SupportsFloat

from prometheus_client.parser import text_string_to_metric_families

from controller.core.readings.scrapes import Sample, Scrape

MOST_BYTES: Final = 32 * 1024 * 1024
"""The longest text that is read; a large engine answers less than a hundredth of it."""

LONGEST_LINE: Final = 16 * 1024
"""The longest line: a label of 100 kB is no label."""

MOST_SAMPLES: Final = 50_000
"""The most samples that are kept of one exporter."""

_SHOWN: Final = 80
_NAME: Final = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)[{ \t]")
# A name in quotes, which no metric of an engine has.
_QUOTED: Final = re.compile(r'\{\s*"(?:[^"\\]|\\.)*"\s*[,}]')
# What engines write nearly always: no escapes, no time, no exemplar. All else is for the parser.
_LABEL: Final = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="([^"\\]*)"')
_PLAIN: Final = re.compile(
    r"[a-zA-Z_:][a-zA-Z0-9_:]*"
    r'(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="[^"\\]*",)*(?:[a-zA-Z_][a-zA-Z0-9_]*="[^"\\]*")?)\})?'
    r" ([-+]?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|[-+]Inf|NaN)",
    re.ASCII,
)
_KNOWN_LABELS: Final = 1024
_EXEMPLAR: Final = re.compile(r" # \{[^{}]*\} [-+0-9.eEinfNa]+(?: [-+0-9.eE]+)?$")


class ExpositionError(ValueError):
    """A text that can't be read, in words, with the number of the line at fault."""

    def __init__(self, problem: str, line: int = 0, text: str = "") -> None:
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        place = f"line {line}: " if line else ""
        super().__init__(f"{place}{problem}{f': {shown!r}' if text else ''}")
        self.line = line


def read_exposition(body: bytes, at_s: float, wanted: Collection[str]) -> Scrape:
    """Return the samples of the wanted metrics, by their full names, and the names of all.

    Raises :class:`ExpositionError` when the text is too long, is not UTF-8 or has a line that
    is no sample; values of metrics nobody wants are not looked at.
    """
    if len(body) > MOST_BYTES:
        raise ExpositionError(f"it is longer than {MOST_BYTES // 1024 // 1024} MB")
    try:
        lines = body.decode("utf-8").split("\n")
    except UnicodeDecodeError as fault:
        raise ExpositionError("it is not UTF-8", body[: fault.start].count(b"\n") + 1) from fault
    open_metrics = "# EOF" in lines[-2:]
    samples: dict[str, list[Sample]] = {}
    names: set[str] = set()
    kept = 0
    for number, name, text in _named(lines):
        names.add(name)
        if name not in wanted:
            continue
        kept += 1
        if kept > MOST_SAMPLES:
            raise ExpositionError(f"it has more than {MOST_SAMPLES} samples", number)
        samples.setdefault(name, []).append(_sample(number, text, open_metrics=open_metrics))
    return Scrape(at_s, samples, frozenset(names))


def _named(lines: list[str]) -> Iterator[tuple[int, str, str]]:
    """Yield number, name and text of every line that is a sample."""
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if len(text) > LONGEST_LINE:
            raise ExpositionError("it is too long", number, text)
        found = _NAME.match(text)
        if found is not None:
            yield number, found[1], text
        elif _QUOTED.match(text) is None:
            raise ExpositionError("it is no sample of a metric", number, text)


def _sample(number: int, text: str, *, open_metrics: bool) -> Sample:
    plain = _PLAIN.fullmatch(text)
    labels = None if plain is None else _labels(plain[1] or "")
    if plain is not None and labels is not None:
        return Sample(labels, float(plain[2]))
    # One line at a time: the name stays as it is, and a fault has a line.
    bare = _EXEMPLAR.sub("", text) if open_metrics else text
    try:
        (family,) = text_string_to_metric_families(bare)
        (found,) = family.samples
    except (ValueError, IndexError) as fault:
        raise ExpositionError("it can't be read", number, text) from fault
    at_s = None if found.timestamp is None else _number(found.timestamp)
    if at_s is not None and open_metrics:
        # The parser takes times for milliseconds; OpenMetrics has seconds.
        at_s *= 1000.0
    return Sample(found.labels, _number(found.value), at_s)


@lru_cache(_KNOWN_LABELS)
def _labels(text: str) -> Mapping[str, str] | None:
    """Return labels, the same object for the same text; ``None`` where one is there twice."""
    pairs = _LABEL.findall(text)
    labels = dict(pairs)
    return labels if len(labels) == len(pairs) else None


def _number(value: SupportsFloat) -> float:
    try:
        return float(value)
    except OverflowError:
        # No exporter has counted so far, whatever its sign.
        return inf
