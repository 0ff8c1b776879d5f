"""The libraries' own fits: how far each is from its own target, and what it costs."""

from collections.abc import Mapping, Sequence
from math import isfinite, isnan, nan
from typing import NamedTuple

from comparisons.grades import Grade
from comparisons.policy import OPTIMUM, POSTERIOR
from comparisons.report.first_screen import worst_of
from comparisons.verdict import Verdict
from inference.catalogue import catalogue
from inference.estimate import Estimate
from inference.method import Method, label, variants


class EngineResult(NamedTuple):
    """One engine on one case.

    Attributes:
        engine: its label.
        off: fit error, the largest distance from its own target, in sd; NaN where unknown.
        outcome: the worst verdict on it; "" where there is none.
        claims: what the library says of its convergence.
        khat: Pareto k̂ of the posterior over the fit; NaN where there is none.
        holds: what its 95 % interval holds of the posterior at worst.
        mark: its grade.
        seconds: of the fit, compilation included.
        ess_per_second: of a sampler that passed its checks; NaN of others.
        trouble: why there is no result, or why it must not be relied on.
    """

    engine: str
    off: float = nan
    outcome: str = ""
    claims: str = ""
    khat: float = nan
    holds: float = nan
    mark: str = ""
    seconds: float = nan
    ess_per_second: float = nan
    trouble: str = ""


def engines(
    fits: Mapping[Method, Estimate],
    failures: Mapping[str, str],
    verdicts: Mapping[str, Sequence[Verdict]],
    grades: Sequence[Grade],
) -> list[EngineResult]:
    """The engines among the methods of a case, and what became of them, failed ones last.

    Args:
        fits: every estimate.
        failures: reasons by label of the methods that have none.
        verdicts: those of each claim, by its name.
        grades: of every method and quantity.
    """
    found = [_row(method, fit, verdicts, grades) for method, fit in fits.items() if method.shipped]
    classes = (cls for cls in catalogue().values() if cls.shipped)
    shipped = {label(method) for cls in classes for method in variants(cls, "standard")}
    failed = [EngineResult(name, trouble=why) for name, why in failures.items() if name in shipped]
    return found + failed


def _row(
    method: Method,
    fit: Estimate,
    verdicts: Mapping[str, Sequence[Verdict]],
    grades: Sequence[Grade],
) -> EngineResult:
    name, told = label(method), fit.record.attrs
    own = [grade for grade in grades if grade.method == name]
    claim = "posterior_agreement" if method.kind == "sampler" else "own_target"
    rows = [v for v in verdicts.get(claim, ()) if v.method == name and isfinite(v.observed)]
    unit = OPTIMUM if method.kind == "optimum" else POSTERIOR
    worst = max(rows, key=lambda v: v.excess / v.bound, default=None)
    seconds = sum(float(told.get(part, 0)) for part in ("compile", "warm_up", "run"))
    sampler = method.kind == "sampler" and not fit.problems
    timed = sampler and "ess" in told and seconds > 0
    return EngineResult(
        name,
        off=nan if worst is None else unit * worst.excess / worst.bound,
        outcome="" if worst is None else worst.outcome,
        claims=told.get("claims", "") or (f"R-hat {told['rhat']:.3f}" if "rhat" in told else ""),
        khat=float(told.get("khat", nan)),
        holds=min((grade.holds for grade in own if not isnan(grade.holds)), default=nan),
        mark=worst_of(own).mark if own and not sampler else "",
        seconds=seconds,
        ess_per_second=float(told["ess"]) / seconds if timed else nan,
        trouble=fit.problems[0] if fit.problems else "",
    )
