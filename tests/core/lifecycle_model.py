"""The life of proposals and actions as a small machine of which every order of events is tried.

One service, two workers, two proposals one after the other, up to three epochs. Workers die
anywhere, requests and answers are lost or arrive late, people freeze, resume, reject and withdraw
at any time, change the mode and back, somebody else writes to the cluster. Which state may follow
which is read from ``lifecycle.py``; the rest is what ``services/actions.py`` does, statement by
statement.

Two things are taken as given. A request is sent no later than its claim promises: the claim is
the moment that counts and that is shown. And a request arrives before its deadline or never: a
claimed action that nobody answers for is looked at only after it (``ANSWER_WITHIN_S``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from controller.core.lifecycle import (
    ACTION_MOVES,
    IN_FLIGHT,
    PROPOSAL_MOVES,
    TERMINAL_ACTIONS,
    TERMINAL_PROPOSALS,
    ActionState,
    ProposalState,
)

P, A = ProposalState, ActionState
OUTSTANDING: Final = frozenset({A.SENT, A.UNKNOWN})
OUTSIDE: Final = -1
"""Who wrote last, where it was somebody else."""


class Act(NamedTuple):
    """An action's row, and what is only known to whoever watches all: whether it took effect."""

    state: ActionState
    proposal: int
    version: int
    epoch: int
    attempts: int = 0
    landed: bool = False


class Proposed(NamedTuple):
    """A proposal's row: its state and the version of the cluster it was made for."""

    state: ProposalState
    version: int


ENDED: Final = Proposed(P.EXPIRED, 0)


class Worker(NamedTuple):
    """Where a worker stands with which action: what it saw or was answered, in which state."""

    at: str = ""
    action: int = -1
    attempt: int = 0
    seen: str = ""
    state: str = ""


class Request(NamedTuple):
    """A request on the wire."""

    action: int
    attempt: int
    version: int
    epoch: int


IDLE: Final = Worker()


class State(NamedTuple):
    """Everything: rows, workers, wire, cluster.

    ``freezes`` is odd while the service is frozen, ``flips`` while it is only observed.
    """

    proposals: tuple[Proposed, ...] = ()
    actions: tuple[Act, ...] = ()
    workers: tuple[Worker, ...] = (IDLE, IDLE)
    wire: tuple[Request, ...] = ()
    version: int = 1
    writer: int = OUTSIDE
    written_epoch: int = 0
    freezes: int = 0
    outside: int = 0
    flips: int = 0

    @property
    def frozen(self) -> bool:
        """Whether the freeze is in force."""
        return self.freezes % 2 == 1

    @property
    def observed(self) -> bool:
        """Whether the service is only observed."""
        return self.flips % 2 == 1


@dataclass(frozen=True, slots=True)
class Rules:
    """The machine as it is, or with one safeguard taken away."""

    proposals: Mapping[ProposalState, frozenset[ProposalState]] = field(
        default_factory=lambda: PROPOSAL_MOVES
    )
    actions: Mapping[ActionState, frozenset[ActionState]] = field(
        default_factory=lambda: ACTION_MOVES
    )
    compares: bool = True
    records_first: bool = True
    looks_at_freeze: bool = True
    looks_at_mode: bool = True
    waits_for_deadline: bool = True
    reads_back: bool = True
    one_in_flight: bool = True
    sweeps: bool = True
    most_proposals: int = 2
    most_attempts: int = 1
    most_freezes: int = 1
    most_flips: int = 0
    most_outside: int = 1


Step = tuple[str, State]


@dataclass(frozen=True, slots=True)
class Found:
    """What the search came to: how many states, and the first violation with its way there."""

    states: int
    broken: str = ""
    trace: Sequence[str] = ()

    def __str__(self) -> str:
        steps = [f"{number:2}. {step}" for number, step in enumerate(self.trace, 1)]
        return "\n".join([self.broken or f"nothing broken in {self.states:,} states", *steps])


class BrokenError(Exception):
    """A step breaks a rule of safety."""


def search(rules: Rules) -> Found:
    """Try every order of events breadth first; the first violation comes by a shortest way."""
    start = State()
    before: dict[State, tuple[State, str] | None] = {start: None}
    back: dict[State, list[State]] = {}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        for name, made in steps(state, rules):
            after = made
            broken = _violation(state, after)
            if broken:
                return Found(len(before), broken, [*_way(before, state), name])
            after = _told_short(after, rules)
            back.setdefault(after, []).append(state)
            if after not in before:
                before[after] = state, name
                queue.append(after)
    stuck = _stuck(before, back)
    if stuck is not None:
        said = "L2, L7: from here nothing leads to an end of everything"
        return Found(len(before), said, _way(before, stuck))
    return Found(len(before))


def _told_short(state: State, rules: Rules) -> State:
    """Return the state without what no later step can tell apart, so that there are few.

    All ends are alike where nothing follows an end, but for an action that was called off.
    """
    proposals = [one if rules.proposals[one.state] else ENDED for one in state.proposals]
    actions = [
        act
        if rules.actions[act.state]
        else Act(A.CANCELLED if act.state == A.CANCELLED else A.FAILED, *act[1:-1])
        for act in state.actions
    ]
    used = {act.proposal for act in actions}
    while proposals and proposals[-1] == ENDED and len(proposals) - 1 not in used:
        proposals.pop()
    wire = [one for one in state.wire if not rules.compares or _may_matter(one, state)]
    return state._replace(proposals=tuple(proposals), actions=tuple(actions), wire=tuple(wire))


def _may_matter(request: Request, state: State) -> bool:
    """Return whether a request can still change anything, or somebody waits for its answer."""
    return request.version == state.version or any(
        one.action == request.action and one.at == "waiting" for one in state.workers
    )


def _way(before: Mapping[State, tuple[State, str] | None], state: State) -> list[str]:
    way: list[str] = []
    while (step := before[state]) is not None:
        state, name = step
        way.append(name)
    return way[::-1]


def _stuck(known: Mapping[State, object], back: Mapping[State, Sequence[State]]) -> State | None:
    """Return the first state from which not everything can end, if there is one."""
    ended = [state for state in known if _has_ended(state)]
    can, queue = set(ended), deque(ended)
    while queue:
        for earlier in back.get(queue.popleft(), ()):
            if earlier not in can:
                can.add(earlier)
                queue.append(earlier)
    return next((state for state in known if state not in can), None)


def _has_ended(state: State) -> bool:
    return all(one.state in TERMINAL_PROPOSALS for one in state.proposals) and all(
        one.state in TERMINAL_ACTIONS for one in state.actions
    )


def _violation(before: State, after: State) -> str:
    """Return which rule the step breaks, or nothing."""
    for look in (_after_ends, _of_sending, _of_rows, _of_writing):
        for broken in look(before, after):
            return broken
    return ""


def _after_ends(before: State, after: State) -> Iterator[str]:
    # By kind: both have a state "applied", which is an end of one only.
    rows = [
        *(
            (old.state, new.state, TERMINAL_PROPOSALS)
            for old, new in zip(before.proposals, after.proposals, strict=False)
        ),
        *(
            (old.state, new.state, TERMINAL_ACTIONS)
            for old, new in zip(before.actions, after.actions, strict=False)
        ),
    ]
    for was, came, ends in rows:
        if was in ends and came != was:
            yield f"S18: {was} was an end, and {came} came after"


def _of_sending(before: State, after: State) -> Iterator[str]:
    for old, new in zip(before.actions, after.actions, strict=False):
        if new.state == A.SENT != old.state:
            if before.frozen:
                yield "S16: claimed for sending while frozen"
            if before.observed:
                yield "S17: claimed for sending while only observed"
            if after.proposals[new.proposal].state != P.APPLYING:
                yield "S18: sent without an approval that holds"
    for request in set(after.wire) - set(before.wire):
        if request.action >= len(before.actions):
            yield "S10: sent before it was recorded"


def _of_rows(_before: State, after: State) -> Iterator[str]:
    if sum(one.state in IN_FLIGHT for one in after.actions) > 1:
        yield "S11, S14: two actions in flight"
    if len({one.proposal for one in after.actions}) < len(after.actions):
        yield "S18: one approval was used twice"
    if any(one.state == A.APPLIED and not one.landed for one in after.actions):
        yield "S15: called applied, and no write arrived"


def _of_writing(before: State, after: State) -> Iterator[str]:
    if after.writer in {before.writer, OUTSIDE}:
        return
    action = after.actions[after.writer]
    if before.version != action.version:
        yield f"S13: wrote over version {before.version}, decided on version {action.version}"
    if action.epoch < before.written_epoch:
        yield f"S12: epoch {action.epoch} wrote after epoch {before.written_epoch}"
    if before.frozen and not any(one.state in OUTSTANDING for one in before.actions):
        yield "S16: a write after the freeze was shown as complete"
    if action.state == A.CANCELLED:
        yield "S15: a write of an action that was called off"


def steps(state: State, rules: Rules) -> Iterator[Step]:
    """Yield what may happen next, each with its words."""
    for moves in (_tick, _people, _start, _sweep_and_run, _go_on, _cluster):
        yield from moves(state, rules)


def _changed(state: State, number: int, to: ProposalState, **more: object) -> State:
    rows = list(state.proposals)
    rows[number] = rows[number]._replace(state=to)
    return state._replace(proposals=tuple(rows), **more)  # type: ignore[arg-type]


def _acted(state: State, number: int, to: ActionState, rules: Rules, **more: int) -> State:
    """Return the state after an action's conditional update; its proposal ends with it."""
    act = state.actions[number]
    if to not in rules.actions[act.state]:
        raise BrokenError(f"{act.state} → {to} is in no table")
    rows = list(state.actions)
    rows[number] = act._replace(state=to, **more)
    state = state._replace(actions=tuple(rows))
    ends = {A.APPLIED: P.APPLIED, A.FAILED: P.FAILED, A.CANCELLED: P.FAILED}.get(to)
    if ends is not None and ends in rules.proposals[state.proposals[act.proposal].state]:
        state = _changed(state, act.proposal, ends)
    return state


def _tick(state: State, rules: Rules) -> Iterator[Step]:
    """Propose where nothing is open; supersede what is pending and no longer wanted."""
    flying = any(one.state in IN_FLIGHT for one in state.actions)
    last = state.proposals[-1].state if state.proposals else None
    if len(state.proposals) < rules.most_proposals:
        made = (*state.proposals, Proposed(P.PENDING, state.version))
        free = not flying and (last is None or last in TERMINAL_PROPOSALS)
        if free or not rules.one_in_flight:
            yield "the tick proposes", state._replace(proposals=made)
    for i, one in enumerate(state.proposals):
        if one.state == P.PENDING and P.SUPERSEDED in rules.proposals[one.state]:
            yield f"the tick supersedes proposal {i}", _changed(state, i, P.SUPERSEDED)
    for i, act in enumerate(state.actions):
        if act.state == A.APPLIED:
            for to in (A.READY, A.FAILED):
                yield f"the tick finds action {i} {to}", _acted(state, i, to, rules)


BY_PEOPLE: Final = ((P.APPROVED, "approved"), (P.REJECTED, "rejected"), (P.WITHDRAWN, "withdrawn"))


def _people(state: State, rules: Rules) -> Iterator[Step]:
    for i, one in enumerate(state.proposals):
        for to, word in BY_PEOPLE:
            if to in rules.proposals[one.state] and not (to == P.APPROVED and state.frozen):
                yield f"proposal {i} is {word}", _changed(state, i, to)
        if P.EXPIRED in rules.proposals[one.state]:
            yield f"proposal {i} expires", _changed(state, i, P.EXPIRED)
    if state.freezes < rules.most_freezes:
        word = "somebody resumes" if state.frozen else "somebody freezes"
        yield word, state._replace(freezes=state.freezes + 1)
    if state.flips < rules.most_flips:
        word = "approval is asked for" if state.observed else "the service is only observed"
        yield word, state._replace(flips=state.flips + 1)


def _start(state: State, rules: Rules) -> Iterator[Step]:
    """``start_approved``: one transaction that makes an action of an approval, or says why not."""
    flying = any(one.state in IN_FLIGHT for one in state.actions)
    for i, one in enumerate(state.proposals):
        if P.APPLYING not in rules.proposals[one.state] or (flying and rules.one_in_flight):
            continue
        if _held(state, rules) or one.version != state.version:
            yield f"proposal {i} is found stale", _changed(state, i, P.STALE)
            continue
        number = len(state.actions)
        for epoch in _epochs(state):
            if not rules.records_first:
                sent = Request(number, 1, one.version, epoch)
                yield f"proposal {i} is sent", state._replace(wire=(*state.wire, sent))
                continue
            act = Act(A.RECORDED, i, one.version, epoch)
            yield (
                f"proposal {i} becomes action {number} of epoch {epoch}",
                _changed(state, i, P.APPLYING, actions=(*state.actions, act)),
            )


def _held(state: State, rules: Rules) -> bool:
    """Return whether a freeze or the mode is seen to hold everything."""
    frozen, observed = state.frozen and rules.looks_at_freeze, state.observed
    return frozen or (observed and rules.looks_at_mode)


def _epochs(state: State) -> Iterator[int]:
    """Yield under which epochs an action may be recorded: only their order matters."""
    newest = max((act.epoch for act in state.actions), default=0)
    yield max(newest, 1)
    if newest:
        yield newest + 1


def _placed(state: State, place: int, worker: Worker) -> State:
    """Return the state with one worker elsewhere; workers are alike, so their order is one."""
    workers = list(state.workers)
    workers[place] = worker
    return state._replace(workers=tuple(sorted(workers)))


def _sweep_and_run(state: State, rules: Rules) -> Iterator[Step]:
    """``run`` and ``resolve``, begun by whoever is free."""
    if IDLE not in state.workers:
        return
    place = state.workers.index(IDLE)
    for i, act in enumerate(state.actions):
        if A.SENT in rules.actions[act.state]:
            yield from _run(state, place, i, rules)
        elif act.state in OUTSTANDING and rules.sweeps:
            if act.state == A.SENT and _is_carried(state, i):
                continue
            for seen in (_view(state, i), "unreadable"):
                looked = Worker("looked", i, act.attempts, seen, act.state)
                yield f"a worker reads about action {i}: {seen}", _placed(state, place, looked)


def _is_carried(state: State, number: int) -> bool:
    """Return whether the deadline of a claimed action can't have passed yet."""
    return any(one.action == number for one in state.wire) or any(
        one.action == number and one.at != "looked" for one in state.workers
    )


def _view(state: State, number: int) -> str:
    """Return what a read shows about an action."""
    if state.writer == number:
        return "it arrived"
    return "unchanged" if state.version == state.actions[number].version else "changed"


def _run(state: State, place: int, number: int, rules: Rules) -> Iterator[Step]:
    act = state.actions[number]
    if A.CANCELLED in rules.actions[act.state]:
        yield f"action {number} is called off", _acted(state, number, A.CANCELLED, rules)
    if act.attempts == rules.most_attempts or _held(state, rules):
        return
    claimed = _acted(state, number, A.SENT, rules, attempts=act.attempts + 1)
    ready = Worker("claimed", number, act.attempts + 1)
    yield f"a worker claims action {number}", _placed(claimed, place, ready)


def _go_on(state: State, rules: Rules) -> Iterator[Step]:
    """Whatever a worker does next, and that it dies instead."""
    for place, worker in enumerate(state.workers):
        if worker == IDLE:
            continue
        yield "a worker dies", _placed(state, place, IDLE)
        yield from ON[worker.at](state, place, worker, rules)


def _send(state: State, place: int, worker: Worker, _rules: Rules) -> Iterator[Step]:
    act = state.actions[worker.action]
    request = Request(worker.action, worker.attempt, act.version, act.epoch)
    if request not in state.wire:
        state = state._replace(wire=tuple(sorted((*state.wire, request))))
    yield f"action {worker.action} is sent", _placed(state, place, worker._replace(at="waiting"))


def _wait(state: State, place: int, worker: Worker, rules: Rules) -> Iterator[Step]:
    """No answer in time, whether the request is lost, slow, or its answer is lost."""
    to = A.UNKNOWN if rules.reads_back else A.APPLIED
    yield from _settle(state, place, worker._replace(state=A.SENT), to, rules)


def _answered(state: State, place: int, worker: Worker, rules: Rules) -> Iterator[Step]:
    if worker.seen == "conflict":
        yield from _settle(state, place, worker._replace(state=A.SENT), A.FAILED, rules)
        return
    for each in (_view(state, worker.action), "unreadable"):
        looked = worker._replace(at="read back", seen=each, state=A.SENT)
        yield f"action {worker.action} is read back: {each}", _placed(state, place, looked)


def _read_back(state: State, place: int, worker: Worker, rules: Rules) -> Iterator[Step]:
    to = {"it arrived": A.APPLIED, "unreadable": A.UNKNOWN}.get(worker.seen, A.FAILED)
    yield from _settle(state, place, worker, to, rules)


def _looked(state: State, place: int, worker: Worker, rules: Rules) -> Iterator[Step]:
    """``resolve`` after its read: applied, changed outside, or sent again once it is too late."""
    known = {"it arrived": A.APPLIED, "unreadable": A.UNKNOWN, "changed": A.FAILED}
    to = known.get(worker.seen, A.RECORDED)
    if to == A.RECORDED and rules.waits_for_deadline and _is_carried(state, worker.action):
        to = A.UNKNOWN
    yield from _settle(state, place, worker, to, rules)


def _settle(
    state: State, place: int, worker: Worker, to: ActionState, rules: Rules
) -> Iterator[Step]:
    """Move the action if it is still as the worker knew it, which is then free."""
    act = state.actions[worker.action]
    free = _placed(state, place, IDLE)
    if act.state == worker.state != to:
        free = _acted(free, worker.action, to, rules)
    yield f"action {worker.action} ends this look as {free.actions[worker.action].state}", free


On = Callable[[State, int, Worker, Rules], Iterator[Step]]
ON: Final[Mapping[str, On]] = {
    "claimed": _send,
    "waiting": _wait,
    "answered": _answered,
    "read back": _read_back,
    "looked": _looked,
}


def _cluster(state: State, rules: Rules) -> Iterator[Step]:
    """The cluster takes or refuses what arrives, loses it, or is written to by somebody else."""
    if state.outside < rules.most_outside:
        yield (
            "somebody else writes to the cluster",
            state._replace(outside=state.outside + 1, version=state.version + 1, writer=OUTSIDE),
        )
    for request in state.wire:
        rest = state._replace(wire=tuple(one for one in state.wire if one != request))
        yield f"a request of action {request.action} is lost", rest
        if request.action >= len(state.actions):
            continue
        fits = request.version == state.version or not rules.compares
        if state.writer == request.action:
            yield from _answers(rest, request, "ok")
        elif not fits:
            yield from _answers(rest, request, "conflict")
        else:
            rows = list(rest.actions)
            rows[request.action] = rows[request.action]._replace(landed=True)
            landed = rest._replace(
                actions=tuple(rows),
                version=state.version + 1,
                writer=request.action,
                written_epoch=request.epoch,
            )
            yield from _answers(landed, request, "ok")


def _answers(state: State, request: Request, answer: str) -> Iterator[Step]:
    """The answer reaches whoever waits for it; that it is lost is told by the waiting."""
    waiting = Worker("waiting", request.action, request.attempt)
    if waiting in state.workers:
        place = state.workers.index(waiting)
        state = _placed(state, place, waiting._replace(at="answered", seen=answer))
    yield f"a request of action {request.action} arrives: {answer}", state
