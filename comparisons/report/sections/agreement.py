"""Sections 3 and 4: every method against the reference, and its sd against the information."""

from comparisons.report.facts import Facts
from comparisons.report.figures import agreement
from comparisons.report.formats import estimate, number, with_error
from comparisons.report.sections.parts import Column, Section, claims, marks, numbers, table, words
from inference.method import label


def section(known: Facts) -> Section:
    """Shifts, ratios and distances, the densities, and the verdicts on them."""
    reference, names = known.found.reference, known.notable
    against = table(
        f"Every method against {reference and label(reference)}",
        known.rows["agreement"],
        {
            "method": words("method"),
            "scalar": words("parameter"),
            "shift": numbers("shift", "shift_error", with_error),
            "shift / error": numbers("shift_over_error", 0.1),
            "sd ratio": numbers("ratio", "ratio_error", with_error),
            "distance": numbers("distance", 0.001),
            "reference halves": numbers("distance_halves", 0.001),
            "95 % interval holds, %": numbers(
                lambda row: with_error(100 * row["holds"], 100 * row["holds_error"])
            ),
            "grade": marks("mark"),
            "cause": words("cause"),
        },
        note="Shift of the mean in reference standard deviations, also over its Monte Carlo error; "
        "ratio of standard deviations; Wasserstein distance of the draws in reference standard "
        "deviations, beside that between two halves of the reference's own draws. The grade is by "
        "what the method's own 95 % interval holds of the reference posterior: ok from 93 to "
        "98.5 %, careful down to 85 %. It says nothing of whether the method did what it promises: "
        "that is for the verdicts below.",
    )
    forest = table(
        "The numbers of the forest plot",
        known.rows["forest"],
        {
            "method": words(lambda row: row["method"] + " †" * row["sampling_approximation"]),
            "scalar": words("parameter"),
            "mean": _end("mean"),
            "5.5 %": _end("q0.055"),
            "25 %": _end("q0.25"),
            "75 %": _end("q0.75"),
            "94.5 %": _end("q0.945"),
        },
        note="On the natural scale: mean, and the ends of the 50 % and 89 % equal-tailed "
        "intervals. † sampling approximation, N(estimate, covariance).",
        folded=True,
    )
    question = "Did every method do its job, and is its job good enough here?"
    told = claims(known.result, "agreement", "Do the methods agree?", question)
    densities = agreement.densities(known.drawn, names)
    pairs = agreement.pairs(known.result, reference, names)
    pictures, tables = [densities, pairs, *told.pictures], [against, forest, *told.tables]
    return told._replace(pictures=pictures, tables=tables)


def _end(name: str) -> Column:
    """With digits down to a sixtieth of the interval's length."""
    return numbers(lambda row: number(row[name], (row["q0.945"] - row["q0.055"]) / 60))


def information(known: Facts) -> Section:
    """Every estimate with its standard deviation, and the verdicts on these."""
    estimates = table(
        "Every estimate with its standard error or deviation",
        [row for row in known.rows["estimates"] if row["parameter"]],
        {
            "method": words("method"),
            "scalar": words("parameter"),
            "estimate": numbers(lambda r: estimate(r["estimate"], r["estimate_error"], r["sd"])),
            "sd": numbers(lambda r: estimate(r["sd"], r["sd_error"], r["sd"])),
            "kind of sd": words("sd_kind"),
            "status": words("status"),
        },
        note="± is the Monte Carlo standard error.",
        file="estimates.csv",
        folded=True,
    )
    question = "Is the posterior as narrow as theory says, and does any estimator beat the bound?"
    told = claims(known.result, "fisher", "Fisher information and Cramér–Rao", question)
    pictures = [agreement.deviations(known.found, known.notable), *told.pictures]
    return told._replace(pictures=pictures, tables=[*told.tables, estimates])
