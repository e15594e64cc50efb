"""Targets as lines: what is read, what is written back, and which line is at fault."""

from __future__ import annotations

import pytest

from controller.core.readings.attach_plain import PlainError
from controller.core.readings.sources import Target
from controller.core.readings.target_lines import lines_of, targets_in
from controller.core.types import Role

A = "http://10.0.0.7:8000/metrics"


@pytest.mark.parametrize(
    ("line", "target"),
    [
        (A, Target(A, "10.0.0.7:8000")),
        (f"{A} chat", Target(A, "10.0.0.7:8000", "chat")),
        (f"{A} chat decode", Target(A, "10.0.0.7:8000", "chat", Role.DECODE)),
        (f"{A} chat prefill p-0", Target(A, "p-0", "chat", Role.PREFILL)),
        (f"{A} chat - front", Target(A, "front", "chat")),
        (f"{A} - - gpu007", Target(A, "gpu007")),
    ],
)
def test_a_line_is_a_target_and_back(line: str, target: Target) -> None:
    assert targets_in(f"# engines\n\n  {line}  \n") == (target,)
    assert lines_of([target]) == line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n10.0.0.7:8000", "Line 2 has no address like http"),
        (f"{A} chat\nftp://x/metrics", "Line 2 has no address"),
        (f"{A} chat both", "Line 1: the role is prefill or decode, not 'both'."),
        (f"{A} - decode", "Line 1 has a role and no service."),
        (f"{A} chat decode a b", "Line 1 has more than an address"),
        (f"{A}\n#\n{A} chat", f"Line 3 names what line 1 does: {A}."),
        ("x\ny", "Line 1 has no address like .* Line 2 has no address"),
        ("\n".join(map(str, range(7))), "Line 5 has no .* And 2 more lines."),
    ],
)
def test_the_line_at_fault_is_named(text: str, said: str) -> None:
    with pytest.raises(PlainError, match=said) as caught:
        targets_in(text)
    assert caught.value.field == "targets"
