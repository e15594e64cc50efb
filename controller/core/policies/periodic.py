"""Windows of time that set the counts or the least of them; no metric is looked at."""

from controller.core.pairs import larger
from controller.core.policy_names import PERIODIC, is_alone
from controller.core.reasons import Code
from controller.core.schedule import Occurrence, Ruling, next_occurrences, ruling_at, wall_time
from controller.core.types import Context, Instances, PolicyConfig, Reason, Recommendation
from controller.core.words import clean, counts


def periodic(ctx: Context) -> Recommendation:
    """Return what the windows in force now ask for (HeteroScale §4.3).

    A target is the pair itself; floors raise what there is otherwise. That is the present pair
    where other policies size the service as well, and its minimum where this is the only one:
    nothing else could bring it back after a window. ``load`` is ``None``, and ``driver`` the one
    configured, which is not read.
    """
    config = ctx.spec.policy
    ruling = ruling_at(config, ctx.now_s)
    want = _wanted(_otherwise(ctx), ruling)
    code = Code.SCHEDULED if ruling or is_alone(config, PERIODIC) else Code.UNCHANGED
    text = _rule(ruling, config) if ruling else _pause(ctx)
    return Recommendation(want, Reason(code, text), config.driver, None, PERIODIC)


def _otherwise(ctx: Context) -> Instances:
    alone = is_alone(ctx.spec.policy, PERIODIC)
    return ctx.spec.limits.minimum if alone else ctx.state.desired


def _wanted(otherwise: Instances, ruling: Ruling | None) -> Instances:
    if ruling is None:
        return otherwise
    return ruling.counts if ruling.fixed else larger(otherwise, ruling.counts)


def _rule(ruling: Ruling, config: PolicyConfig) -> str:
    windows = " and ".join(
        f"'{clean(run.period.name)}' {_until(run, config)}" for run in ruling.by
    )
    noun, verb = ("Window", "asks") if len(ruling.by) == 1 else ("Windows", "ask")
    bound = "exactly" if ruling.fixed else "at least"
    return f"{noun} {windows} {verb} for {bound} {counts(ruling.counts)}"


def _until(run: Occurrence, config: PolicyConfig) -> str:
    return f"(until {wall_time(run.end_s, config)})"


def _pause(ctx: Context) -> str:
    config = ctx.spec.policy
    coming = next_occurrences(config, ctx.now_s, 1)
    then = "none is to come"
    if coming:
        name, begins = clean(coming[0].period.name), wall_time(coming[0].begin_s, config)
        then = f"the next is '{name}' from {begins}"
    alone = f", so the minimum of {counts(ctx.spec.limits.minimum)} holds"
    return f"No window is in force{alone if is_alone(config, PERIODIC) else ''}; {then}"
