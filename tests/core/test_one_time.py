"""Codes of an authenticator, held to the vectors of the RFCs."""

import pytest

from controller.core.one_time import code_at, step_of

SECRET = b"12345678901234567890"
NOW_S = 1_111_111_109.0
STEP = 37_037_036
RFC_4226 = (
    *("755224", "287082", "359152", "969429", "338314"),
    *("254676", "287922", "162583", "399871", "520489"),
)


@pytest.mark.parametrize(
    ("now_s", "code"),
    [
        pytest.param(59, "94287082", id="1970-01-01 00:00:59, step 1"),
        pytest.param(1_111_111_109, "07081804", id="2005-03-18 01:58:29, a leading zero"),
        pytest.param(1_111_111_111, "14050471", id="2005-03-18 01:58:31, the step after"),
        pytest.param(1_234_567_890, "89005924", id="2009-02-13 23:31:30"),
        pytest.param(2_000_000_000, "69279037", id="2033-05-18 03:33:20"),
        pytest.param(20_000_000_000, "65353130", id="2603-10-11 11:33:20, beyond 32 bits"),
    ],
)
def test_codes_are_those_of_rfc_6238_appendix_b(now_s: int, code: str) -> None:
    assert code_at(SECRET, now_s // 30, digits=8) == code


@pytest.mark.parametrize(
    ("step", "code"),
    list(enumerate(RFC_4226)),
)
def test_codes_are_those_of_rfc_4226_appendix_d(step: int, code: str) -> None:
    assert code_at(SECRET, step) == code


@pytest.mark.parametrize(
    ("apart", "found"),
    [
        pytest.param(-2, None, id="a minute late"),
        pytest.param(-1, STEP - 1, id="one step late"),
        pytest.param(0, STEP, id="now"),
        pytest.param(1, STEP + 1, id="a clock 30 s ahead"),
        pytest.param(2, None, id="a minute ahead"),
    ],
)
def test_one_step_to_either_side_counts(apart: int, found: int | None) -> None:
    assert step_of(SECRET, code_at(SECRET, STEP + apart), now_s=NOW_S, used=0) == found


@pytest.mark.parametrize(
    ("used", "found"),
    [
        pytest.param(STEP - 1, STEP, id="an older one was used"),
        pytest.param(STEP, None, id="this one was used"),
        pytest.param(STEP + 1, None, id="a newer one was used"),
    ],
)
def test_each_step_counts_once(used: int, found: int | None) -> None:
    assert step_of(SECRET, code_at(SECRET, STEP), now_s=NOW_S, used=used) == found


@pytest.mark.parametrize("code", ["", "8", "081805", "7081804", "０８１８０４", "081804\n"])
def test_other_texts_are_wrong(code: str) -> None:
    assert step_of(SECRET, code, now_s=NOW_S, used=0) is None
