"""A case: one model, one data set, one seed, and a memo of the fits made of them.

Every random stream is a function of (seed, model, data, words) alone, so that neither order nor
selection nor parallelism changes a number.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Literal, Self, final

import numpy as np
import xarray as xr

from comparisons.store.entries import Store
from comparisons.store.keys import canonical, digest, source_digest, versions
from inference.catalogue import catalogue
from inference.estimate import Estimate
from inference.method import PROFILES, Method, Profile, label, refusal, variants
from inference.posterior.stored import completed, reduced
from models.data.dataset import as_dataset, content_hash
from models.errors import ConfigError, FitError, StoreError, shown, told
from models.notebook import table
from models.programs.adopted.classes import adopt_class, missing, reason_to_adopt
from models.settings import check_seed, sequence
from models.spec import Model

type Progress = Callable[[str, str, float], None]
"""Told (event, name of the fit, seconds); events: `fit`, `fitted`, `stored`, `failed`."""

LAYOUT = 2
"""Version of the layout of stored fits."""


@final
class Case:
    """One model, one data set, one seed.  The only mutable thing: it remembers its fits.

    Attributes:
        data: the data, validated, with named dims.
        refusals: why a method cannot fit this model.
        failed: why a fit failed in this run, by its name, for all siblings; never stored.
    """

    def __init__(
        self,
        model: Model,
        data: object,
        seed: int = 0,
        *,
        data_name: str = "data",
        profile: Profile = "standard",
        methods: Sequence[Method] | None = None,
        store: Store | None = None,
        progress: Progress | None = None,
    ) -> None:
        """A case; nothing is fitted yet.

        Args:
            model: the model.
            data: anything `models.data.dataset.as_dataset` accepts for the model.
            seed: a non-negative integer.
            data_name: what the report and messages call the data.
            profile: `quick`, `standard` or `thorough`.
            methods: the methods to use; all at the profile by default.
            store: where fits are kept across processes; nowhere by default.
            progress: told of every fit.

        Raises:
            ConfigError: the seed is negative or the profile unknown.
            DataError: the data do not suit the model.
        """
        check_seed(seed)
        if not isinstance(profile, str) or profile not in PROFILES:
            raise ConfigError(f"profile is {shown(profile)}; expected quick, standard or thorough")
        self.seed = int(seed)
        self.data_name = data_name
        self.profile: Profile = profile
        asked = usual_methods(profile) if methods is None else methods
        self.methods = sequence("methods", asked, Method, "(cc.NUTS(),)")
        self.failed: dict[str, str] = {}
        self._store = store
        self._progress: Progress = progress or (lambda event, name, seconds: None)
        self._set_model(model, data)
        self._root = self.model
        self._suffix = ""
        self._siblings: dict[str, Self] = {digest(self.model): self}

    def _set_model(self, model: Model, data: object) -> None:
        """The model and its data, and what is known of its fits: nothing."""
        self.model, self.data = _as_read(model, data, self.data_name)
        reasons = {method: refusal(method, self.model) for method in self.methods}
        self.refusals = {method: reason for method, reason in reasons.items() if reason}
        self._content = content_hash(self.data)
        self._fits: dict[Method, Estimate] = {}

    def __repr__(self) -> str:
        """The model, data set and seed."""
        return f"Case({self.model!r}, {self.data_name!r}, seed={self.seed})"

    def _repr_html_(self) -> str:
        """Each method with what became of it so far, for a notebook; fits nothing."""
        sizes = ", ".join(f"{dim} {size}" for dim, size in self.data.sizes.items())
        rows = [(label(method), self._status(method)) for method in self.methods]
        lines = (repr(self.model), f"{self.data_name}: {sizes}", f"seed {self.seed}")
        return table("Case", lines, ("method", "status"), rows)

    def _status(self, method: Method) -> str:
        if method in self.refusals:
            return f"refuses: {self.refusals[method]}"
        if method in self.failures:
            return f"failed: {self.failures[method]}"
        if method in self._fits:
            return "; ".join(self._fits[method].problems) or "fitted"
        return "not fitted yet"

    @property
    def failures(self) -> dict[Method, str]:
        """Why one of the case's own methods failed on its own model in this run."""
        names = {method: self._name(method) for method in self.methods}
        return {m: self.failed[name] for m, name in names.items() if name in self.failed}

    def fit(self, method: Method) -> Estimate:
        """The method's estimate, fitted at most once; from the store if it is there.

        Raises:
            FitError: the method refuses the model, or the fit failed now or earlier in this run.
            StoreError: the store cannot be read or written.
        """
        if method in self._fits:
            return self._fits[method]
        name = self._name(method)
        if name in self.failed:
            raise FitError(self.failed[name])
        if reason := refusal(method, self.model):
            raise FitError(f"{label(method)} refuses {self.model.name}: {reason}")
        if self._store:
            whole = partial(completed, self.model, self.data)
            if stored := self._store.load(self.fit_description(method), whole):
                self._progress("stored", name, 0.0)
                self._fits[method] = stored
                return stored
        self._progress("fit", name, 0.0)
        began = time.perf_counter()
        try:
            estimate = method.fit(self.model, self.data, self.rng("fit", repr(method)))
            if self._store:
                self.keep(self._store, method, estimate)
        except StoreError:
            raise
        except Exception as error:  # a user's program may raise anything; the others go on
            reason = told(error)
            self.failed[name] = reason
            self._progress("failed", name, time.perf_counter() - began)
            raise FitError(reason) from error
        self._progress("fitted", name, time.perf_counter() - began)
        self._fits[method] = estimate
        return estimate

    def estimates(
        self, target: Literal["likelihood", "posterior"] | None = None
    ) -> dict[Method, Estimate]:
        """The estimates of the methods, or of those that aim at a target, without what fails."""
        found: dict[Method, Estimate] = {}
        for method in self.methods:
            if method not in self.refusals and target in (None, method.target):
                with suppress(FitError):  # remembered in `failures`
                    found[method] = self.fit(method)
        return found

    def rng(self, *words: str) -> np.random.Generator:
        """The random stream of this seed, model and data for a purpose named by `words`."""
        text = json.dumps(
            [self.seed, canonical(self.model), self._content, list(words)], sort_keys=True
        )
        entropy = int.from_bytes(hashlib.sha256(text.encode()).digest())
        return np.random.default_rng(np.random.SeedSequence(entropy))

    def sibling(self, model: Model) -> Self:
        """The case of another model on the same data, with all else, also failures, alike."""
        key = digest(model)
        if key not in self._siblings:
            other = copy(self)  # which shares what is not set anew here
            other._set_model(model, self.data)
            other._suffix = f" of {_changes(self._root, model)}"
            self._siblings[key] = other
        return self._siblings[key]

    @property
    def key(self) -> str:
        """Equal for equal model, data, seed, profile, methods, sources and versions."""
        chosen = {"profile": self.profile, "methods": self.methods}
        return digest({**self._content_of(*self.methods), **chosen})

    def fit_description(self, method: Method) -> dict[str, object]:
        """Everything a fit depends on, in plain JSON types."""
        own = {"layout": LAYOUT, "method": canonical(method)}
        return {**self._content_of(method), **own}

    def _content_of(self, *methods: Method) -> dict[str, object]:
        return {
            "model": canonical(self.model),
            "data": self._content,
            "seed": self.seed,
            "versions": versions(),
            "source": source_digest(type(self.model), *map(type, methods)),
        }

    def keep(self, store: Store, method: Method, fit: Estimate) -> None:
        """Saves a fit; `inference.posterior.stored.completed` reads it back."""
        fitted = method.kind in ("laplace", "variational")
        whole = reduced(self.model, self.data, fit, fitted=fitted)
        names = {"model": self.model.name, "method": label(method), "data": self.data_name}
        store.save(self.fit_description(method), whole, names)

    def _name(self, method: Method) -> str:
        """The label where it is one of the case's own methods; else all its settings."""
        return (label(method) if method in self.methods else repr(method)) + self._suffix


def _as_read(model: Model, data: object, name: str) -> tuple[Model, xr.Dataset]:
    """A model and its data; adopted where its class leaves something out, or says more."""
    if not missing(model):
        data = as_dataset(data, model, name=name)
        if not reason_to_adopt(model, data):
            return model, data
    adopted = adopt_class(model, data)
    with suppress(ConfigError):  # of a class without a source, which no store can keep
        settings = canonical(model) if is_dataclass(model) else repr(model)
        source = digest([settings, source_digest(type(model))])
        adopted = adopted.known_as(model.name, source)
    return adopted, adopted.data


def all_methods(profile: str) -> tuple[Method, ...]:
    """All variants of all methods at the settings of a profile, in catalogue order."""
    return tuple(method for cls in catalogue().values() for method in variants(cls, profile))


def usual_methods(profile: Profile) -> tuple[Method, ...]:
    """Those that a profile runs unasked."""
    ran = PROFILES[: PROFILES.index(profile) + 1]
    return tuple(method for method in all_methods(profile) if method.begins in ran)


def _changes(model: Model, other: Model) -> str:
    """The settings that tell a model from another of its class; all of it if the class differs."""
    if type(model) is not type(other) or not is_dataclass(model):
        return repr(other)
    pairs = {f.name: (getattr(model, f.name), getattr(other, f.name)) for f in fields(model)}
    return ", ".join(f"{name}={new!r}" for name, (old, new) in pairs.items() if old != new)
