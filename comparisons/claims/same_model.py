"""The PyMC and the NumPyro program are one model.

Two programs define the same posterior for every data set only if, at every point, log prior,
log-likelihood of every row, every parameter's log-Jacobian, and the joint density with its gradient
agree with no free additive constant.  The unconstrained space of one program is carried into the
other's, so that Jacobians are compared whatever the transforms are.  Densities do not see how a
program draws, so prior draws, and rows simulated at points drawn from the prior, are compared as
well, those of `simulate` among them, through the mean and the variance of a bounded function of
each number (which exist for every law).
Blocking: nothing is fitted unless all of it holds.
Reference: the change of variables formula; Billingsley (1995), Probability and Measure, §17, §25.
"""

from collections.abc import Iterator

from comparisons.gate import differences
from comparisons.reference import Case
from comparisons.verdict import Verdict
from models.errors import DataError
from models.programs.precision import float64
from models.programs.support import beyond


@float64
def compare(case: Case) -> Iterator[Verdict]:
    """One verdict per term of the two programs."""
    if problem := beyond(case.model, case.data):
        raise DataError(f"{case.data_name}: {problem}")
    yield from differences(case.model, case.data, case.rng("same_model"))
