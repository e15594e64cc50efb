"""Files of measured points: what is read, and where a bad one is bad."""

import gzip

import pytest

from controller.simulator.points import PointsError, read_decode_points, read_prefill_points


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"tokens,latency_ms\n100,20\n200,30\n", id="our names"),
        pytest.param(
            b"Input_Tokens, ttft_ms ,tps\n100,20,x\n200,30,\n", id="other names and more"
        ),
        pytest.param(
            b"\xef\xbb\xbftokens,ttft_ms\r\n100,20\r\n\r\n200,30\r\n", id="as Excel does"
        ),
        pytest.param(gzip.compress(b"isl,prefill_ms\n100,20\n200,30\n"), id="gzip"),
    ],
)
def test_prefill_points(data: bytes) -> None:
    points = read_prefill_points(data, "p.csv")
    assert (list(points.tokens), list(points.batch)) == ([100, 200], [1, 1])
    assert list(points.seconds) == pytest.approx([0.02, 0.03])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"batch,context,itl_ms\n1,500,8\n4,500,9\n", id="context of each"),
        pytest.param(b"batch,kv_tokens,tpot_ms\n1,500,8\n4,2000,9\n", id="of all: 4 x 500"),
    ],
)
def test_decode_points(data: bytes) -> None:
    file = read_decode_points(data, "d.csv")
    assert (list(file.points.batch), list(file.points.context)) == ([1, 4], [500, 500])
    assert list(file.points.seconds) == pytest.approx([0.008, 0.009])
    assert (file.kv_capacity_tokens, file.set_aside) == (None, 0)


def test_a_point_whose_batch_did_not_run_is_set_aside() -> None:
    data = (
        b"context_len,itl_ms,max_kv_tokens,batch_est,batch_from_tput\n"
        b"350,4.4,945029,1,1\n350,46.6,945029,1049,899.7\n"
    )
    file = read_decode_points(data, "d.csv")
    # 899.7 of 1,049 is 0.86: the engine's own limit held it back.
    assert (list(file.points.batch), file.set_aside, file.kv_capacity_tokens) == ([1], 1, 945_029)


@pytest.mark.parametrize(
    ("data", "where", "problem"),
    [
        pytest.param(b"", "p.csv", "no row of points", id="empty"),
        pytest.param(b"tokens,latency_ms\n", "p.csv", "no row of points", id="header alone"),
        pytest.param(b"tokens,x\n1,2\n", "p.csv, line 1", "no column latency_ms", id="no column"),
        pytest.param(
            b"tokens,latency_ms\n1,2\n3\n", "p.csv, line 3", "1 cells where", id="short row"
        ),
        pytest.param(
            b"tokens,latency_ms\n1,fast\n",
            "p.csv, line 2, column latency_ms",
            "'fast' is no number above 0",
            id="no number",
        ),
        pytest.param(
            b"tokens,latency_ms\n1,2\n-4,2\n",
            "p.csv, line 3, column tokens",
            "'-4' is no number above 0",
            id="negative",
        ),
        pytest.param(
            b"tokens,latency_ms\n1,nan\n",
            "p.csv, line 2, column latency_ms",
            "'nan' is no number above 0",
            id="NaN",
        ),
        pytest.param(
            b"tokens,latency_ms\n1e300,2\n",
            "p.csv, line 2, column tokens",
            "'1e300' is no number from 1e-06 to 1e+12",
            id="its square is infinite",
        ),
        pytest.param(b"tokens,latency_ms\n1,\xff\n", "p.csv, line 2", "neither", id="no text"),
        pytest.param(b"\x1f\x8bbroken", "p.csv", "gzip data is damaged", id="broken gzip"),
    ],
)
def test_a_bad_file_says_where(data: bytes, where: str, problem: str) -> None:
    with pytest.raises(PointsError) as refusal:
        read_prefill_points(data, "p.csv")
    assert refusal.value.where == where
    assert problem in refusal.value.problem
