"""One command runs everything, heals it, and stops it without leaving anything behind."""

from __future__ import annotations

import os
import signal
import stat

from tests.site.conftest import Product, free_port, wait_until

PROCESSES = {
    "postgres",
    "valkey",
    "web",
    "worker-control",
    "worker-actions",
    "worker-imports",
    "worker-heavy",
    "cron",
    "watch",
}


def test_everything_starts_heals_stops_and_starts_again(product: Product) -> None:
    """One long test: each step needs the running product of the step before."""
    product.start()
    assert product.status("/healthz") == 200
    assert set(product.children()) == PROCESSES

    accounts = product.home.accounts
    first_passwords = accounts.read_text()
    assert stat.S_IMODE(accounts.stat().st_mode) == 0o600
    assert first_passwords.split()[1] in product.output.read_text()

    frozen = product.manage("freeze", "--reason", "incident 8812")
    assert "Frozen: the fleet." in frozen.stdout
    _refuses_a_second(product)
    _heals_what_is_killed(product)

    assert product.stop() < 30
    assert product.processes() == {}
    assert product.process is not None
    assert product.process.returncode == 0
    away = product.manage("freeze", "--reason", "nothing runs")
    assert f"frozen by the file {product.home.root / 'FREEZE'}" in away.stdout

    product.start()
    assert product.answers()
    _is_still_frozen(product)
    assert accounts.read_text() == first_passwords
    assert "First accounts" not in product.output.read_text()

    _leaves_nothing_when_killed_itself(product)


def _is_still_frozen(product: Product) -> None:
    """A07, A08: what was frozen before everything was stopped, and what was frozen meanwhile."""
    lowered = product.manage("resume", "--file", "--reason", "it runs again")
    assert "What people froze in the database stays frozen" in lowered.stdout
    again = product.manage("freeze", "--reason", "me too")
    assert again.returncode == 1
    assert "incident 8812" in again.stderr


def _refuses_a_second(product: Product) -> None:
    first_output, first = product.output, product.process
    port = product.port
    taken = product.up()
    assert taken.wait(timeout=60) != 0
    assert f"Port {port} on 127.0.0.1 is taken" in product.output.read_text()

    product.port = free_port()
    second = product.up()
    assert second.wait(timeout=60) != 0
    assert f"already runs on {product.home.root} (process {first.pid})" in (
        product.output.read_text()
    )
    assert "Traceback" not in product.output.read_text()
    product.port, product.output = port, first_output


def _heals_what_is_killed(product: Product) -> None:
    before = product.children()
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: (
            set(product.children()) == PROCESSES
            and not set(product.children().values()) & set(before.values())
            and product.answers()
        ),
        "healing",
    )


def _leaves_nothing_when_killed_itself(product: Product) -> None:
    assert product.process is not None
    product.process.kill()
    product.process.wait()
    wait_until(lambda: not product.processes(), "the end of every process", timeout_s=30)


def test_servers_of_ones_own_are_used_and_named(product: Product) -> None:
    database, broker = os.environ["DATABASE_URL"], os.environ["REDIS_URL"].rsplit("/", 1)[0]
    product.start(
        DATABASE_URL=database, REDIS_URL=f"{broker}/15", SECRET_KEY=os.environ["SECRET_KEY"]
    )
    assert set(product.children()) == PROCESSES - {"postgres", "valkey"}
    said = product.output.read_text()
    assert "the PostgreSQL of DATABASE_URL" in said
    assert "the broker of REDIS_URL" in said
    assert not product.home.postgres.exists()
    assert not product.home.valkey.exists()
    product.stop()
    assert product.processes() == {}


def test_a_command_without_the_product_says_what_to_do(product: Product) -> None:
    said = product.manage("migrate", "--check")
    assert said.returncode == 2
    assert "start ./heteroscale up" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_wrong_setting_is_one_sentence(product: Product) -> None:
    said = product.manage("check", HETEROSCALE_TICK_S="often")
    assert said.returncode == 2
    assert said.stderr.startswith("heteroscale: HETEROSCALE_TICK_S: 'often' is not usable")
    assert "Traceback" not in said.stderr
