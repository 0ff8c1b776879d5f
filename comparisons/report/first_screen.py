"""May the cheap answer be used on these data, and at what cost: the first screen, as data and text.

The page, the terminal and a notebook show the same: a sentence by consequence, warnings above it,
a line for each method.  A method is as good as its worst quantity (`comparisons.grades`); a fit
that misses its own target is not to be used, whatever its grade.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from math import isfinite, isnan, nan
from typing import NamedTuple, final

from comparisons.claims import GATE
from comparisons.grades import MARKS, Grade, Mark
from comparisons.policy import INTERVAL, POSTERIOR, PULL
from comparisons.reference import exact_posterior, reference, scalars
from comparisons.report.headline import family_name
from comparisons.verdict import Verdict
from inference.estimate import Estimate, Scalar
from inference.method import Method, label
from models.capabilities import HasOwnPrograms
from models.programs.density import quantity_table
from models.spec import Model

SHOWN = 3
"""Quantities on a line of the first screen."""
_DIGITS = 8
"""Most decimal places of an estimate."""


@final
class Line(NamedTuple):
    """One method.

    Attributes:
        method: its label, or those of several that agree.
        numbers: mean ± sd of each shown quantity, as text.
        holds: what its 95 % interval holds of the posterior at worst; NaN where unknown.
        mark: its grade; "" for the reference and for other samplers.
        words: the grade or the agreement in words.
        seconds: how long the fit took; NaN where unknown.
    """

    method: str
    numbers: tuple[str, ...]
    holds: float
    mark: Mark | str
    words: str
    seconds: float


@final
class FirstScreen(NamedTuple):
    """The first screen of a case.

    Attributes:
        title: model and data.
        sentence: the answer.
        warnings: what stands above it.
        shown: flat names of the quantities in the lines.
        lines: the reference first.
        notes: whether the two programs are one model, and what could not be fitted and why.
    """

    title: str
    sentence: str
    warnings: tuple[str, ...]
    shown: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The lines as cells of text, with a head."""
        rows = [("", *self.shown, "holds, at worst", "", "time")]
        for line in self.lines:
            holds = "–" if isnan(line.holds) else f"{100 * line.holds:.1f} %"
            seconds = "" if isnan(line.seconds) else f"{line.seconds:.3g} s"
            rows.append((line.method, *line.numbers, holds, line.words, seconds))
        return rows

    def text(self) -> str:
        """The screen as lines of text."""
        rows = self.rows if self.lines else []
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        warnings = [f"WARNING: {warning}" for warning in self.warnings]
        return "\n".join([self.title, *warnings, self.sentence, *table, *self.notes])


def first_screen(
    model: Model,
    title: str,
    fits: Mapping[Method, Estimate],
    verdicts: Mapping[str, Sequence[Verdict]],
    grades: Sequence[Grade],
    warnings: Sequence[str] = (),
) -> FirstScreen:
    """The first screen of a case; without grades where no sampler can be relied on.

    Args:
        model: the model.
        title: model and data in words.
        fits: every estimate.
        verdicts: those of each claim, by its name.
        grades: of every method and quantity.
        warnings: further ones, known to the caller.
    """
    gate, notes = verdicts.get(GATE, ()), list[str]()
    parted = [verdict for verdict in gate if verdict.outcome != "AGREE"]
    if parted:
        notes = ["PyMC ≠ NumPyro: the two programs are not shown to be one model."]
    elif gate:
        notes = [f"PyMC = NumPyro: one model ({len(gate)} statements agree)."]
    notes += _on_likelihood(model, fits)
    if parted and not fits:
        told = f"NOTHING WAS FITTED: the two programs are not one model ({parted[0].about})."
        return FirstScreen(title, told, tuple(warnings), (), (), tuple(notes))
    against = reference(fits)
    numbers = {method: scalars(model, fit) for method, fit in fits.items()}
    above = [*warnings, *_pulled(fits, numbers), *_missed(verdicts)]
    if against is None:
        told = (
            "UNKNOWN: no sampler of the posterior passed its checks, so nothing vouches for the "
            "cheap methods; estimates can still be compared with one another."
        )
        shown = _free(model, max(numbers.values(), key=len, default={}))[:SHOWN]
        words = {m: (*fit.problems, "nothing to judge it by")[0] for m, fit in fits.items()}
        lines = [_line(m, fits[m], numbers[m], shown, nan, "", words[m]) for m in fits]
    else:
        if note := fits[against].record.attrs.get("note"):  # few of its transitions diverged
            above.append(f"{label(against)}: {note}")
        own: dict[str, list[Grade]] = {}
        for grade in grades:
            own.setdefault(grade.method, []).append(grade)
        told = _sentence(fits, own, verdicts)
        shown = _shown(grades, _free(model, numbers[against]))
        lines = _lines(against, fits, numbers, shown, own, verdicts)
    return FirstScreen(title, told, tuple(above), tuple(shown), tuple(lines), tuple(notes))


def _on_likelihood(model: Model, fits: Mapping[Method, Estimate]) -> Iterator[str]:
    """A maximum near a spike, and why there is none."""
    maxima = [fit.record.attrs.get("note") for m, fit in fits.items() if m.target == "likelihood"]
    yield from (f"Maximum likelihood: {note}." for note in dict.fromkeys(filter(None, maxima)))
    if isinstance(model, HasOwnPrograms) and (reason := model.likelihood_problem):
        yield f"Maximum likelihood, MAP and Laplace's method were not fitted: {reason}."


def _lines(
    against: Method,
    fits: Mapping[Method, Estimate],
    numbers: Mapping[Method, Mapping[str, Scalar]],
    shown: Sequence[str],
    grades: Mapping[str, Sequence[Grade]],
    verdicts: Mapping[str, Sequence[Verdict]],
) -> Iterator[Line]:
    """The reference; then one for the languages of a method that fare alike, the worst of them."""
    yield _line(against, fits[against], numbers[against], shown, nan, "", "the reference")
    grouped: dict[tuple[str, str], list[tuple[Method, Line]]] = {}
    for method, fit in fits.items():
        if method == against:
            continue
        judgement = _judgement(method, fit, grades, verdicts)
        line = _line(method, fit, numbers[method], shown, *judgement)
        alone = method.kind == "sampler" or method.shipped
        alike = label(method) if alone else f"{method.name}{method.family}"
        grouped.setdefault((alike, line.mark), []).append((method, line))
    for group in grouped.values():
        worst = min((line for _, line in group), key=lambda line: (line.holds, line.method))
        if len(group) > 1:
            seconds = sum(line.seconds for _, line in group)
            worst = worst._replace(method=family_name(group[0][0]), seconds=seconds)
        yield worst


def _pulled(
    fits: Mapping[Method, Estimate], numbers: Mapping[Method, Mapping[str, Scalar]]
) -> Iterator[str]:
    """Where the prior moves the optimum by more than a standard error of the data."""
    sound = [m for m in fits if m.kind in ("optimum", "exact") and not fits[m].problems]
    likelihood = next((numbers[m] for m in sound if m.target == "likelihood"), {})
    joint = next((numbers[m] for m in sound if m.target == "posterior" and m.kind == "optimum"), {})
    pulls = {
        name: (joint[name].location - one.location) / one.sd
        for name, one in likelihood.items()
        if name in joint and one.sd > 0
    }
    name = max(pulls, key=lambda name: abs(pulls[name]), default=None)
    if name is not None and abs(pulls[name]) > PULL:
        yield (
            "the prior disagrees with the data: it moves "
            f"{name} from {likelihood[name].location:.4g} to {joint[name].location:.4g}, "
            f"{abs(pulls[name]):.1f} standard errors; widen the prior, or check the units"
        )


def _missed(verdicts: Mapping[str, Sequence[Verdict]]) -> Iterator[str]:
    """Differences that must not be, a sentence for each claim."""
    for name, found in verdicts.items():
        bad = [verdict for verdict in found if verdict.outcome == "DIFFER"]
        if bad and name != GATE:
            more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            first = bad[0]
            numbers = f"{first.observed:.4g}, not {first.expected:.4g}"
            yield f"{name.replace('_', ' ')}: {first.about} is {numbers}{more}"


def _free(model: Model, every: Iterable[str]) -> list[str]:
    """Without the last entry of a simplex, which the others tell."""
    names = list(every)
    simplices = [p.name for p in quantity_table(model) if p.support == "simplex"]
    last = {name for p in simplices for name in [n for n in names if n.startswith(f"{p}[")][-1:]}
    return [name for name in names if name not in last]


def _shown(grades: Sequence[Grade], every: Sequence[str]) -> list[str]:
    """The quantities that the methods get most wrong, in their own order."""
    gap: dict[str, float] = dict.fromkeys(every, 0.0)
    for grade in grades:
        if grade.parameter in gap:
            size = abs(INTERVAL - grade.holds) if isfinite(grade.holds) else abs(grade.shift) / 4
            gap[grade.parameter] = max(gap[grade.parameter], size)
    chosen = sorted(gap, key=lambda name: -gap[name])[:SHOWN]
    return [name for name in every if name in chosen]


def _line(
    method: Method,
    fit: Estimate,
    own: Mapping[str, Scalar],
    shown: Sequence[str],
    holds: float,
    mark: str,
    words: str,
) -> Line:
    parts = [fit.record.attrs.get(name, nan) for name in ("compile", "warm_up", "run")]
    known = [float(part) for part in parts if isfinite(part)]
    texts = tuple(_with_sd(own[name]) if name in own else "–" for name in shown)
    return Line(label(method), texts, holds, mark, words, sum(known) if known else nan)


def _with_sd(one: Scalar) -> str:
    """An estimate ± its sd, with two digits of the sd."""
    if not (isfinite(one.sd) and one.sd > 0 and isfinite(one.location)):
        return f"{one.location:.4g}"
    digits = max(0, 1 - int(f"{one.sd:.1e}".partition("e")[2]))
    if digits > _DIGITS:
        return f"{one.location:.6g} ± {one.sd:.2g}"
    return f"{one.location:.{digits}f} ± {one.sd:.{digits}f}"


def _judgement(
    method: Method,
    fit: Estimate,
    grades: Mapping[str, Sequence[Grade]],
    verdicts: Mapping[str, Sequence[Verdict]],
) -> tuple[float, str, str]:
    """The least that a method's interval holds, its grade, and the grade in words."""
    found = grades.get(label(method), ())
    if fit.problems or not found:
        return nan, "", "not judged" + (f": {fit.problems[0]}" if fit.problems else "")
    worst = worst_of(found)
    if method.kind == "sampler" or exact_posterior(method):
        return worst.holds, "", _agreement(label(method), verdicts)
    if cause := _off(label(method), verdicts):
        return worst.holds, "no", f"NO: {cause}"
    words = "NO" if worst.mark == "no" else worst.mark
    if worst.cause:
        words = f"{words}: {worst.parameter}: {worst.cause.partition(';')[0]}"
    return worst.holds, worst.mark, words


def worst_of(grades: Sequence[Grade]) -> Grade:
    """The grade of the quantity that a method gets most wrong."""
    return max(grades, key=_badness)


def _badness(grade: Grade) -> tuple[int, float]:
    """The mark and, among equal marks, by how much the interval fails."""
    gap = abs(INTERVAL - grade.holds) if isfinite(grade.holds) else abs(grade.shift)
    return _rank(grade), gap


def _rank(grade: Grade) -> int:
    return MARKS.index(grade.mark)


def _off(name: str, verdicts: Mapping[str, Sequence[Verdict]]) -> str:
    """How a fit misses its own target; "" if it does not."""
    own = (v for v in verdicts.get("own_target", ()) if v.method == name)
    causes = (verdict.cause for verdict in own if verdict.outcome == "DIFFER")
    return next((cause or "it misses its own target" for cause in causes), "")


def _agreement(name: str, verdicts: Mapping[str, Sequence[Verdict]]) -> str:
    """How a sampler stands beside the reference, with what would have been seen."""
    rows = [v for v in verdicts.get("posterior_agreement", ()) if v.method == name]
    known = [v for v in rows if v.outcome != "NOT COMPARABLE" and v.bound > 0]
    outcomes = {verdict.outcome for verdict in known}
    if "DIFFER" in outcomes:
        return "DIFFERS from the reference"
    if "UNSURE" in outcomes:
        return "not decided: more draws would tell"
    if not known:
        return "not judged"
    seen = [v.excess / v.bound * POSTERIOR for v in known if v.excess > v.z * v.error]
    if seen:
        return f"within {max(seen):.2f} sd"
    finest = max(v.z * v.error / v.bound * POSTERIOR for v in known)
    return f"no difference seen (one of {finest:.2f} sd would have been)"


def _called(method: Method) -> str:
    """A cheap method in words: all routes to the maximum of the likelihood are one."""
    if method.target == "likelihood":
        return "maximum likelihood"
    return method.name.replace("_", " ") + (f" ({method.family})" if method.family else "")


def _sentence(
    fits: Mapping[Method, Estimate],
    own: Mapping[str, Sequence[Grade]],
    verdicts: Mapping[str, Sequence[Verdict]],
) -> str:
    """May the cheapest method be used; if not, which may."""
    graded: dict[str, Grade] = {}
    missed: dict[str, list[str]] = {}
    for method in sorted(fits, key=lambda m: m.target != "likelihood"):
        found = own.get(label(method), ())
        if not found or method.kind == "sampler" or exact_posterior(method):
            continue
        worst, name = worst_of(found), _called(method)
        if _off(label(method), verdicts):
            missed.setdefault(name, []).append(label(method))
        elif name not in graded or _badness(worst) > _badness(graded[name]):
            graded[name] = worst
    if missed and not graded:
        told = ", ".join(chain.from_iterable(missed.values()))
        return f"NO: not found by its own definition: {told}."
    if not graded:
        return "No cheap method was fitted that could be judged."
    best = min(graded, key=lambda name: _badness(graded[name]))
    first = "maximum likelihood" if "maximum likelihood" in graded else best
    worst = graded[first]
    at_worst = f"Its estimate of {worst.parameter} is {worst.shift:+.2f} posterior sd off."
    if not isnan(worst.holds):
        held = f"{100 * worst.holds:.1f} % of the posterior ({worst.parameter})"
        at_worst = f"Its worst 95 % interval holds {held}."
    if worst.mark == "ok":
        return f"YES: {first} will do. {at_worst}"
    instead = "No cheap method is better graded."
    if better := [name for name, other in graded.items() if other.mark == "ok"]:
        instead = f"{' and '.join(better)} will do."
    elif better := [name for name, other in graded.items() if _rank(other) < _rank(worst)]:
        instead = f"{' and '.join(better)} {'is' if len(better) == 1 else 'are'} better graded."
    start = f"NO: {first} will not do."
    if worst.mark == "careful":
        start = f"WITH CARE: {first} is usable."
    cause = f"{worst.cause[:1].upper()}{worst.cause[1:]}. " if worst.cause else ""
    return f"{start} {at_worst} {cause}{instead}"
