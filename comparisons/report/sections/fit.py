"""Section 6: whether the model could have produced the data."""

from comparisons.report import draws
from comparisons.report.facts import Facts
from comparisons.report.figures import predictive
from comparisons.report.formats import number, with_error
from comparisons.report.sections.parts import Section, numbers, table, words
from inference.method import label


def section(known: Facts) -> Section:
    """The data beside replicated data sets, the prior beside the posterior."""
    pictures = []
    if known.replicates:
        pictures = [predictive.predictive(known.replicates), predictive.pit(known.replicates)]
    if known.source:
        drawn = draws.prior_and_posterior(known.result, known.source)
        pictures.append(predictive.prior_posterior(*drawn, label(known.source)))
    quantiles = table(
        "Quantiles of the data and of the replicated data sets",
        known.rows["predictive"],
        {
            "column": words("column"),
            "quantile": numbers(lambda row: f"{row['quantile']:.0%}"),
            "data": numbers(lambda row: number(row["observed"], row["replicated_sd"] / 10)),
            "replicated": numbers("replicated", "replicated_sd", with_error),
            "share below": numbers(lambda row: f"{row['share_below']:.2f}"),
        },
        note=f"Of {draws.REPLICATES} replicated data sets, mean ± standard deviation, and the "
        "share below the data's.",
    )
    question = "Could the model have produced these data?"
    verdict = _verdict(known)
    return Section("fit", "Does it fit?", question, verdict, None, pictures, [quantiles])


def _verdict(known: Facts) -> str:
    rows = known.rows["predictive"]
    outside = [row for row in rows if not 0.025 <= row["share_below"] <= 0.975]
    if known.replicates is None:
        return f"Not checked: {known.no_replicates}."
    if not outside:
        return f"All {len(rows)} quantiles of the data lie among 95 % of the replicated ones."
    where = ", ".join(f"{row['column']} at {row['quantile']:.0%}" for row in outside[:6])
    return (
        f"{len(outside)} of {len(rows)} quantiles of the data lie outside 95 % of the "
        f"replicated ones: {where}."
    )
