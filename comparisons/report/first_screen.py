"""May the cheap answer be used on these data, and at what cost: the first screen, as data and text.

The page, the terminal and a notebook show the same: a sentence by consequence, warnings above it,
a line for each method.  A method is as good as its worst quantity (`comparisons.grades`); a fit
that misses its own target is not to be used, whatever its grade.
"""

from __future__ import annotations

from itertools import chain
from math import isfinite, isnan, nan
from typing import TYPE_CHECKING, NamedTuple, final

from comparisons.claims import GATE
from comparisons.grades import MARKS
from comparisons.policy import INTERVAL, POSTERIOR, PULL
from comparisons.reference import exact_posterior, reference, scalars
from inference.method import label
from models.capabilities import HasOwnPrograms
from models.programs.density import quantity_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from comparisons.grades import Grade, Mark
    from comparisons.verdict import Verdict
    from inference.estimate import Estimate, Scalar
    from inference.method import Method
    from models.spec import Model

SHOWN = 3
"""Quantities on a line of the first screen."""
_WORDS = {"ok": "ok", "careful": "careful", "no": "NO"}


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
    """The first screen of a case.

    Args:
        model: the model.
        title: model and data in words.
        fits: every estimate.
        verdicts: those of each claim, by its name.
        grades: of every method and quantity.
        warnings: further ones, known to the caller.

    Returns:
        The screen; its lines are without grades where no sampler can be relied on.
    """
    gate = verdicts.get(GATE, ())
    notes = tuple(_notes(model, gate))
    parted = [verdict for verdict in gate if verdict.outcome != "AGREE"]
    if parted and not fits:
        told = f"NOTHING WAS FITTED: the two programs are not one model ({parted[0].about})."
        return FirstScreen(title, told, tuple(warnings), (), (), notes)
    against = reference(fits)
    numbers = {method: scalars(model, fit) for method, fit in fits.items()}
    pulled = _pulled(fits, numbers)
    above = (*warnings, *pulled, *_missed(verdicts), *_noted(against, fits))
    if against is None:
        told = (
            "UNKNOWN: no sampler of the posterior passed its checks, so nothing vouches for the "
            "cheap methods; estimates can still be compared with one another."
        )
        shown, lines = _unjudged(model, fits, numbers)
        return FirstScreen(title, told, above, shown, lines, notes)
    own: dict[str, list[Grade]] = {}
    for grade in grades:
        own.setdefault(grade.method, []).append(grade)
    shown = _shown(grades, _free(model, list(numbers[against])))
    first = _line(against, fits[against], numbers[against], shown, nan, "", "the reference")
    judged = {
        method: _judged(method, fit, numbers[method], shown, own, verdicts)
        for method, fit in fits.items()
        if method != against
    }
    lines = (first, *_grouped(judged))
    return FirstScreen(title, _sentence(fits, own, verdicts), above, shown, lines, notes)


def _grouped(judged: Mapping[Method, Line]) -> Iterator[Line]:
    """The lines, one for the languages of a method that fare alike."""
    grouped: dict[tuple[str, str], list[tuple[Method, Line]]] = {}
    for method, line in judged.items():
        alone = method.kind == "sampler" or method.shipped
        alike = label(method) if alone else f"{method.name}{method.family}"
        grouped.setdefault((alike, line.mark), []).append((method, line))
    yield from map(_together, grouped.values())


def _together(group: Sequence[tuple[Method, Line]]) -> Line:
    """One line for the languages of a method that fare alike: the worst of them, all their time."""
    worst = min((line for _, line in group), key=lambda line: (line.holds, line.method))
    if len(group) == 1:
        return worst
    method = group[0][0]
    name = f"{method.name}[{method.family}]" if method.family else method.name
    return worst._replace(method=name, seconds=sum(line.seconds for _, line in group))


def _unjudged(
    model: Model,
    fits: Mapping[Method, Estimate],
    numbers: Mapping[Method, Mapping[str, Scalar]],
) -> tuple[tuple[str, ...], tuple[Line, ...]]:
    """The first quantities and a line for each method, where there is no reference."""
    every = list(max(numbers.values(), key=len, default={}))
    shown, words = tuple(_free(model, every)[:SHOWN]), "nothing to judge it by"
    lines = (_line(m, fit, numbers[m], shown, nan, "", words) for m, fit in fits.items())
    return shown, tuple(lines)


def _notes(model: Model, gate: Sequence[Verdict]) -> Iterator[str]:
    if gate and all(verdict.outcome == "AGREE" for verdict in gate):
        yield f"PyMC = NumPyro: one model ({len(gate)} statements agree)."
    elif gate:
        yield "PyMC ≠ NumPyro: the two programs are not shown to be one model."
    if isinstance(model, HasOwnPrograms) and (reason := model.likelihood_problem):
        yield f"Maximum likelihood, MAP and Laplace's method were not fitted: {reason}."


def _pulled(
    fits: Mapping[Method, Estimate], numbers: Mapping[Method, Mapping[str, Scalar]]
) -> Iterator[str]:
    """Where the prior moves the optimum by more than a standard error of the data."""
    sound = [m for m in fits if m.kind in ("optimum", "exact") and not fits[m].problems]
    likelihood = next((numbers[m] for m in sound if m.target == "likelihood"), None)
    joint = next((numbers[m] for m in sound if m.target == "posterior" and m.kind == "optimum"), {})
    if likelihood is None:
        return
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


def _noted(against: Method | None, fits: Mapping[Method, Estimate]) -> Iterator[str]:
    """The note on the reference, where there is one: few of its transitions diverged."""
    if against is not None and (note := fits[against].record.attrs.get("note")):
        yield f"{label(against)}: {note}"


def _free(model: Model, every: Sequence[str]) -> list[str]:
    """Without the last entry of a simplex, which the others tell."""
    simplices = [p.name for p in quantity_table(model) if p.support == "simplex"]
    last = {[n for n in every if n.startswith(f"{p}[")][-1] for p in simplices}
    return [name for name in every if name not in last]


def _shown(grades: Sequence[Grade], every: Sequence[str]) -> tuple[str, ...]:
    """The quantities that the methods get most wrong, in their own order."""
    gap: dict[str, float] = dict.fromkeys(every, 0.0)
    for grade in grades:
        if grade.parameter not in gap:
            continue
        size = abs(INTERVAL - grade.holds) if isfinite(grade.holds) else abs(grade.shift) / 4
        gap[grade.parameter] = max(gap[grade.parameter], size)
    chosen = sorted(gap, key=lambda name: -gap[name])[:SHOWN]
    return tuple(name for name in every if name in chosen)


def _line(
    method: Method,
    fit: Estimate,
    own: Mapping[str, Scalar],
    shown: Sequence[str],
    holds: float,
    mark: str,
    words: str,
) -> Line:
    numbers = [own.get(name) for name in shown]
    parts = [fit.record.attrs.get(name, nan) for name in ("compile", "warm_up", "run")]
    known = [float(part) for part in parts if isfinite(part)]
    texts = tuple("–" if one is None else _with_sd(one) for one in numbers)
    return Line(label(method), texts, holds, mark, words, sum(known) if known else nan)


def _with_sd(one: Scalar) -> str:
    """An estimate ± its sd, with two digits of the sd."""
    if not (isfinite(one.sd) and one.sd > 0 and isfinite(one.location)):
        return f"{one.location:.4g}"
    size = f"{one.sd:.1e}"
    digits = max(0, 1 - int(size.partition("e")[2]))
    return f"{one.location:.{digits}f} ± {one.sd:.{digits}f}"


def _judged(
    method: Method,
    fit: Estimate,
    own: Mapping[str, Scalar],
    shown: Sequence[str],
    grades: Mapping[str, Sequence[Grade]],
    verdicts: Mapping[str, Sequence[Verdict]],
) -> Line:
    """One method beside the reference."""
    if fit.problems:
        return _line(method, fit, own, shown, nan, "", f"not judged: {fit.problems[0]}")
    found = grades.get(label(method), ())
    if not found:
        return _line(method, fit, own, shown, nan, "", "not judged")
    worst = worst_of(found)
    if method.kind == "sampler" or exact_posterior(method):
        words = _agreement(label(method), verdicts)
        return _line(method, fit, own, shown, worst.holds, "", words)
    if cause := _off(label(method), verdicts):
        return _line(method, fit, own, shown, worst.holds, "no", f"NO: {cause}")
    words = _WORDS[worst.mark]
    if worst.cause:
        words = f"{words}: {worst.parameter}: {worst.cause.partition(';')[0]}"
    return _line(method, fit, own, shown, worst.holds, worst.mark, words)


def worst_of(grades: Sequence[Grade]) -> Grade:
    """The grade of the quantity that a method gets most wrong.

    Args:
        grades: those of one method, one at least.

    Returns:
        One of them.
    """

    def size(grade: Grade) -> tuple[int, float]:
        gap = abs(INTERVAL - grade.holds) if isfinite(grade.holds) else abs(grade.shift)
        return MARKS.index(grade.mark), gap

    return max(grades, key=size)


def _off(name: str, verdicts: Mapping[str, Sequence[Verdict]]) -> str:
    """How a fit misses its own target; "" if it does not."""
    own = (v for v in verdicts.get("own_target", ()) if v.method == name)
    causes = (verdict.cause for verdict in own if verdict.outcome == "DIFFER")
    return next((cause or "it misses its own target" for cause in causes), "")


def _agreement(name: str, verdicts: Mapping[str, Sequence[Verdict]]) -> str:
    """How a sampler stands beside the reference, with what would have been seen."""
    rows = [v for v in verdicts.get("posterior_agreement", ()) if v.method == name]
    known = [v for v in rows if v.outcome != "NOT COMPARABLE" and v.bound > 0]
    if any(verdict.outcome == "DIFFER" for verdict in known):
        return "DIFFERS from the reference"
    if any(verdict.outcome == "UNSURE" for verdict in known):
        return "not decided: more draws would tell"
    if not known:
        return "not judged"

    def in_sd(verdict: Verdict, size: float) -> float:
        return size / verdict.bound * POSTERIOR

    seen = [in_sd(v, v.excess) for v in known if v.excess > v.z * v.error]
    if seen:
        return f"within {max(seen):.2f} sd"
    finest = max(in_sd(verdict, verdict.z * verdict.error) for verdict in known)
    return f"no difference seen (one of {finest:.2f} sd would have been)"


def _called(method: Method) -> str:
    """A cheap method in words: all routes to the maximum of the likelihood are one."""
    if method.target == "likelihood":
        return "maximum likelihood"
    return method.name.replace("_", " ") + (f" ({method.family})" if method.family else "")


def _badness(grade: Grade) -> tuple[int, float]:
    """The mark and, among equal marks, by how much the interval fails."""
    off = abs(grade.shift) if isnan(grade.holds) else abs(grade.holds - INTERVAL)
    return MARKS.index(grade.mark), off


def _sentence(
    fits: Mapping[Method, Estimate],
    own: Mapping[str, Sequence[Grade]],
    verdicts: Mapping[str, Sequence[Verdict]],
) -> str:
    """May the cheapest method be used; if not, which may."""
    marks: dict[str, tuple[Mark, Grade]] = {}
    missed: dict[str, list[str]] = {}
    for method in sorted(fits, key=lambda m: m.target != "likelihood"):
        found = own.get(label(method), ())
        if found and method.kind != "sampler" and not exact_posterior(method):
            worst, name = worst_of(found), _called(method)
            if _off(label(method), verdicts):
                missed.setdefault(name, []).append(label(method))
            elif name not in marks or _badness(worst) > _badness(marks[name][1]):
                marks[name] = worst.mark, worst
    if missed and not marks:
        told = ", ".join(chain.from_iterable(missed.values()))
        return f"NO: not found by its own definition: {told}."
    if not marks:
        return "No cheap method was fitted that could be judged."
    best = min(marks, key=lambda name: _badness(marks[name][1]))
    first = "maximum likelihood" if "maximum likelihood" in marks else best
    mark, worst = marks[first]
    at_worst = f"Its estimate of {worst.parameter} is {worst.shift:+.2f} posterior sd off."
    if not isnan(worst.holds):
        held = f"{100 * worst.holds:.1f} % of the posterior ({worst.parameter})"
        at_worst = f"Its worst 95 % interval holds {held}."
    if mark == "ok":
        return f"YES: {first} will do. {at_worst}"
    better = [name for name, (other, _) in marks.items() if other == "ok"]
    instead = f"{' and '.join(better)} will do."
    if not better:
        better = [n for n, (other, _) in marks.items() if MARKS.index(other) < MARKS.index(mark)]
        instead = f"{' and '.join(better)} is better graded."
    if not better:
        instead = "No cheap method is better graded."
    start = "WITH CARE: {} is usable." if mark == "careful" else "NO: {} will not do."
    cause = f"{worst.cause[:1].upper()}{worst.cause[1:]}. " if worst.cause else ""
    return f"{start.format(first)} {at_worst} {cause}{instead}"
