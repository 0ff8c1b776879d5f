"""Every practical bound and level by which claims, studies and the headline judge.

A bound is the largest difference that does not matter in practice; a level is a probability: of a
false alarm, or of what an interval is to hold.
"""

# --- the rule of every verdict --------------------------------------------------------------------

Z = 3.2905267314919255  # two-sided normal quantile at a false-alarm rate of 0.001
FAMILY = 2e-4  # false-alarm rate of all rows that a test suite demands together
PRACTICAL = 1_000
"""More than so many times the draws, for a difference next to the bound, is no advice."""

# --- two programs ---------------------------------------------------------------------------------

TOLERANCE = 1e-9  # relative difference of densities and gradients
MOMENTS = 0.035
"""Difference of a mean or variance of draws, in standard deviations.

Of n = 100,000 draws each, a difference has standard error e = √(2/n) = 0.0045, and agrees while it
is below bound − Z·e = 0.0203 = 4.5 e: equal programs fail with probability 6e-6 a moment, below
0.001 for a hundred of them.  A scale that is a twentieth too large moves the mean or variance of a
normal, half-normal or inverse gamma by 0.05 or more and that of a half-Cauchy by 0.033: none agree.
"""
TWO_PROGRAMS = 1e-3
"""Relative difference of a standard error by two programs: an estimate is an optimum up to 1e-3
standard errors, and off it two unconstrained spaces differ."""

# --- two optima of one likelihood -----------------------------------------------------------------

LOG_LIKELIHOOD = 1e-5  # difference of log-likelihoods, nats
OPTIMUM = 0.01  # difference of an estimate, in standard errors
STANDARD_ERROR = 0.05
"""Relative difference of a standard error (statsmodels differentiates numerically)."""
EM_RATE = 0.01  # difference between EM's measured and predicted rates of convergence

# --- two posteriors -------------------------------------------------------------------------------

POSTERIOR = 0.1
"""Difference of a posterior mean in posterior standard deviations, and of one of these, relative;
also where the mean is held against an optimum, and the sd against its standard error."""
RESOLUTION = 0.25
"""Difference of two posteriors, in the same units, that would have been seen where none was."""
CONSTANT = 1e-6  # relative difference of two constants, absolute below 1: float32 rounds by 1e-7
PARETO = 0.5
"""Largest shape k̂ of importance weights whose mean and sd are taken for the posterior's."""
UNCOVERED = 0.005
"""Largest share of a sampler's draws where the weight exceeds all that importance sampling saw."""
LABEL_FREE = 0.001  # difference of a probability of co-clustering, however little it varies
NORMAL_LAW = 0.01
"""Divergence of a posterior from its normal limit, nats: that of a shift by a seventh of an sd."""
LIMIT_POWER, LIMIT_SLACK = 0.5, 0.1
"""Smallest power of 1/N with which a ratio of standard deviations tends to 1, and its bound."""

# --- is the approximation good enough -------------------------------------------------------------

INTERVAL = 0.95  # content of a method's own interval, which the reference posterior is asked for
GOOD, POOR, WIDE = 0.93, 0.85, 0.985
"""Contents: at least so much is good, less than that is not to be used, more than that too wide."""
SHIFTS = 0.4, 0.8
"""Shifts in posterior sd that are good, and not to be used, of a method without standard errors."""
MISFIT = 0.005
"""Posterior predictive probability, in either tail, at which the model misses the data."""
PULL = 1.0  # standard errors by which a prior moves an optimum at which it disagrees with the data
CAUSE = 0.05  # relative size of a departure below which it is no cause of a grade

# --- the Cramér–Rao bound -------------------------------------------------------------------------

BOUND_SD = 0.1  # relative difference between a posterior sd and the bound on it
BOUND_EIGENVALUE = 0.25  # the same of a generalised eigenvalue as sd
NORMAL_DIVERGENCE = 0.05  # divergence of two normal laws, nats per parameter
NORMAL_DISTANCE = 0.25  # Wasserstein distance of two normal laws, in sd per √parameter
EFFICIENCY = 0.2  # relative difference between a variance over replicates and its bound
SAMPLING_SD = 0.1  # the same between two standard deviations
BIAS = 0.25
"""Bias at finite N, in standard deviations: it changes the coverage of a 90 % interval by 0.01."""
ASYMPTOTIC = 0.5
"""Departure of a variance from its bound beyond which no law in 1/N is taken to hold."""

# --- criteria -------------------------------------------------------------------------------------

EVIDENCE = 2.0
"""Difference of −2 log evidence, deviance units (Raftery's 'weak'), that leaves a ranking of models
as it is."""
SAME_EVIDENCE = 0.2  # largest difference of it by two routes, deviance units
PENALTY_SLOPE = 0.25  # slope of BIC + 2 log Z against log N; a parameter's penalty is 1
CHOICE = 0.05  # difference of the share of data sets in which a criterion chooses an order

# --- repeated data sets ---------------------------------------------------------------------------

LADDER = (50, 200, 800)  # the N at which a model is studied, unless others are named
FIRST = 2.5  # the first term of an expansion in N^−power is at most so many N to that power
HELD = 40.0
"""The same where there can be no other N: a judgement, above the bias of a negative binomial's
dispersion (20 of them) and below a standard error three times too large at N = 60."""
NEXT_ORDER = 10.0
"""The next term of an expansion in N^−power, relative to the first, is at most so many N^−power."""
KURTOSIS = 20.0  # largest one of estimates whose variance is held against a bound; 3 if normal
SHRINKS = 0.75
"""Largest share of a departure left at the largest N for it to be a matter of asymptotics."""
LEFT_OUT = 0.01  # largest share of replicates without a usable fit on which a verdict may rest
CORRELATED = 0.1
"""Largest mean autocorrelation of a sampler's neighbouring draws at which they are taken to be
independent: chains of few draws have no other diagnostics, but all of them together have this."""
LEVEL = 0.9  # probability that the intervals whose coverage is measured are to hold
PROBABILITY = 0.025  # difference of a probability, a coverage among them
STUDIED = 2.0  # bounds by which a statistic would have been seen to differ, where no difference was
LIMIT_SD = 0.05  # relative difference of a standard deviation from its limit
LIMIT_MEAN = 0.1
"""Difference of a mean, in standard deviations: it changes the coverage of a 90 % interval by
0.002."""
LIMIT_SLOPE = 0.05  # difference of a power of N
RANKS = 0.08  # difference of a share of ranks
RANKS_FALSE_ALARM = 0.001  # level of the test of all ranks of a method together
BAND = 0.95  # probability that all ranks of a method stay within the band of a figure
