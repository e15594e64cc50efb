"""Every setting the environment can give, declared once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

import environ

from controller.core.reach import AddressError, Reach, reach_of
from heteroscale_site.production import PLACEHOLDER, refusals

BASE_DIR = Path(__file__).resolve().parent.parent
NO_WORDS = frozenset({"", "0", "false", "no", "off"})
YES_WORDS = frozenset({"1", "true", "yes", "on"})
LARGEST_PORT = 65_535
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
SHORTEST_SECRET = 50
WHO = ("off", "approvers", "everybody")
REDIS_SCHEMES = frozenset({"redis", "rediss", "valkey", "valkeys"})


class ConfigurationError(Exception):
    """A setting is missing or wrong; the text names it and says how to put it right."""


class _UnusableError(ValueError):
    """The text says what to write instead."""


class ProcessRole(StrEnum):
    """What this process is for; ``up`` tells its children through the environment."""

    COMMAND = "command"
    STATIC = "static"
    TEST = "test"
    WEB = "web"
    WORKER = "worker"


@dataclass(frozen=True, slots=True)
class Broker:
    """Where Redis or Valkey listens, in the one form in which django-rq passes our retry rules."""

    host: str
    port: int
    database: int = 0
    username: str | None = None
    password: str | None = dataclasses.field(default=None, repr=False)
    encrypted: bool = False


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of the configuration page."""

    name: str
    group: str
    help: str
    kind: str
    default: str | None
    shown_default: str
    secret: bool


def _setting(  # noqa: PLR0913 - a declaration, read as a table row
    name: str,
    parse: Callable[[str], object],
    *,
    kind: str,
    group: str,
    help: str,  # noqa: A002 - the word the page uses
    default: str | None = None,
    shown_default: str | None = None,
    secret: bool = False,
) -> Any:  # noqa: ANN401 - stands where dataclasses.field stands
    shown = shown_default if shown_default is not None else (default or "not set")
    setting = Setting(name, group, help, kind, default, shown, secret)
    return dataclasses.field(repr=not secret, metadata={"setting": setting, "parse": parse})


def _text(raw: str) -> str:
    return raw


def _path(raw: str) -> Path:
    return Path(raw).expanduser().resolve()


def _flag(raw: str) -> bool:
    word = raw.strip().lower()
    if word in YES_WORDS:
        return True
    if word in NO_WORDS:
        return False
    raise _UnusableError("write 1 for yes or 0 for no")


def _frozen(raw: str) -> bool:
    # Anything that is not a clear "no" freezes: a typing error must not let writes through.
    return raw.strip().lower() not in NO_WORDS


def _seconds(raw: str) -> int:
    number = int(raw)
    if number < 1:
        raise _UnusableError("write a whole number of seconds, 1 or more")
    return number


def _days(raw: str) -> int:
    number = int(raw)
    if not 1 <= number <= 36_500:  # noqa: PLR2004 - a century
        raise _UnusableError("write a whole number of days from 1 to 36500")
    return number


def _mebibytes(raw: str) -> int:
    number = int(raw)
    if not 512 <= number <= 1_048_576:  # noqa: PLR2004 - the program alone takes half of 512; 1 TiB
        raise _UnusableError("write a whole number of MiB from 512 to 1048576")
    return number


def _speed(raw: str) -> float:
    number = float(raw)
    if not 0.0 < number <= 1000.0:  # noqa: PLR2004 - refuses nan and infinity as well
        raise _UnusableError("write a number above 0 and up to 1000")
    return number


def _share(raw: str) -> float:
    number = float(raw)
    if not 0.0 <= number <= 1.0:  # refuses nan as well
        raise _UnusableError("write a share from 0 to 1, such as 0.1")
    return number


def _count(raw: str) -> int:
    number = int(raw)
    if not 1 <= number <= 100_000:  # noqa: PLR2004 - more than any fleet counts
        raise _UnusableError("write a whole number from 1 to 100000")
    return number


def _gpus(raw: str) -> int:
    number = int(raw)
    if not 0 <= number <= 10_000_000:  # noqa: PLR2004 - more than anybody has
        raise _UnusableError("write a whole number of GPUs from 1 to 10000000, or 0 for no limit")
    return number


def _port(raw: str) -> int:
    number = int(raw)
    if not 0 < number <= LARGEST_PORT:
        raise _UnusableError("write a port number from 1 to 65535")
    return number


def _level(raw: str) -> str:
    if raw.upper() not in LOG_LEVELS:
        raise _UnusableError(f"write one of {', '.join(LOG_LEVELS)}")
    return raw.upper()


def _names(raw: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in raw.split(",") if name.strip())


def _issuer(raw: str) -> str:
    parts = urlsplit(raw.strip())
    if parts.scheme == "http" and parts.hostname not in {"127.0.0.1", "localhost"}:
        raise _UnusableError("what it says must be encrypted: begin with https://")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
        raise _UnusableError("write the issuer's address, such as https://id.example.org")
    return raw.strip().rstrip("/")


def _roles(raw: str) -> Mapping[str, str]:
    pairs = [pair.rpartition("=") for pair in raw.split(",") if pair.strip()]
    found = {group.strip(): role.strip() for group, _, role in pairs}
    if "" in found or "" in found.values():
        raise _UnusableError("write group=Role with commas between, such as sre=Approver")
    return found


def _networks(raw: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(name) for name in _names(raw))
    except ValueError as error:
        raise _UnusableError(
            "write addresses or networks such as 10.0.0.5 or 10.1.0.0/16, a comma between"
        ) from error


def _reach(raw: str) -> Reach:
    try:
        return reach_of(_names(raw))
    except AddressError as error:
        raise _UnusableError(
            f"{error}: write names, .ends.of.names, 10.0.0.5, 10.0.0.0/8"
        ) from error


def _who(raw: str) -> str:
    if raw.lower() not in WHO:
        raise _UnusableError(f"write one of {', '.join(WHO)}")
    return raw.lower()


def _secret_key(raw: str) -> str:
    if len(raw) < SHORTEST_SECRET:
        raise _UnusableError(f"write at least {SHORTEST_SECRET} random characters")
    return raw


def _time_zone(raw: str) -> str:
    try:
        ZoneInfo(raw)
    except (KeyError, OSError) as error:
        raise _UnusableError("write a zone name such as UTC or Europe/Zurich") from error
    return raw


def _database(raw: str) -> Mapping[str, Any]:
    wanted = _UnusableError("write postgres://user:password@host:5432/name")
    try:
        found: dict[str, Any] = environ.Env.db_url_config(raw)
    except (ValueError, KeyError) as error:
        raise wanted from error
    if found.get("ENGINE") != "django.db.backends.postgresql" or not found.get("NAME"):
        raise wanted
    # A host that is a directory, written %2Fvar%2Frun, names PostgreSQL's unix socket.
    found["HOST"] = unquote(found.get("HOST") or "")
    return found


def _broker(raw: str) -> Broker:
    wanted = _UnusableError("write redis://:password@host:6379/0")
    try:
        parts = urlsplit(raw)
        port = parts.port or 6379
        database = int(parts.path.strip("/") or "0")
    except ValueError as error:
        raise wanted from error
    if parts.scheme not in REDIS_SCHEMES or not parts.hostname:
        raise wanted
    return Broker(
        host=parts.hostname,
        port=port,
        database=database,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        encrypted=parts.scheme in {"rediss", "valkeys"},
    )


@dataclass(frozen=True, slots=True)
class Configuration:
    """The environment, read and checked."""

    home: Path = _setting(
        "HETEROSCALE_HOME",
        _path,
        kind="directory",
        group="Where things are",
        default=str(BASE_DIR / "var"),
        shown_default="`var` in the project",
        help="Directory for everything that is kept: data of the embedded servers, logs, "
        "accounts and generated secrets.",
    )
    host: str = _setting(
        "HETEROSCALE_HOST",
        _text,
        kind="address",
        group="Where things are",
        default="127.0.0.1",
        help="Address the web server listens on.",
    )
    port: int = _setting(
        "HETEROSCALE_PORT",
        _port,
        kind="port",
        group="Where things are",
        default="8000",
        help="Port the web server listens on.",
    )
    shared: Path = _setting(
        "HETEROSCALE_SHARED",
        _path,
        kind="directory",
        group="Where things are",
        default=str(BASE_DIR.parent / "shared"),
        shown_default="`../shared` next to the project",
        help="Directory with traces and other large data sets that are not part of the project.",
    )
    database: Mapping[str, Any] | None = _setting(
        "DATABASE_URL",
        _database,
        kind="postgres://…",
        group="Servers",
        shown_default="embedded PostgreSQL",
        secret=True,
        help="PostgreSQL to use instead of the embedded one.",
    )
    owner_database: Mapping[str, Any] | None = _setting(
        "HETEROSCALE_OWNER_URL",
        _database,
        kind="postgres://…",
        group="Servers",
        shown_default="the role of DATABASE_URL",
        secret=True,
        help="The same database as the role that owns its tables: commands and migrations use "
        "it, and grant the role of DATABASE_URL no more than the web server and the workers need.",
    )
    broker: Broker | None = _setting(
        "REDIS_URL",
        _broker,
        kind="redis://…",
        group="Servers",
        shown_default="embedded Valkey",
        secret=True,
        help="Redis or Valkey to use instead of the embedded one; `rediss://` encrypts.",
    )
    secret_key: str | None = _setting(
        "SECRET_KEY",
        _secret_key,
        kind="text",
        group="Security",
        shown_default="made once and kept in the data directory, embedded servers only",
        secret=True,
        help="Key that signs sessions and tokens; with DATABASE_URL it must be given, the same on "
        "every machine.",
    )
    allowed_hosts: tuple[str, ...] = _setting(
        "ALLOWED_HOSTS",
        _names,
        kind="names, comma between",
        group="Security",
        default="localhost,127.0.0.1,[::1]",
        help="Host names under which the pages may be asked for.",
    )
    trusted_origins: tuple[str, ...] = _setting(
        "CSRF_TRUSTED_ORIGINS",
        _names,
        kind="addresses, comma between",
        group="Security",
        default="",
        help="Origins such as `https://scale.example.org` that a proxy serves the pages under.",
    )
    oidc_issuer: str = _setting(
        "HETEROSCALE_OIDC_ISSUER",
        _issuer,
        kind="address",
        group="Sign-in through an identity provider",
        default=None,
        shown_default="not set: accounts and passwords are kept here",
        help="Issuer of an OpenID Connect provider; `/.well-known/openid-configuration` under it "
        "tells the rest.",
    )
    oidc_name: str = _setting(
        "HETEROSCALE_OIDC_NAME",
        _text,
        kind="text",
        group="Sign-in through an identity provider",
        default="",
        shown_default="the host of the issuer",
        help="What people call the provider; the button of the sign-in page says it.",
    )
    oidc_client_id: str = _setting(
        "HETEROSCALE_OIDC_CLIENT_ID",
        _text,
        kind="text",
        group="Sign-in through an identity provider",
        default="",
        help="Under what name this product is known there; its way back is "
        "`/sign-in/provider/back/`.",
    )
    oidc_client_secret: str = _setting(
        "HETEROSCALE_OIDC_CLIENT_SECRET",
        _text,
        kind="text",
        group="Sign-in through an identity provider",
        default="",
        help="The secret that goes with it.",
        secret=True,
    )
    oidc_scopes: str = _setting(
        "HETEROSCALE_OIDC_SCOPES",
        _text,
        kind="words",
        group="Sign-in through an identity provider",
        default="openid profile email",
        help="What is asked for; add the scope that makes the provider name groups.",
    )
    oidc_roles_claim: str = _setting(
        "HETEROSCALE_OIDC_ROLES_CLAIM",
        _text,
        kind="name",
        group="Sign-in through an identity provider",
        default="groups",
        help="The claim that names a person's groups.",
    )
    oidc_roles: Mapping[str, str] = _setting(
        "HETEROSCALE_OIDC_ROLES",
        _roles,
        kind="group=Role, comma between",
        group="Sign-in through an identity provider",
        default="",
        help="Which group has which role here, for everything; nobody without one comes in. "
        "Looked at each time somebody signs in.",
    )
    proxies: tuple[IPv4Network | IPv6Network, ...] = _setting(
        "HETEROSCALE_PROXIES",
        _networks,
        kind="addresses or networks, comma between",
        group="Security",
        default="",
        help="The proxies in front of the web server: only from them are `X-Forwarded-For` and "
        "`X-Forwarded-Proto` believed. The audit keeps the source of a request, and wrong "
        "passwords are counted by it.",
    )
    metrics_reach: Reach | None = _setting(
        "HETEROSCALE_METRICS_HOSTS",
        _reach,
        kind="names, addresses, networks, comma between",
        group="Security",
        shown_default="with the embedded PostgreSQL any host, else public ones",
        help="Hosts of this machine and of private networks that metrics may be read from: names "
        "(`.example.org` is all below it), addresses and networks. Link-local addresses and those "
        "that tell a machine's credentials are never asked.",
    )
    production: bool = _setting(
        "HETEROSCALE_PRODUCTION",
        _flag,
        kind="yes or no",
        group="Security",
        default="0",
        help="Set to 1 where people rely on it: a start that would not be safe is refused, with "
        "every setting that is lacking, and there is no demonstration.",
    )
    exec_plugins: tuple[str, ...] = _setting(
        "HETEROSCALE_EXEC_PLUGINS",
        _names,
        kind="commands, comma between",
        group="Security",
        default="",
        shown_default="none",
        help="Programs that a kubeconfig may name to fetch credentials, such as "
        "`aws,gke-gcloud-auth-plugin`, written as kubeconfigs write them. Whoever may connect a "
        "cluster chooses their arguments.",
    )
    secure: bool = _setting(
        "HETEROSCALE_SECURE",
        _flag,
        kind="yes or no",
        group="Security",
        default="0",
        help="Set to 1 when HTTPS ends in front of the web server: secure cookies, HSTS and a "
        "redirect from HTTP.",
    )
    idle_s: int = _setting(
        "HETEROSCALE_IDLE_S",
        _seconds,
        kind="seconds",
        group="Security",
        default="7200",
        help="A session ends after this long without a click; pages that refresh themselves do "
        "not count.",
    )
    session_s: int = _setting(
        "HETEROSCALE_SESSION_S",
        _seconds,
        kind="seconds",
        group="Security",
        default="43200",
        help="A session ends this long after signing in, whatever happened since.",
    )
    fresh_s: int = _setting(
        "HETEROSCALE_FRESH_S",
        _seconds,
        kind="seconds",
        group="Security",
        default="300",
        help="What matters most, such as resuming or changing people, asks for the password again "
        "when it was last given longer ago.",
    )
    second_factor: str = _setting(
        "HETEROSCALE_SECOND_FACTOR",
        _who,
        kind="off, approvers or everybody",
        group="Security",
        default="off",
        help="Who must have an authenticator beside the password: nobody, those who may approve "
        "(recommended), or everybody. Whoever has one is asked for it in any case.",
    )
    queue_token: str | None = _setting(
        "RQ_API_TOKEN",
        _text,
        kind="text",
        group="Security",
        secret=True,
        help="Bearer token for the queue's own metrics; without it only administrators read them.",
    )
    audit_anchor: Path | None = _setting(
        "HETEROSCALE_AUDIT_ANCHOR",
        _path,
        kind="file",
        group="Audit",
        shown_default="`audit-anchor.jsonl` in the data directory",
        help="File that the newest hash of the audit is appended to; best on another machine's "
        "disk or one that only takes additions.",
    )
    audit_anchor_s: int = _setting(
        "HETEROSCALE_AUDIT_ANCHOR_S",
        _seconds,
        kind="seconds",
        group="Audit",
        default="600",
        help="Time from one line of that file to the next, while the audit grows.",
    )
    tick_s: int = _setting(
        "HETEROSCALE_TICK_S",
        _seconds,
        kind="seconds",
        group="Control loop",
        default="15",
        help="Time from one look at the services to the next.",
    )
    lease_s: int = _setting(
        "HETEROSCALE_LEASE_S",
        _seconds,
        kind="seconds",
        group="Control loop",
        default="60",
        help="How long the right to act lasts without being renewed; longer than a tick.",
    )
    max_age_s: int = _setting(
        "HETEROSCALE_MAX_AGE_S",
        _seconds,
        kind="seconds",
        group="Control loop",
        default="45",
        help="Oldest sample a decision may rest on.",
    )
    window_s: int = _setting(
        "HETEROSCALE_WINDOW_S",
        _seconds,
        kind="seconds",
        group="Control loop",
        default="60",
        help="Length of the window that signals are computed over.",
    )
    observe_s: int = _setting(
        "HETEROSCALE_OBSERVE_S",
        _seconds,
        kind="seconds",
        group="Control loop",
        default="7",
        help="Longest that a tick waits for its metrics; shorter than a tick. What has not "
        "answered by then is missing.",
    )
    removal_frac: float = _setting(
        "HETEROSCALE_REMOVAL_FRAC",
        _share,
        kind="share",
        group="Control loop",
        default="0.1",
        help="Of the GPUs that serve in the whole fleet, the share that may be removed by itself "
        "within the window below, or one instance; what goes beyond is proposed.",
    )
    removal_window_s: int = _setting(
        "HETEROSCALE_REMOVAL_WINDOW_S",
        _seconds,
        kind="seconds",
        group="Control loop",
        default="600",
        help="Time over which removals of the whole fleet are counted.",
    )
    soft_s: int = _setting(
        "HETEROSCALE_SOFT_S",
        _seconds,
        kind="seconds",
        group="Control loop",
        default="60",
        help="How long instances that are to go are out of service discovery and only watched: "
        "if TTFT or TBT suffers they return.",
    )
    drain_s: int = _setting(
        "HETEROSCALE_DRAIN_S",
        _seconds,
        kind="seconds",
        group="Control loop",
        default="300",
        help="How long after that they may finish what they work on, unless it is known that "
        "they have finished.",
    )
    max_gpus: int = _setting(
        "HETEROSCALE_MAX_GPUS",
        _gpus,
        kind="GPUs",
        group="Control loop",
        default="0",
        shown_default="0, no limit",
        help="Most GPUs that all services together may hold, those that drain included.",
    )
    second_approver_gpus: int = _setting(
        "HETEROSCALE_SECOND_APPROVER_GPUS",
        _gpus,
        kind="GPUs",
        group="Control loop",
        default="64",
        help="A change of more GPUs takes a second approver; 0: however many they are.",
    )
    freeze: bool = _setting(
        "HETEROSCALE_FREEZE",
        _frozen,
        kind="anything but 0, false, no or off",
        group="Control loop",
        default="",
        shown_default="not frozen",
        help="Stops every write to a cluster from these processes.",
    )
    breaker_failed: int = _setting(
        "HETEROSCALE_BREAKER_FAILED",
        _count,
        kind="number",
        group="Circuit breakers",
        default="3",
        help="Automatic changes of a service that failed, of its last few, which stop it.",
    )
    breaker_of: int = _setting(
        "HETEROSCALE_BREAKER_OF",
        _count,
        kind="number",
        group="Circuit breakers",
        default="5",
        help="How many of its last automatic changes these are.",
    )
    breaker_failed_s: int = _setting(
        "HETEROSCALE_BREAKER_FAILED_S",
        _seconds,
        kind="seconds",
        group="Circuit breakers",
        default="1800",
        help="Time within which they are counted.",
    )
    breaker_reversals: int = _setting(
        "HETEROSCALE_BREAKER_REVERSALS",
        _count,
        kind="number",
        group="Circuit breakers",
        default="4",
        help="Changes of direction of a service that stop it.",
    )
    breaker_reversals_s: int = _setting(
        "HETEROSCALE_BREAKER_REVERSALS_S",
        _seconds,
        kind="seconds",
        group="Circuit breakers",
        default="1800",
        help="Time within which they are counted.",
    )
    breaker_fleet_failed: int = _setting(
        "HETEROSCALE_BREAKER_FLEET_FAILED",
        _count,
        kind="number",
        group="Circuit breakers",
        default="5",
        help="Services with a failed change that stop the whole fleet.",
    )
    breaker_fleet_failed_frac: float = _setting(
        "HETEROSCALE_BREAKER_FLEET_FAILED_FRAC",
        _share,
        kind="share",
        group="Circuit breakers",
        default="0.3",
        help="The same as a share of all services, and at least 3; what is reached first counts.",
    )
    breaker_fleet_failed_s: int = _setting(
        "HETEROSCALE_BREAKER_FLEET_FAILED_S",
        _seconds,
        kind="seconds",
        group="Circuit breakers",
        default="600",
        help="Time within which they are counted.",
    )
    breaker_fresh_before_frac: float = _setting(
        "HETEROSCALE_BREAKER_FRESH_BEFORE_FRAC",
        _share,
        kind="share",
        group="Circuit breakers",
        default="0.8",
        help="Share of services with fresh metrics from which a loss of metrics begins.",
    )
    breaker_fresh_after_frac: float = _setting(
        "HETEROSCALE_BREAKER_FRESH_AFTER_FRAC",
        _share,
        kind="share",
        group="Circuit breakers",
        default="0.5",
        help="Below this share it has ended, and the whole fleet stops.",
    )
    breaker_fresh_ticks: int = _setting(
        "HETEROSCALE_BREAKER_FRESH_TICKS",
        _count,
        kind="ticks",
        group="Circuit breakers",
        default="2",
        help="Ticks within which the share has to fall.",
    )
    breaker_load_drop_frac: float = _setting(
        "HETEROSCALE_BREAKER_LOAD_DROP_FRAC",
        _share,
        kind="share",
        group="Circuit breakers",
        default="0.6",
        help="Share of the load that stops the whole fleet when more is lost within one tick; "
        "1: never.",
    )
    keep_backtests_d: int = _setting(
        "HETEROSCALE_KEEP_BACKTESTS_D",
        _days,
        kind="days",
        group="Backtests",
        default="90",
        help="Backtests that ended longer ago are deleted, and traces no backtest used since.",
    )
    backtest_memory_mib: int = _setting(
        "HETEROSCALE_BACKTEST_MEMORY_MIB",
        _mebibytes,
        kind="MiB",
        group="Backtests",
        default="4096",
        help="Address space the process of a backtest may take, about 256 MiB of it for the "
        "program; one that needs more has failed, and the servers beside it live on.",
    )
    demo_speed: float = _setting(
        "HETEROSCALE_DEMO_SPEED",
        _speed,
        kind="number",
        group="Demonstration",
        default="1",
        help="How many times faster the demonstration's load runs; rates and clocks stay.",
    )
    time_zone: str = _setting(
        "TIME_ZONE",
        _time_zone,
        kind="zone name",
        group="Pages",
        default="UTC",
        help="Zone in which times are shown; they are kept in UTC.",
    )
    log_level: str = _setting(
        "LOG_LEVEL",
        _level,
        kind="DEBUG, INFO, WARNING or ERROR",
        group="Pages",
        default="INFO",
        help="Least severe log line that is written.",
    )
    debug: bool = _setting(
        "DEBUG",
        _flag,
        kind="yes or no",
        group="Security",
        default="0",
        help="Shows tracebacks in the browser; for development on this machine only.",
    )
    role: ProcessRole = dataclasses.field(default=ProcessRole.COMMAND)

    @property
    def embedded_database(self) -> bool:
        """Whether PostgreSQL comes from the wheel."""
        return self.database is None

    @property
    def embedded_broker(self) -> bool:
        """Whether Valkey comes from the wheel."""
        return self.broker is None


def breaker_thresholds(configuration: Configuration) -> dict[str, Any]:
    """Return from when on the controller stops itself, by the names the breakers know."""
    prefix = "breaker_"
    return {
        each.name.removeprefix(prefix): getattr(configuration, each.name)
        for each in dataclasses.fields(Configuration)
        if each.name.startswith(prefix)
    }


def declared() -> tuple[Setting, ...]:
    """Every setting, in the order of the declarations."""
    fields = dataclasses.fields(Configuration)
    return tuple(each.metadata["setting"] for each in fields if each.metadata)


def load(environment: Mapping[str, str]) -> Configuration:
    """Read and check the environment.

    Raises :class:`ConfigurationError` naming the first setting that is wrong and what to write.
    """
    values: dict[str, Any] = {
        each.name: _read(each.metadata["setting"], each.metadata["parse"], environment)
        for each in dataclasses.fields(Configuration)
        if each.metadata
    }
    configuration = Configuration(**values, role=_role(environment))
    _check_together(configuration)
    _check_breakers(configuration)
    _check_production(configuration)
    return configuration


def _role(environment: Mapping[str, str]) -> ProcessRole:
    raw = environment.get("HETEROSCALE_PROCESS") or ProcessRole.COMMAND
    try:
        return ProcessRole(raw)
    except ValueError as error:
        raise ConfigurationError(
            f"HETEROSCALE_PROCESS: {raw!r} is not usable, `up` sets it itself, so unset it or "
            f"write one of {', '.join(ProcessRole)}."
        ) from error


def _read(
    setting: Setting, parse: Callable[[str], object], environment: Mapping[str, str]
) -> object:
    # An empty variable is how compose files and unit files say "not set".
    raw = environment.get(setting.name, "") or setting.default
    if raw is None:
        return None
    if PLACEHOLDER in raw:
        raise ConfigurationError(
            f"{setting.name}: still has {PLACEHOLDER} of the example in it, write your own."
        )
    try:
        return parse(raw)
    except ValueError as error:
        shown = "its value" if setting.secret else repr(raw)
        fix = str(error) if isinstance(error, _UnusableError) else f"write {setting.kind}"
        raise ConfigurationError(f"{setting.name}: {shown} is not usable, {fix}.") from error


def _check_together(configuration: Configuration) -> None:
    if configuration.lease_s <= configuration.tick_s:
        raise ConfigurationError(
            f"HETEROSCALE_LEASE_S: {configuration.lease_s} s is not longer than one tick of "
            f"{configuration.tick_s} s, write more than HETEROSCALE_TICK_S."
        )
    if configuration.observe_s >= configuration.tick_s:
        raise ConfigurationError(
            f"HETEROSCALE_OBSERVE_S: {configuration.observe_s} s is not shorter than one tick of "
            f"{configuration.tick_s} s, write less than HETEROSCALE_TICK_S."
        )
    if configuration.max_age_s < configuration.tick_s:
        raise ConfigurationError(
            f"HETEROSCALE_MAX_AGE_S: samples would be too old after {configuration.max_age_s} s "
            f"with a tick of {configuration.tick_s} s, write at least HETEROSCALE_TICK_S."
        )
    if configuration.database is not None and configuration.secret_key is None:
        raise ConfigurationError(
            "SECRET_KEY: not set, and with DATABASE_URL every machine must share one; write at "
            f"least {SHORTEST_SECRET} random characters."
        )
    if configuration.oidc_issuer and not (
        configuration.oidc_client_id and configuration.oidc_client_secret
    ):
        raise ConfigurationError(
            "HETEROSCALE_OIDC_CLIENT_ID: an identity provider is set, so write what it knows this "
            "product as, and HETEROSCALE_OIDC_CLIENT_SECRET."
        )
    if configuration.owner_database is not None and configuration.database is None:
        raise ConfigurationError(
            "HETEROSCALE_OWNER_URL: names the owner of a database that is not given, write "
            "DATABASE_URL too."
        )
    if configuration.debug and configuration.secure:
        raise ConfigurationError(
            "DEBUG: tracebacks must not be shown behind HTTPS, unset DEBUG or HETEROSCALE_SECURE."
        )


def _check_production(configuration: Configuration) -> None:
    # Collecting files for the browser asks no server and has none.
    if not configuration.production or configuration.role is ProcessRole.STATIC:
        return
    found = list(refusals(configuration))
    if found:
        raise ConfigurationError("\n".join(found))


def _check_breakers(configuration: Configuration) -> None:
    if configuration.breaker_of < configuration.breaker_failed:
        raise ConfigurationError(
            f"HETEROSCALE_BREAKER_OF: of {configuration.breaker_of} changes never "
            f"{configuration.breaker_failed} fail, write at least HETEROSCALE_BREAKER_FAILED."
        )
    if configuration.breaker_fresh_after_frac > configuration.breaker_fresh_before_frac:
        raise ConfigurationError(
            "HETEROSCALE_BREAKER_FRESH_AFTER_FRAC: a share does not fall to "
            f"{configuration.breaker_fresh_after_frac} from "
            f"{configuration.breaker_fresh_before_frac}, write at most "
            "HETEROSCALE_BREAKER_FRESH_BEFORE_FRAC."
        )
