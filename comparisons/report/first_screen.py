"""May the cheap answer be used on these data, and at what cost: the first screen, as data and text.

The page, the terminal and a notebook show the same: a sentence by consequence, warnings above it,
a line for each method.  A method is as good as its worst quantity (`comparisons.grades`); a fit
that misses its own target is not to be used, whatever its grade.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from math import isnan, nan
from typing import NamedTuple, final

from comparisons.claims import GATE
from comparisons.grades import MARKS, Grade, worst_of
from comparisons.policy import INTERVAL, POSTERIOR, PULL
from comparisons.reference import exact_posterior, reference, scalars
from comparisons.report.formats import listed, number, percent, readable, seconds, with_error
from comparisons.report.headline import duration, family_name, farthest, free
from comparisons.verdict import Verdict
from inference.estimate import Estimate, Scalar
from inference.method import Method, label
from inference.posterior.labels import exchangeable
from models.programs.adopted.model import AdoptedModel
from models.spec import Model

SHOWN = 3  # quantities on a line of the first screen

_ROBUST = "the sandwich's standard errors do."
_PARTED = "PyMC ≠ NumPyro: the two programs are not shown to be one model"
_UNKNOWN = (
    "UNKNOWN: no sampler of the posterior passed its checks, so nothing vouches for the "
    "cheap methods; estimates can still be compared with one another."
)

type Verdicts = Mapping[str, Sequence[Verdict]]  # those of each claim, by its name


@final
class Line(NamedTuple):
    """One method, or several that agree; NaN is what is not known."""

    method: str  # its label
    numbers: tuple[str, ...]  # mean ± sd of each shown quantity, as text
    khat: float  # Pareto's k̂ of the posterior over it, where it is a fitted law
    holds: float  # what its 95 % interval holds of the posterior at worst
    mark: str  # its grade; "" for the reference and for other samplers
    words: str  # the grade or the agreement in words
    seconds: float  # that the fit took


@final
class FirstScreen(NamedTuple):
    """The first screen of a case."""

    title: str
    reference: str  # what the others are held against, in words; "" without one
    sentence: str  # the answer
    warnings: tuple[str, ...]  # what stands above it
    shown: tuple[str, ...]  # flat names of the quantities in the lines
    lines: tuple[Line, ...]  # the reference first
    notes: tuple[str, ...]  # are the programs one model; what could not be fitted, and why

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The lines as cells of text, with a head."""
        rows = [("", *self.shown, "k̂", "holds, at worst", "", "time, s")]
        for line in self.lines:
            known = number(line.khat, 0.1), percent(line.holds), line.words, seconds(line.seconds)
            rows.append((line.method, *line.numbers, *known))
        return rows

    @property
    def marks(self) -> dict[str, int]:
        """How many lines have each grade, of those that some have."""
        counts = {mark: sum(line.mark == mark for line in self.lines) for mark in MARKS}
        return {mark: count for mark, count in counts.items() if count}

    def text(self) -> str:
        """The screen as lines of text."""
        rows = self.rows if self.lines else []
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        warnings = [f"WARNING: {warning}" for warning in self.warnings]
        title = f"{self.title}    {self.reference}".rstrip()
        return "\n".join([title, *warnings, self.sentence, *table, *self.notes])


def first_screen(
    model: Model,
    title: str,
    fits: Mapping[Method, Estimate],
    verdicts: Verdicts,
    grades: Sequence[Grade],
    warnings: Sequence[str] = (),
    failures: Mapping[str, str] = {},
) -> FirstScreen:
    """The first screen of a case; without grades where no sampler can be relied on.

    Args:
        model: the model.
        title: model and data in words.
        fits: every estimate.
        verdicts: those of each claim, by its name.
        grades: of every method and quantity.
        warnings: further ones, known to the caller.
        failures: why fits failed, by label.
    """
    gate = verdicts.get(GATE, ())
    parted = [f"{_PARTED} ({v.about})" for v in gate if v.outcome != "AGREE"][:1]
    above, agreed = [*parted, *warnings], 0 if parted else len(gate)
    notes = tuple(_notes(model, fits, agreed, failures))
    if parted and not fits:
        return FirstScreen(title, "", "NOTHING WAS FITTED.", tuple(above), (), (), notes)
    against, held = reference(fits), ""
    numbers = {method: scalars(model, fit) for method, fit in fits.items()}
    above += [*_pulled(fits, numbers), *_on_edge(fits), *_missed(verdicts)]
    if against is None:
        told = _UNKNOWN
        shown = free(model, max(numbers.values(), key=len, default={}))[:SHOWN]
        judged = {m: (nan, "", [*f.problems, "nothing to judge it by"][0]) for m, f in fits.items()}
    else:
        held = f"reference: {label(against)}, passed its checks"
        if note := fits[against].record.attrs.get("note"):  # few of its transitions diverged
            above.append(f"{label(against)}: {note}")
        worst = {n: worst_of(own) for n, own in groupby(grades, lambda grade: grade.method)}
        missed = [v for v in verdicts.get("own_target", ()) if v.outcome == "DIFFER"]
        off = {v.method: v.cause or "it misses its own target" for v in reversed(missed)}
        told = _sentence(fits, worst, off)
        gaps = ((grade.parameter, grade.gap) for grade in grades)
        shown = farthest(gaps, free(model, numbers[against]), SHOWN)
        judged = {against: (INTERVAL, "", "the reference")}
        judged |= {m: _judgement(m, fits[m], worst, off, verdicts) for m in fits if m != against}
    lines = _lines(fits, numbers, shown, judged, grouped=against is not None)
    warned, noted = (tuple(map(readable, some)) for some in (above, notes))
    return FirstScreen(title, held, readable(told), warned, tuple(shown), tuple(lines), noted)


def _notes(
    model: Model, fits: Mapping[Method, Estimate], agreed: int, failures: Mapping[str, str]
) -> Iterator[str]:
    """That programs are one model; which components have no names; a spike, no maximum, no fit."""
    if agreed:
        several = "statements agree" if agreed > 1 else "statement agrees"
        yield f"PyMC = NumPyro: one model ({agreed} {several})."
    if isinstance(model, AdoptedModel) and exchangeable(model):
        yield f"{listed(model.exchanged)}: components can change places; all are put in one order."
    if isinstance(model, AdoptedModel):
        weighted = (name for one in model.adopted.programs.values() for name in one.weighted)
        if names := list(dict.fromkeys(weighted)):
            yield f"{listed(names)}: weighted, which posterior sds do not allow for; {_ROBUST}"
    maxima = [fit.record.attrs.get("note") for m, fit in fits.items() if m.target == "likelihood"]
    yield from (f"Maximum likelihood: {note}." for note in dict.fromkeys(filter(None, maxima)))
    if isinstance(model, AdoptedModel) and (reason := model.likelihood_problem):
        yield f"Maximum likelihood, MAP and Laplace's method were not fitted: {reason}."
    for reason in dict.fromkeys(failures.values()):
        yield f"{listed([n for n, why in failures.items() if why == reason])} failed: {reason}"


def _lines(
    fits: Mapping[Method, Estimate],
    numbers: Mapping[Method, Mapping[str, Scalar]],
    shown: Sequence[str],
    judged: Mapping[Method, tuple[float, str, str]],
    *,
    grouped: bool,
) -> Iterator[Line]:
    """One for each method, or for the languages of one that fare alike, the worst of them."""
    groups: dict[tuple[str, str], list[tuple[Method, Line]]] = {}
    for method, judgement in judged.items():
        own = [numbers[method].get(name) for name in shown]
        texts = tuple("–" if one is None else with_error(one.location, one.sd) for one in own)
        held, mark, words = judgement
        khat = float(fits[method].record.attrs.get("khat", nan))
        told = held, mark, readable(words), duration(fits[method])
        line = Line(label(method), texts, khat, *told)
        alone = not grouped or method.kind == "sampler" or method.shipped
        alike = label(method) if alone else f"{method.name}{method.family}"
        groups.setdefault((alike, line.mark), []).append((method, line))
    for group in groups.values():
        worst = min((line for _, line in group), key=lambda line: (line.holds, line.method))
        if len(group) > 1:
            total = sum(line.seconds for _, line in group)
            khat = max(line.khat for _, line in group)
            worst = worst._replace(method=family_name(group[0][0]), khat=khat, seconds=total)
        yield worst


def _pulled(
    fits: Mapping[Method, Estimate], numbers: Mapping[Method, Mapping[str, Scalar]]
) -> Iterator[str]:
    """Where the prior moves the optimum by more than a standard error of the data."""
    ours = (m for m in fits if not m.shipped)  # an engine's end need not be an optimum
    sound = [m for m in ours if m.kind in ("optimum", "exact") and not fits[m].problems]
    likelihood = next((numbers[m] for m in sound if m.target == "likelihood"), {})
    joint = next((numbers[m] for m in sound if m.target == "posterior" and m.kind == "optimum"), {})
    pulls = {
        name: abs(joint[name].location - one.location) / one.sd
        for name, one in likelihood.items()
        if name in joint and one.sd > 0
    }
    name = max(pulls, key=pulls.__getitem__, default="")
    if name and pulls[name] > PULL:
        yield (
            "the prior disagrees with the data: it moves "
            f"{name} from {number(likelihood[name].location)} to {number(joint[name].location)}, "
            f"{pulls[name]:.1f} standard errors; widen the prior, or check the units"
        )


def _on_edge(fits: Mapping[Method, Estimate]) -> Iterator[str]:
    """Optima that must not be relied on, with the first reason: on an edge, as a rule."""
    found: dict[str, dict[str, None]] = {}
    for method, fit in fits.items():
        if method.kind == "optimum" and fit.problems and not method.shipped:
            found.setdefault(fit.problems[0], {})[_called(method)] = None
    yield from (f"{' and '.join(names)}: {problem}" for problem, names in found.items())


def _missed(verdicts: Verdicts) -> Iterator[str]:
    """Differences that must not be, a sentence for each claim."""
    for name, found in verdicts.items():
        first, *others = [v for v in found if v.outcome == "DIFFER"] or [None]
        if first and name != GATE:
            more = f" and {len(others)} more" if others else ""
            told = f"{first.about} is {number(first.observed)}, not {number(first.expected)}"
            if name == "own_target" and first.cause:
                told = f"{first.method} {first.cause}"
            yield f"{name.replace('_', ' ')}: {told}{more}"


def _judgement(
    method: Method,
    fit: Estimate,
    worst: Mapping[str, Grade],
    off: Mapping[str, str],
    verdicts: Verdicts,
) -> tuple[float, str, str]:
    """The least that a method's interval holds, its grade, and the grade in words."""
    name = label(method)
    if fit.problems or (name not in worst and name not in off):
        return nan, "", "not judged" + (f": {fit.problems[0]}" if fit.problems else "")
    if name not in worst:  # draws that do not vary
        return nan, "no", f"NO: {off[name]}"
    grade = worst[name]
    if _draws_the_posterior(method):
        return grade.holds, "", _agreement(name, verdicts)
    if name in off:
        return grade.holds, "no", f"NO: {off[name]}"
    words = "NO" if grade.mark == "no" else grade.mark
    if grade.cause:
        words = f"{words}: {grade.parameter}: {grade.cause.partition(';')[0]}"
    return grade.holds, grade.mark, words


def _draws_the_posterior(method: Method) -> bool:
    """Whether its target is the posterior itself, so that it is compared and not graded."""
    return method.kind == "sampler" or exact_posterior(method)


def _agreement(name: str, verdicts: Verdicts) -> str:
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
    seen = [v.bounds_off * POSTERIOR for v in known if v.excess > v.z * v.error]
    finest = max(v.z * v.error * v.tolerance / v.bound * POSTERIOR for v in known)
    told = f"within {max(seen):.2f} sd" if seen else "no difference seen"
    return f"{told} (one of {finest:.2f} sd would have been)"


def _called(method: Method) -> str:
    """A cheap method in words: all routes to the maximum of the likelihood are one."""
    if method.target == "likelihood":
        return "maximum likelihood"
    family = f" ({method.family})" if method.family else ""
    return f"{method.name}{family}".replace("_", " ")


def _sentence(fits: Iterable[Method], worst: Mapping[str, Grade], off: Mapping[str, str]) -> str:
    """May the cheapest method be used; if not, which may."""
    cheap = [m for m in fits if label(m) in worst and not _draws_the_posterior(m)]
    cheap.sort(key=lambda method: method.target != "likelihood")
    found: dict[str, Grade] = {}
    for method in cheap:
        grade, name = worst[label(method)], _called(method)
        if label(method) not in off:
            found[name] = worst_of([found.get(name, grade), grade])
    if not cheap:
        return "No cheap method was fitted that could be judged."
    if not found:
        return f"NO: not found by its own definition: {', '.join(map(label, cheap))}."
    first = next(iter(found))
    if first != "maximum likelihood":
        first = min(found, key=lambda name: found[name].badness)
    grade = found[first]
    at_worst = f"Its estimate of {grade.parameter} is {grade.shift:+.2f} posterior sd off."
    if not isnan(grade.holds):
        held = f"{percent(grade.holds)} of the posterior ({grade.parameter})"
        at_worst = f"Its worst 95 % interval holds {held}."
    if grade.mark == "ok":
        return f"YES: {first} will do. {at_worst}"
    instead = "No cheap method is better graded."
    if not isnan(grade.holds):  # what has no interval stands in for nothing that has one
        found = {name: other for name, other in found.items() if not isnan(other.holds)}
    if better := [name for name, other in found.items() if other.mark == "ok"]:
        instead = f"{listed(better)} will do."
    elif better := [n for n, other in found.items() if other.badness[0] < grade.badness[0]]:
        instead = f"{listed(better)} {'is' if len(better) == 1 else 'are'} better graded."
    start = f"NO: {first} will not do."
    if grade.mark == "careful":
        start = f"WITH CARE: {first} is usable."
    cause = f"{grade.cause[:1].upper()}{grade.cause[1:]}. " if grade.cause else ""
    return f"{start} {at_worst} {cause}{instead}"
