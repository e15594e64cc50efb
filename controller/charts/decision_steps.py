"""F9: how each step changed what a decision asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from controller.charts.plot import CLEAR, Plot, Trace, axis, escape, layout, titled, token
from controller.core.phrases import STEP_WORDS
from controller.core.types import Instances, Role

if TYPE_CHECKING:
    from controller.charts.clock import Clock
    from controller.selectors.series import DecisionRecord, StepRow

COLUMNS: Final = (
    "step",
    "prefill before",
    "prefill after",
    "decode before",
    "decode after",
    "reason code",
    "detail",
)
ROLES: Final = (Role.PREFILL, Role.DECODE)
NOW, DECIDED, THEN = "now", "decided", "second half"
ROW_PX: Final = 30
LONGEST_STEP: Final = 16


def decision_steps(record: DecisionRecord, clock: Clock) -> Plot:
    """Return bars on transparent bases, one column a role: from now through each step to decided.

    A step is drawn between what it got and what it left; full bars show the counts before and
    after all of them [instances].
    """
    mark = record.mark
    names = _names(record.steps)
    if mark.then is not None:
        names.append(THEN)
    traces = [
        trace for i, role in enumerate(ROLES) for trace in _bars(record, names, role, str(i + 1))
    ]
    tops = {
        role: 1.3
        * max(
            1,
            mark.current.of(role),
            mark.final.of(role),
            (mark.then or mark.final).of(role),
            *(s.after.of(role) for s in record.steps),
        )
        for role in ROLES
    }
    return {
        "data": traces,
        "layout": layout(
            barmode="stack",
            bargap=0.35,
            hovermode="closest",
            margin={"l": 118, "r": 16, "t": 28, "b": 44},
            height=28 + 44 + ROW_PX * max(4, len(names)),
            xaxis=_count_axis([0, 0.47], tops[Role.PREFILL]),
            xaxis2=_count_axis([0.53, 1], tops[Role.DECODE]),
            yaxis=axis(
                type="category",
                categoryorder="array",
                categoryarray=list(reversed(names)),
                range=[-0.5, len(names) - 0.5],
                showgrid=False,
                tickfont={"color": token("text")},
                dtick=1,
            ),
            annotations=[
                {
                    "text": role.value.capitalize(),
                    "xref": "paper",
                    "yref": "paper",
                    "x": x,
                    "y": 1,
                    "xanchor": "left",
                    "yanchor": "bottom",
                    "yshift": 4,
                    "showarrow": False,
                    "font": {"color": token(role.value), "size": 12, "weight": 600},
                }
                for role, x in zip(ROLES, (0, 0.53), strict=True)
            ],
        ),
        "summary": _summary(record, clock),
        "table": {
            "columns": list(COLUMNS),
            "rows": [
                [
                    word_of(step),
                    step.before.prefill,
                    step.after.prefill,
                    step.before.decode,
                    step.after.decode,
                    step.code,
                    step.detail,
                ]
                for step in record.steps
            ],
        },
        "compact": {
            "margin.l": 104,
            "xaxis.range": [0, 1.5 * tops[Role.PREFILL]],
            "xaxis2.range": [0, 1.5 * tops[Role.DECODE]],
        },
        "live": False,
        "as_of_s": mark.last_s,
    }


def _count_axis(domain: list[float], top: float) -> Trace:
    return axis(
        domain=domain,
        range=[0, top],
        rangemode="tozero",
        nticks=5,
        tickformat=",d",
        title=titled("instances"),
    )


def word_of(step: StepRow) -> str:
    """Return what the tables call a step."""
    return STEP_WORDS.get(step.name, step.name)


def _names(steps: tuple[StepRow, ...]) -> list[str]:
    """Return the rows' names, each once: a step that ran twice gets a number."""
    seen: dict[str, int] = {}
    names = [NOW]
    for step in steps:
        shown = escape(word_of(step), longest=LONGEST_STEP)
        seen[shown] = seen.get(shown, 0) + 1
        names.append(shown if seen[shown] == 1 else f"{shown} {seen[shown]}")
    return [*names, DECIDED]


def _bars(record: DecisionRecord, names: list[str], role: Role, number: str) -> list[Trace]:
    pairs = [
        (Instances(0, 0), record.mark.current),
        *((step.before, step.after) for step in record.steps),
        (Instances(0, 0), record.mark.final),
    ]
    ends = {0, len(pairs) - 1}
    details = ["", *(f"{step.code}: {step.detail}" for step in record.steps), ""]
    if record.mark.then is not None:
        pairs.append((record.mark.final, record.mark.then))
        details.append("once the GPUs are free that the first half gives back")
    before = [pair[0].of(role) for pair in pairs]
    after = [pair[1].of(role) for pair in pairs]
    x = "x" if number == "1" else f"x{number}"
    shared = {"type": "bar", "orientation": "h", "y": names, "xaxis": x, "yaxis": "y"}
    changes = [b - a for a, b in zip(before, after, strict=True)]
    color = token(role.value)
    return [
        shared
        | {
            "name": f"{role} base",
            "x": [min(a, b) for a, b in zip(before, after, strict=True)],
            "marker": {"color": CLEAR},
            "hoverinfo": "skip",
        },
        shared
        | {
            "name": role.value,
            "x": [abs(change) for change in changes],
            "marker": {
                "color": [
                    color if i in ends or c > 0 else token("card") for i, c in enumerate(changes)
                ],
                "line": {"color": color, "width": 1.5},
            },
            "text": [
                f"{a}" if i in ends else _signed(c, a)
                for i, (c, a) in enumerate(zip(changes, after, strict=True))
            ],
            "textposition": "outside",
            "outsidetextfont": {"color": token("text")},
            "cliponaxis": False,
            "customdata": [
                escape(_wrapped(detail), longest=None).replace("\n", "<br>") for detail in details
            ],
            "hovertemplate": "%{y}: %{text}<br>%{customdata}<extra></extra>",
        },
    ]


def _signed(change: int, after: int) -> str:
    if change == 0:
        return f"{after}"
    return f"{'+' if change > 0 else '−'}{abs(change)} → {after}"


def _wrapped(text: str, width: int = 48) -> str:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def _summary(record: DecisionRecord, clock: Clock) -> str:
    mark = record.mark
    changed = [step.name for step in record.steps if step.before != step.after]
    by = f" Changed by {', '.join(changed)}." if changed else " No step changed a number."
    return (
        f"{record.name} at {clock.hour(mark.first_s)} {clock.title}: prefill "
        f"{mark.current.prefill} → {mark.final.prefill} (wanted {mark.raw.prefill}), decode "
        f"{mark.current.decode} → {mark.final.decode} (wanted {mark.raw.decode})."
        f"{_later(mark.then)}{by}"
    )


def _later(then: Instances | None) -> str:
    return "" if then is None else f" Then prefill {then.prefill}, decode {then.decode}."
