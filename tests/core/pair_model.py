"""The life of one action of two writes, or of a soft scale-in, in every order of events.

Two objects hold a count each and have a version each; one action takes both from ``before`` to
``wanted``, the first before the second. Two workers carry it, die anywhere, and read what was so
a while ago; requests and answers are lost or late; people freeze, resume, let the service only be
observed, and change what the action rests on at any time; somebody else writes to either object,
and the next action comes as soon as it may. What is written is what ``services/actions.py`` and
``services/withdrawing.py`` do, statement by statement, and which state may follow is read from
``lifecycle.py``.

Taken as given: a request leaves in the same instant as the look before it, and arrives before the
deadline of its attempt or never. A worker may stand still before that look for any time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from controller.core.arrived import Arrived, arrived
from controller.core.lifecycle import ACTION_MOVES, IN_FLIGHT, TERMINAL_ACTIONS, ActionState
from controller.core.ports import ScaleView
from controller.core.types import Instances
from tests.core.lifecycle_model import BrokenError, Found

A = ActionState
OURS: Final = frozenset({"wanted", "back"})
COUNTS: Final = {"before": 1, "wanted": 2, "back": 1, "else": 9, "later": 8}
BEFORE: Final = COUNTS["before"]
SEEN: Final[dict[str, ActionState]] = {Arrived.ALL: A.APPLIED}
ANSWERED: Final = frozenset({A.RECORDED, A.WITHDRAWN, *TERMINAL_ACTIONS, A.APPLIED})
"""Where nothing of an action is on its way any more."""


class Thing(NamedTuple):
    """An object of the cluster: who wrote its count last, and how often it was written."""

    holds: str = "before"
    version: int = 0


class Request(NamedTuple):
    """A request on the wire: for which object at which version, or ``out`` for instances."""

    attempt: int
    thing: int
    version: int
    to: str


class Worker(NamedTuple):
    """Where a worker stands, with what it knew then: attempt, state, view, and what was so."""

    at: str = ""
    attempt: int = 0
    undo: bool = False
    thing: int = 0
    versions: tuple[int, ...] = ()
    state: str = ""
    seen: str = ""
    late: bool = False
    rest: bool = False


IDLE: Final = Worker()


class State(NamedTuple):
    """Everything: the action's row, workers, wire, cluster, people.

    ``clock`` runs from the first time that the action is half done: 2 is late, 3 is late twice.
    ``over`` says that the deadline of the last attempt has passed. ``soft`` is how far those are
    that are to leave first, ``is_out`` whether they are to be looked for, ``out`` whether they are
    out of service discovery. ``later`` is the next action: not there, in flight, over.
    """

    state: ActionState = A.RECORDED
    attempts: int = 0
    clock: int = 0
    over: bool = False
    soft: str = ""
    is_out: bool = False
    out: bool = False
    workers: tuple[Worker, ...] = (IDLE, IDLE)
    wire: tuple[Request, ...] = ()
    things: tuple[Thing, ...] = ()
    frozen: bool = False
    observed: bool = False
    turns: int = 0
    outside: int = 0
    landed: bool = False
    whole: bool = False
    blind: bool = False
    later: int = 0

    @property
    def held(self) -> bool:
        """Whether nothing may be sent."""
        return self.frozen or self.observed


@dataclass(frozen=True, slots=True)
class Rules:
    """The machine as it is, or with one safeguard taken away, and its bounds."""

    compares: bool = True
    records_first: bool = True
    looks_before_sending: bool = True
    looks_before_the_rest: bool = True
    looks_between: bool = True
    looks_at_mode: bool = True
    waits_before_undoing: bool = True
    waits_before_sending_again: bool = True
    waits_where_changed: bool = True
    reads_after_deadline: bool = True
    reads_back: bool = True
    one_in_flight: bool = True
    undoes: bool = True
    in_order: bool = True
    brings_home: bool = True
    fences: bool = True
    heeds_return: bool = True
    things: int = 2
    soft: bool = False
    most_attempts: int = 3
    most_turns: int = 0
    most_outside: int = 0
    most_later: int = 0


Step = tuple[str, State]


def search(rules: Rules) -> Found:
    """Try every order of events breadth first; the first violation comes by a shortest way."""
    start = State(things=(Thing(),) * rules.things)
    before: dict[State, tuple[State, str] | None] = {start: None}
    back: dict[State, list[State]] = {}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        for name, made in steps(state, rules):
            broken = next(_violations(state, made), "")
            if broken:
                return Found(len(before), broken, [*_way(before, state), name])
            after = _told_short(made, rules)
            back.setdefault(after, []).append(state)
            if after not in before:
                before[after] = state, name
                queue.append(after)
    ended = deque(state for state in before if _has_ended(state))
    can = set(ended)
    while ended:
        new = [one for one in back.get(ended.popleft(), ()) if one not in can]
        can.update(new)
        ended.extend(new)
    for state in before:
        if state not in can:
            said = "L2: from here nothing leads to an end of everything"
            return Found(len(before), said, _way(before, state))
    return Found(len(before))


def _way(before: dict[State, tuple[State, str] | None], state: State) -> list[str]:
    way: list[str] = []
    while (step := before[state]) is not None:
        state, name = step
        way.append(name)
    return way[::-1]


def _has_ended(state: State) -> bool:
    is_over = state.state in TERMINAL_ACTIONS or state.state == A.APPLIED
    return is_over and not state.is_out


def _told_short(state: State, rules: Rules) -> State:
    """Return the state without what no later step can tell apart: requests that come to nothing.

    Versions are counted from what is still on its way.
    """
    awaited = {(one.attempt, one.thing) for one in state.workers if one.at == "waiting"}
    wire = tuple(
        one
        for one in state.wire
        if not rules.compares
        or one.to == "out"
        or one.version == state.things[one.thing].version
        or (one.attempt, one.thing) in awaited
    )
    workers = [one if _can_do(one, state) else IDLE for one in state.workers]
    return state._replace(wire=wire, workers=tuple(sorted(workers)))


def _can_do(worker: Worker, state: State) -> bool:
    """Return whether a worker can still do anything: one that knows an old state can't move it."""
    if worker.at in {"looked", "claimed"}:
        return (worker.attempt, worker.state) == (state.attempts, state.state)
    return True


def _violations(before: State, after: State) -> Iterator[str]:
    """Yield which rules the step breaks."""
    yield from _of_claims(before, after)
    yield from _of_sending(before, after)
    yield from _of_writing(before, after)
    yield from _of_ends(before, after)


def _of_claims(before: State, after: State) -> Iterator[str]:
    returns = after.soft == "back" and after.state == A.WITHDRAWN
    if after.attempts > before.attempts and not returns:
        if before.frozen:
            yield "S16: claimed for sending while frozen"
        if before.observed:
            yield "S17: claimed for sending while only observed"
    if after.later == 1 and after.state in IN_FLIGHT:
        yield "S11: two actions in flight"


def _of_sending(before: State, after: State) -> Iterator[str]:
    for one in set(after.wire) - set(before.wire):
        if one.attempt > before.attempts:
            yield "S10: sent before it was recorded"
        if before.frozen:
            yield "S16: sent while frozen"
        if before.observed:
            yield "S17: sent while only observed"
        if before.state in ANSWERED and one.to != "out":
            yield f"S16: sent, and it was {before.state}"
        if any(old.attempt < one.attempt and old.to != "out" for old in before.wire):
            yield "S14: sent while an earlier request may still arrive"


def _of_writing(before: State, after: State) -> Iterator[str]:
    for number, (was, came) in enumerate(zip(before.things, after.things, strict=True)):
        if was.holds == came.holds or came.holds not in OURS:
            continue
        if was.holds not in OURS | {"before"}:
            yield f"S13: wrote over what is {was.holds}"
        if before.later:
            yield "S12: wrote after an action of a later epoch"
        if before.state not in {A.SENT, A.UNKNOWN}:
            yield f"S14, S16: a write arrived, and it was {before.state}"
        first = after.things[0].holds
        if number == 1 and came.holds == "wanted" and first in {"before", "back"}:
            yield "S5: the second write without the first"
        if before.soft and before.soft != "over":
            yield "S6: the count fell before the window was over"


def _of_ends(before: State, after: State) -> Iterator[str]:
    if after.state != before.state and before.state in TERMINAL_ACTIONS:
        yield f"S18: {before.state} was an end, and {after.state} came after"
    if after.state == A.APPLIED != before.state and not after.whole:
        yield "S15: called applied, and no read showed it"
    has_ended = after.state in TERMINAL_ACTIONS and after.state != before.state
    if has_ended and not after.outside and not after.blind:
        yield from _of_pairs(after)
    if after.out and not after.is_out and after.state in ANSWERED - {A.APPLIED, A.RECORDED}:
        yield "S16: somebody is out of service discovery, and nobody looks for them"


def _of_pairs(after: State) -> Iterator[str]:
    holds = [one.holds for one in after.things]
    if after.state == A.CANCELLED and "wanted" in holds:
        yield "S15: called off, and a write of it had arrived"
    is_half = "wanted" in holds and len(set(holds)) > 1
    if is_half and after.clock < (2 if after.turns else 3):
        yield "S5: it ended half done before its time"


def steps(state: State, rules: Rules) -> Iterator[Step]:
    """Yield what may happen next, each with its words."""
    yield from _people(state, rules)
    yield from _clock(state)
    yield from _cluster(state, rules)
    yield from _begin(state, rules)
    for place, worker in enumerate(state.workers):
        if worker != IDLE:
            yield "a worker dies", _placed(state, place, IDLE)
            yield from ON[worker.at](state, place, worker, rules)


def _placed(state: State, place: int, worker: Worker) -> State:
    workers = list(state.workers)
    workers[place] = worker
    return state._replace(workers=tuple(sorted(workers)))


def _moved(state: State, to: ActionState, **more: object) -> State:
    if to != state.state and to not in ACTION_MOVES[state.state]:
        raise BrokenError(f"{state.state} → {to} is in no table")
    return state._replace(state=to, **more)  # type: ignore[arg-type]


def _people(state: State, rules: Rules) -> Iterator[Step]:
    if state.turns < rules.most_turns:
        turned = state._replace(turns=state.turns + 1)
        word = "somebody resumes" if state.frozen else "somebody freezes"
        yield word, turned._replace(frozen=not state.frozen)
        word = "it may act again" if state.observed else "the service is only observed"
        yield word, turned._replace(observed=not state.observed)
    if not state.later < rules.most_later:
        return
    if state.state not in IN_FLIGHT or not rules.one_in_flight:
        yield "the next action is recorded", state._replace(later=1)


def _clock(state: State) -> Iterator[Step]:
    if 0 < state.clock < 3 and state.state in IN_FLIGHT:
        yield "the time of the pair runs on", state._replace(clock=state.clock + 1)
    if state.state in {A.SENT, A.UNKNOWN} and not state.over and not _is_carried(state):
        yield "its deadline passes", state._replace(over=True)
    if state.is_out and state.soft in {"over", "back"} and not _is_taking_out(state):
        yield from _home(state)


def _home(state: State) -> Iterator[Step]:
    """``_bring_home``, once no request that takes somebody out can arrive any more."""
    if state.state not in IN_FLIGHT:
        yield "whoever is out returns", state._replace(out=False, is_out=False)


def _is_taking_out(state: State) -> bool:
    return any(one.to == "out" for one in state.wire)


def _is_carried(state: State) -> bool:
    """Return whether anything of the last attempt can still arrive."""
    return any(one.attempt == state.attempts and one.to != "out" for one in state.wire) or any(
        one.attempt == state.attempts and one.at in {"waiting", "answered"}
        for one in state.workers
    )


def _cluster(state: State, rules: Rules) -> Iterator[Step]:
    for number, one in enumerate(state.things):
        if state.outside < rules.most_outside:
            yield (
                f"somebody else writes object {number}",
                _written(state, number, "else")._replace(outside=state.outside + 1),
            )
            yield (
                f"object {number} gets another version",
                _written(state, number, one.holds)._replace(outside=state.outside + 1),
            )
        if state.later == 1:
            yield (
                f"the next action writes object {number}",
                _written(state, number, "later")._replace(later=2),
            )
    for request in state.wire:
        rest = state._replace(wire=tuple(one for one in state.wire if one != request))
        if request.to == "out":
            yield "a request to leave is lost", rest
            yield from _leaves(rest)
            continue
        yield f"a request for object {request.thing} is lost", rest
        thing = state.things[request.thing]
        if rules.compares and request.version != thing.version:
            yield from _answers(rest, request, "no")
            continue
        yield from _answers(rest, request, "no")
        landed = _written(rest, request.thing, request.to)
        whole = state.whole or all(one.holds == "wanted" for one in landed.things)
        gone = {"out": False} if request.to == "wanted" and state.soft else {}
        landed = landed._replace(landed=True, whole=whole, **gone)
        yield from _answers(landed, request, "yes")


def _leaves(state: State) -> Iterator[Step]:
    gone = any(one.holds == "wanted" for one in state.things)
    soft = "out" if state.soft == "asked" and state.state == A.WITHDRAWN else state.soft
    yield "they leave service discovery", state._replace(out=not gone, soft=soft)


def _written(state: State, number: int, to: str) -> State:
    things = list(state.things)
    things[number] = Thing(to, things[number].version + 1)
    return state._replace(things=tuple(things))


def _answers(state: State, request: Request, said: str) -> Iterator[Step]:
    """The answer reaches whoever waits for it; that it is lost is told by the waiting."""
    for place, one in enumerate(state.workers):
        waits = one.at == "waiting" and one.thing == request.thing
        if waits and one.attempt == request.attempt:
            state = _placed(state, place, one._replace(at="answered", seen=said))
            break
    yield f"a request for object {request.thing} arrives: {said}", state


def _begin(state: State, rules: Rules) -> Iterator[Step]:
    """``run`` and ``resolve``, begun by whoever is free; what is not sent is called off."""
    if state.state == A.RECORDED:
        yield "it is called off", _moved(state, A.CANCELLED)
    if state.state == A.WITHDRAWN:
        yield from _soft(state, rules)
    if IDLE not in state.workers:
        return
    place = state.workers.index(IDLE)
    if state.state in {A.RECORDED, A.WITHDRAWN} and state.attempts < rules.most_attempts:
        yield from _run(state, place, rules)
    if state.state in {A.UNKNOWN, A.PARTLY} or (state.state == A.SENT and state.over):
        looked = Worker(
            "looked", state.attempts, state=state.state, late=state.over, undo=state.observed
        )
        for seen in (_view(state), "unreadable", "refused"):
            yield f"a worker reads: {seen}", _placed(state, place, looked._replace(seen=seen))


def _soft(state: State, rules: Rules) -> Iterator[Step]:
    """Carry on with those that are out, or let them return."""
    if state.soft == "back":
        for to in (A.CANCELLED, A.FAILED):
            yield f"they are back: {to}", _moved(state, to, out=False, is_out=rules.fences)
        late = _moved(state, A.FAILED, is_out=rules.brings_home)
        yield "some are not back in time", late
        return
    returning = state._replace(soft="back", attempts=state.attempts + 1)
    yield "something speaks against it", returning
    if state.soft == "out":
        yield "the window is over", state._replace(soft="over")


def _run(state: State, place: int, rules: Rules) -> Iterator[Step]:
    if state.frozen or (state.observed and rules.looks_at_mode):
        return
    attempt = state.attempts + 1
    if rules.soft and state.soft == "":
        out = {"soft": "asked", "is_out": True}
        claimed = _moved(state, A.WITHDRAWN, attempts=attempt, **out)
        taking = Worker("taking out", attempt, state=A.WITHDRAWN)
        yield "a worker claims it, to take them out", _placed(claimed, place, taking)
        return
    if state.soft not in {"", "over"} and (rules.heeds_return or state.soft != "back"):
        return
    if not rules.records_first:
        wire = (*state.wire, Request(attempt, 0, state.things[0].version, "wanted"))
        yield "it is sent", state._replace(wire=wire)
        return
    claimed = _moved(state, A.SENT, attempts=attempt, over=False)
    yield "a worker claims it", _placed(claimed, place, Worker("claimed", attempt, state=A.SENT))


def _take_out(state: State, place: int, worker: Worker, _rules: Rules) -> Iterator[Step]:
    free = _placed(state, place, IDLE)
    if state.held or (state.state, state.attempts) != (A.WITHDRAWN, worker.attempt):
        yield "nobody is taken out", free
        return
    asked = Request(worker.attempt, 0, 0, "out")
    yield "they are asked to leave", free._replace(wire=tuple(sorted({*state.wire, asked})))


def _send(state: State, place: int, worker: Worker, rules: Rules) -> Iterator[Step]:
    """``_may_be_sent``, then what the adapter does before its first write."""
    holds = (state.state, state.attempts) == (A.SENT, worker.attempt)
    looks = rules.looks_before_the_rest if worker.rest else rules.looks_before_sending
    if looks and (not holds or state.over or state.held):
        yield "its claim is over", _not_sent(_placed(state, place, IDLE), worker)
        return
    versions = tuple(one.version for one in state.things)
    found = worker._replace(at="answered", versions=versions, seen="yes", thing=-1)
    if not {one.holds for one in state.things} <= OURS | {"before"}:
        found = found._replace(seen="no")
    if found.seen == "no":
        yield "it no longer fits", _placed(state, place, found)
        return
    yield from _next(state, place, found, rules)


def _not_sent(state: State, worker: Worker) -> State:
    if (state.state, state.attempts) != (A.SENT, worker.attempt):
        return state
    if state.clock:
        return _moved(state, A.PARTLY)
    return _moved(state, A.WITHDRAWN if state.is_out else A.RECORDED)


def _next(state: State, place: int, worker: Worker, rules: Rules) -> Iterator[Step]:
    """Send the next write that is due of what the worker saw, or read back where none is."""
    order = range(len(state.things)) if rules.in_order else range(len(state.things))[::-1]
    due = [one for one in order if _is_due(state.things[one], worker)]
    if worker.thing >= 0:
        due = [one for one in due if order.index(one) > order.index(worker.thing)]
    if not due:
        for seen in (_view(state), "unreadable"):
            yield f"it is read back: {seen}", _read_back(state, place, worker, seen, rules)
        return
    to = "back" if worker.undo else "wanted"
    request = Request(worker.attempt, due[0], worker.versions[due[0]], to)
    sent = state._replace(wire=tuple(sorted({*state.wire, request})))
    waiting = worker._replace(at="waiting", thing=due[0], seen="")
    yield f"object {due[0]} is asked to be {to}", _placed(sent, place, waiting)


def _is_due(thing: Thing, worker: Worker) -> bool:
    return thing.holds == "wanted" if worker.undo else thing.holds != "wanted"


def _wait(state: State, place: int, worker: Worker, rules: Rules) -> Iterator[Step]:
    """No answer in time, whether the request is lost, slow, or its answer is lost."""
    to = A.UNKNOWN if rules.reads_back else A.APPLIED
    yield f"no answer: {to}", _settled(_placed(state, place, IDLE), worker, to)


def _answered(state: State, place: int, worker: Worker, rules: Rules) -> Iterator[Step]:
    if worker.seen == "yes":
        if worker.thing >= 0 and rules.looks_between and state.held and _has_more(state, worker):
            yield from _told_no(state, place, worker, "not sent")
            return
        yield from _next(state, place, worker, rules)
        return
    if worker.thing >= 0 and _is_a_new_version(state, worker):
        if rules.looks_between and state.held:
            yield from _told_no(state, place, worker, "not sent")
            return
        fresh = worker._replace(versions=tuple(one.version for one in state.things))
        yield from _next(state, place, fresh._replace(thing=worker.thing - 1), rules)
        return
    for why in ("no", "not sent"):
        yield from _told_no(state, place, worker, why)


def _is_a_new_version(state: State, worker: Worker) -> bool:
    """Return whether a conflict was about something else than counts, so that it is sent anew."""
    thing = state.things[worker.thing]
    return (
        thing.version != worker.versions[worker.thing]
        and _is_due(thing, worker)
        and {one.holds for one in state.things} <= OURS | {"before"}
    )


def _has_more(state: State, worker: Worker) -> bool:
    return any(_is_due(one, worker) for one in state.things[worker.thing + 1 :])


def _told_no(state: State, place: int, worker: Worker, why: str) -> Iterator[Step]:
    """``_cut_short`` and ``_nothing_sent``, which read whether a part of it was taken."""
    free = _placed(state, place, IDLE)
    unsent = A.WITHDRAWN if state.is_out else A.RECORDED
    ends = {"no": A.FAILED, "not sent": unsent}[why]
    if len(state.things) == 1:
        yield f"{why}: {ends}", _settled(free, worker, ends)
        return
    seen = _view(state)
    to = A.PARTLY if seen == Arrived.PART else ends
    yield f"{why}, and it shows {seen}: {to}", _settled(free, worker, to)
    to = A.PARTLY if state.clock else A.UNKNOWN
    yield f"{why}, and it can't be read: {to}", _settled(free, worker, to)


def _read_back(state: State, place: int, worker: Worker, seen: str, _rules: Rules) -> State:
    to = {Arrived.ALL: A.APPLIED, "unreadable": A.UNKNOWN}.get(seen, A.FAILED)
    return _settled(_placed(state, place, IDLE), worker, to)


def _settled(state: State, worker: Worker, to: ActionState) -> State:
    """Move the action if it is still as the worker knew it."""
    known = worker.state or A.SENT
    if (state.state, state.attempts) != (known, worker.attempt) or to == known:
        return state
    clock = {"clock": 1} if to == A.PARTLY and not state.clock else {}
    return _moved(state, to, **clock)


def _looked(state: State, place: int, worker: Worker, rules: Rules) -> Iterator[Step]:
    """``resolve`` after its read, which may be old by now; what it is sure of can't be."""
    free = _placed(state, place, IDLE)
    if worker.state == A.PARTLY and worker.seen == Arrived.PART:
        yield from _other_half(free, worker, rules)
        return
    is_over = worker.late if rules.reads_after_deadline else state.over
    to = _found(state, worker, rules, is_over=is_over)
    blind = {"blind": True} if to == A.FAILED and worker.seen == "refused" else {}
    yield f"that look ends as {to}", _settled(free, worker, to)._replace(**blind)


def _found(state: State, worker: Worker, rules: Rules, *, is_over: bool) -> ActionState:
    seen, is_blind = worker.seen, worker.seen in {"unreadable", "refused"}
    if worker.state == A.PARTLY:
        ends = state.clock == 3 if is_blind else True
        return SEEN.get(seen, A.FAILED) if ends else A.PARTLY
    waits = {
        "unreadable": True,
        Arrived.PART: rules.waits_before_undoing,
        Arrived.NOTHING: rules.waits_before_sending_again,
        Arrived.ALL: False,
        Arrived.UNDONE: False,
    }
    if waits.get(seen, rules.waits_where_changed) and (not is_over or seen == "unreadable"):
        return A.UNKNOWN
    unsent = A.WITHDRAWN if state.is_out else A.RECORDED
    return {**SEEN, Arrived.PART: A.PARTLY, Arrived.NOTHING: unsent}.get(seen, A.FAILED)


def _other_half(state: State, worker: Worker, rules: Rules) -> Iterator[Step]:
    """Claim the other half or the way back; where neither may be sent, end it once it is late."""
    if (state.state, state.attempts) != (A.PARTLY, worker.attempt):
        yield "somebody else was faster", state
        return
    observed = state.observed if rules.looks_at_mode else worker.undo
    still = state.frozen or observed
    if state.clock == 3 or (state.clock == 2 and still) or not rules.undoes:
        yield "it ends half way", _settled(state, worker, A.FAILED)
        return
    yield "it stays half done", state
    if still or state.attempts == rules.most_attempts:
        return
    attempt = state.attempts + 1
    claimed = _moved(state, A.SENT, attempts=attempt, over=False)
    place = claimed.workers.index(IDLE)
    for undo in (False, True) if state.clock < 2 and not state.observed else (True,):
        word = "take it back" if undo else "send the other half"
        sending = Worker("claimed", attempt, undo, state=A.SENT, rest=True)
        yield f"a worker claims it to {word}", _placed(claimed, place, sending)


def _view(state: State) -> str:
    """Return what of the action a read shows, by the very function that the code asks."""
    pair = Instances(*(COUNTS[one.holds] for one in (*state.things, *state.things)[:2]))
    holds = {one.holds for one in state.things}
    mine = frozenset({"mine"})
    view = ScaleView(
        desired=pair,
        ready=pair,
        resource_version="old" if holds == {"before"} else "new",
        last_action=None,
        last_epoch=1,
        actions=mine if "wanted" in holds else frozenset(),
        undone=mine if "back" in holds else frozenset(),
    )
    both = {"before": Instances(BEFORE, BEFORE), "to": Instances(2, 2)}
    return arrived(view, "mine", version="old", **both)


ON: Final = {
    "claimed": _send,
    "taking out": _take_out,
    "waiting": _wait,
    "answered": _answered,
    "looked": _looked,
}
