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
    found = []
    for method, fit in fits.items():
        if method.shipped:
            claim = "posterior_agreement" if method.kind == "sampler" else "own_target"
            rows = [v for v in verdicts.get(claim, ()) if v.method == label(method)]
            found.append(_row(method, fit, rows, [g for g in grades if g.method == label(method)]))
    classes = (cls for cls in catalogue().values() if cls.shipped)
    shipped = {label(method) for cls in classes for method in variants(cls, "standard")}
    return found + [EngineResult(n, trouble=why) for n, why in failures.items() if n in shipped]


def _row(
    method: Method, fit: Estimate, verdicts: Sequence[Verdict], grades: Sequence[Grade]
) -> EngineResult:
    told = fit.record.attrs
    known = (verdict for verdict in verdicts if isfinite(verdict.observed))
    worst = max(known, key=lambda v: v.excess / v.bound, default=None)
    unit = OPTIMUM if method.kind == "optimum" else POSTERIOR
    seconds = sum(float(told.get(part, 0)) for part in ("compile", "warm_up", "run"))
    sampler = method.kind == "sampler" and not fit.problems
    return EngineResult(
        label(method),
        off=nan if worst is None else unit * worst.excess / worst.bound,
        outcome="" if worst is None else worst.outcome,
        claims=told.get("claims", "") or (f"R-hat {told['rhat']:.3f}" if "rhat" in told else ""),
        khat=float(told.get("khat", nan)),
        holds=min((grade.holds for grade in grades if not isnan(grade.holds)), default=nan),
        mark=worst_of(grades).mark if grades and not sampler else "",
        seconds=seconds,
        ess_per_second=float(told.get("ess", nan)) / seconds if sampler and seconds else nan,
        trouble=fit.problems[0] if fit.problems else "",
    )
