"""What a start says of the Prometheus that the demonstration is read through."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from controller.core.reach import Reach
from heteroscale_site.home import LaunchError
from heteroscale_site.launch.measuring import lines, scraped
from tests.site.conftest import free_port

URL = "http://prometheus:9090"


def test_one_that_scrapes_nobody_is_told_what_its_file_needs() -> None:
    told = lines(URL, 0, "http://localhost:8000/")
    assert "does not scrape us yet" in told
    assert "      - url: http://localhost:8000/simulator/targets\n" in told


def test_one_that_scrapes_is_said_to() -> None:
    assert "which has scraped 228 instances" in lines(URL, 228, "http://localhost:8000/")


def test_one_that_does_not_answer_is_no_start() -> None:
    with pytest.raises(LaunchError, match="Start it first, or leave"):
        scraped(f"http://127.0.0.1:{free_port()}", Reach(), 0.0)


def test_one_that_may_not_be_asked_is_named() -> None:
    with pytest.raises(LaunchError, match="HETEROSCALE_METRICS_HOSTS"):
        scraped("http://127.0.0.1:9090", Reach(inside=False), 0.0)


def test_without_a_demonstration_there_is_nothing_to_read() -> None:
    with pytest.raises(CommandError, match="leave out --no-demo"):
        call_command("up", prometheus=URL, no_demo=True)
