"""Watches all clusters of Kubernetes at once, and keeps what it sees as rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog
from django.db import DatabaseError, connection

from controller.adapters.fleet.kubernetes.cluster import ClusterWatch, Server, Whole
from controller.core.kube.values import ServiceSeen
from controller.selectors import schema
from controller.selectors.node_use import holders
from controller.services import node_feed, sights
from controller.services.cluster_pause import RowPause

if TYPE_CHECKING:
    from controller.adapters.fleet.kubernetes.reflector import Pace
    from controller.services.sights import Watched

log = structlog.get_logger(__name__)

CONFIG_S: Final = 3.0
NOTE_S: Final = 2.0
FEED_S: Final = 30.0
"""How often the configuration is read, what is seen written, and nodes taken over, at most."""

AGAIN_S: Final = 30.0
"""How long after an access could not be used it is tried again."""

ServerOf = Callable[["Watched", "SharedPause"], Server]
"""Says who speaks to a cluster; it keeps to the pause."""


class SharedPause:
    """How long a cluster asked to wait: heeded by all threads at once, kept as a row by one.

    Threads that watch have no connection to the database of their own.
    """

    def __init__(self, row: RowPause) -> None:
        self._row = row
        self._until = self._shared = 0.0

    def left_s(self) -> float:
        """Return how much is left [s]."""
        return max(self._until - time.monotonic(), 0.0)

    def told(self, wait_s: float) -> None:
        """Remember that it asked to wait."""
        self._until = max(self._until, time.monotonic() + wait_s)

    def share(self) -> None:
        """Tell the others what was told here, or heed what they were told; one query."""
        if self._until > max(self._shared, time.monotonic()):
            self._row.told(self.left_s())
        else:
            self.told(self._row.left_s())
        self._shared = self._until


@dataclass(slots=True)
class _Cluster:
    """A cluster under watch, and what was written of it."""

    about: Watched
    watch: ClusterWatch | None
    pause: SharedPause
    fault: str = ""
    is_new: bool = True
    written: dict[str, ServiceSeen] = field(default_factory=dict)
    slugs: frozenset[str] | None = None
    fed: int | None = None
    fed_at: float = float("-inf")
    feeding: Future[tuple[str, ...]] | None = None
    told: tuple[str, ...] = ()
    begun_at: float = field(default_factory=time.monotonic)

    def is_to_be_tried(self) -> bool:
        """Return whether an access that could not be used may be usable by now."""
        return self.watch is None and time.monotonic() - self.begun_at >= AGAIN_S


class Watcher:
    """All clusters of the configuration, each by itself: what goes wrong with one stays there.

    Call :meth:`round` again and again from one thread. Without a database it only waits for one.
    """

    def __init__(self, server_of: ServerOf, pace: Pace) -> None:
        self._server_of = server_of
        self._pace = pace
        self._clusters: dict[UUID, _Cluster] = {}
        self._config_at = self._note_at = float("-inf")
        self._offset_s = 0.0
        self._said = ""
        self._feeder = ThreadPoolExecutor(1, thread_name_prefix="nodes")

    def round(self) -> None:
        """Do what is due. Nothing that goes wrong ends it."""
        try:
            self._round()
        except DatabaseError as fault:
            log.warning("the database does not answer", fault=str(fault).partition("\n")[0])
            connection.close()
            self._forget_what_was_written()
        except Exception:
            log.exception("a round of the watch failed")

    def _forget_what_was_written(self) -> None:
        """Write all of it anew, once it is known who may: what answers next may know less.

        A standby that took over need not have the last writes, and the locks went with the line.
        """
        self._config_at = float("-inf")
        for one in self._clusters.values():
            one.written, one.slugs, one.fed = {}, None, None

    def stop(self) -> None:
        """End all watches, and don't wait for what is under way."""
        self._feeder.shutdown(wait=False, cancel_futures=True)
        for cluster, one in self._clusters.items():
            _end(one)
            with suppress(DatabaseError):
                sights.release(cluster)

    def _round(self) -> None:
        now = time.monotonic()
        if now - self._config_at >= CONFIG_S:
            self._configure()
            self._config_at = now
        if now - self._note_at >= NOTE_S:
            self._note_at = now
            for cluster, one in self._clusters.items():
                self._note(cluster, one)

    def _configure(self) -> None:
        """Begin what is new, end what is gone, and follow other workloads."""
        differs = schema.difference()
        if differs is not None:
            self._say(differs.sentence)
        wanted = sights.watched() if differs is None else {}
        mine = {pk: one for pk, one in wanted.items() if sights.hold(pk)}
        self._offset_s = sights.now().timestamp() - time.monotonic()
        for pk in list(self._clusters):
            self._end_what_is_gone(pk, wanted, mine)
        for pk, about in mine.items():
            one = self._clusters.get(pk)
            if one is None or one.is_to_be_tried():
                one = self._clusters[pk] = self._begun(about)
            one.about = about
            if one.watch is not None:
                one.watch.follow(about.refs)

    def _end_what_is_gone(
        self, pk: UUID, wanted: Mapping[UUID, Watched], mine: Mapping[UUID, Watched]
    ) -> None:
        """End the watch of a cluster that is watched no more, by another, or by another access."""
        if pk in mine and mine[pk].version == self._clusters[pk].about.version:
            return
        _end(self._clusters.pop(pk))
        if pk not in wanted:
            sights.release(pk)
        elif pk not in mine:
            log.info("another watcher has it now", cluster=wanted[pk].cluster.slug)

    def _say(self, text: str) -> None:
        if text != self._said:
            log.warning("nothing is watched", why=text)
        self._said = text

    def _begun(self, about: Watched) -> _Cluster:
        slug, pause = about.cluster.slug, SharedPause(RowPause(about.cluster.pk))
        try:
            server = self._server_of(about, pause)
            watch = ClusterWatch(server, self._pace, about.access.namespaces)
        except DatabaseError:
            raise
        except Exception as fault:  # noqa: BLE001 - one access that can't be used stops no other
            log.warning("a cluster can't be watched", cluster=slug, fault=str(fault))
            return _Cluster(about, None, pause, f"It can't be reached: {fault}")
        log.info("a cluster is watched", cluster=slug)
        return _Cluster(about, watch, pause)

    def _note(self, cluster: UUID, one: _Cluster) -> None:
        """Write what is seen of one cluster; one that can't be told is left to the next round."""
        try:
            look = self._look(one)
            if look is None:
                return
            sights.note(cluster, look)
            one.pause.share()
        except DatabaseError:
            raise
        except Exception:
            log.exception("a cluster can't be noted", cluster=one.about.cluster.slug)
            return
        one.is_new = False
        one.written |= look.changed
        if look.services is not None:
            one.slugs = frozenset(look.services)
            one.written = {key: seen for key, seen in one.written.items() if key in one.slugs}
        if one.watch is not None:
            self._feed(cluster, one, one.watch)

    def _look(self, one: _Cluster) -> sights.Look | None:
        """Return what is to be written, ``None`` while nothing is known either way."""
        if one.watch is None:
            return sights.Look(sights.State.FAILED, (one.fault,), anew=one.is_new)
        now_s = self._offset_s + time.monotonic()
        seen = one.watch.look(now_s)
        if seen.current_at is None and not seen.is_dead and not seen.told:
            return None
        slugs = frozenset(one.about.refs)
        return sights.Look(
            state=_state(seen),
            told=(*seen.told, *one.told),
            age_s=None if seen.current_at is None else time.monotonic() - seen.current_at,
            anew=one.is_new,
            nodes=seen.nodes,
            pods=seen.pods,
            skew_s=one.watch.skew_s(now_s),
            changed=_changed(seen.services or {}, one.written),
            services=slugs if slugs != one.slugs else None,
        )

    def _feed(self, cluster: UUID, one: _Cluster, watch: ClusterWatch) -> None:
        """Hand changed nodes on, one cluster after the other, beside everything else."""
        if one.feeding is not None:
            if not one.feeding.done():
                return
            one.told, one.feeding = _fed(one.feeding), None
        now, listed = time.monotonic(), watch.nodes()
        if listed is None or listed[0] == one.fed or now - one.fed_at < FEED_S:
            return
        one.fed, one.fed_at = listed[0], now
        one.feeding = self._feeder.submit(_take_over, cluster, listed[1])


def _take_over(cluster: UUID, nodes: bytes) -> tuple[str, ...]:
    try:
        return node_feed.feed(cluster, nodes, holders(sights.now()))
    finally:
        connection.close()


def _fed(done: Future[tuple[str, ...]]) -> tuple[str, ...]:
    try:
        return done.result()
    except Exception as fault:
        log.exception("nodes can't be taken over")
        return (f"Its nodes can't be taken over: {type(fault).__name__}: {fault}",)


def _state(seen: Whole) -> sights.State:
    if seen.is_dead:
        return sights.State.FAILED
    return sights.State.PARTIAL if seen.told else sights.State.OK


def _changed(
    services: Mapping[str, ServiceSeen], written: Mapping[str, ServiceSeen]
) -> dict[str, ServiceSeen]:
    return {slug: seen for slug, seen in services.items() if written.get(slug) != seen}


def _end(one: _Cluster) -> None:
    if one.watch is not None:
        one.watch.stop()
