"""Section 4: standard errors, posterior standard deviations and the information."""

from comparisons.report.facts import Facts
from comparisons.report.figures import agreement
from comparisons.report.sections.parts import Section, claims, estimate, numbers, table, words


def section(known: Facts) -> Section:
    """Every estimate with its standard deviation, and the verdicts on these."""
    columns = {
        "method": words("method"),
        "scalar": words("parameter"),
        "estimate": numbers(lambda r: estimate(r["estimate"], r["estimate_error"], r["sd"])),
        "sd": numbers(lambda r: estimate(r["sd"], r["sd_error"], r["sd"])),
        "kind of sd": words("sd_kind"),
        "status": words("status"),
    }
    estimates = table(
        "Every estimate with its standard error or deviation",
        [row for row in known.estimates if row["parameter"]],
        columns,
        note="± is the Monte Carlo standard error.",
        file="estimates.csv",
        folded=True,
    )
    told = claims(
        known.result,
        "fisher",
        "4. Fisher information and Cramér–Rao",
        "Is the posterior as narrow as theory says, and does any estimator beat the bound?",
    )
    pictures = [agreement.deviations(known.found, known.notable), *told.pictures]
    return told._replace(pictures=pictures, tables=[*told.tables, estimates])
