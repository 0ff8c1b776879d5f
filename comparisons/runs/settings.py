"""Settings of a run: the options and the TOML file, checked whole before anything is computed.

Every mistake is collected, so that a user meets all of them at once, each with its path and the
nearest valid name.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.data.opening import contents
from models.errors import ConfigError, did_you_mean, refuse, shown
from models.settings import MOST

_LARGEST, _DEEPEST = 2**20, 20  # bytes of a TOML file that is read, levels of tables in it


class CaseSettings(BaseModel):
    """One model, or programs in its place, on one data set; `options` says what each field is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = ""
    pymc: str | None = None
    numpyro: str | None = None
    names: dict[str, str] = {}
    latent: tuple[str, ...] = ()
    likelihood: tuple[str, ...] | None = None
    allow_constant: bool = False
    set: dict[str, Any] = {}
    data: str | None = None
    columns: tuple[str, ...] = ()  # all that suit the model

    @property
    def reading(self) -> dict[str, Any]:
        """How programs are read, as `models.adopt` takes it, without names."""
        return self.model_dump(mode="json", include={"latent", "likelihood", "allow_constant"})

    def refused(self) -> Self:
        """The case itself, unless what is given does not go together, or is not enough."""
        own = bool(self.pymc or self.numpyro)
        if bool(self.model) == own:
            told = f"both {self.model} and programs of your own are given: " if own else ""
            told += "name a model, such as gaussian, or your own programs with --pymc FILE:NAME, "
            raise ConfigError(f"{told}--numpyro FILE:NAME or both")
        if own and self.set:
            raise ConfigError("--set is for models and classes; your own programs hold numbers")
        if self.names and not (self.pymc and self.numpyro):
            raise ConfigError("--names is for two programs of your own, --pymc and --numpyro")
        return self


class Settings(BaseModel):
    """A run: the options of the command line by name, cases, and settings of methods by theirs.

    `options` says what each is.  Without cases, every model runs on its bundled data.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cases: tuple[CaseSettings, ...] = ()
    methods: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    profile: Literal["quick", "standard", "thorough"] = "standard"
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    out: Annotated[str, Field(pattern=r"^[^\x00]*$")] = "reports"
    jobs: Annotated[int, Field(ge=1, le=1024)] | None = None
    scheduler: str | None = None
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 21_600
    tolerance: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    fail_on: Literal["careful", "no"] | None = None
    standardise: bool = False
    force: bool = False
    debug: bool = False
    settings: dict[str, dict[str, Any]] = {}


def settings(options: Mapping[str, Any], config: Path | None = None) -> tuple[Settings, list[str]]:
    """The settings of a run; options given on the command line override the file's."""
    given = {
        name: value
        for name, value in options.items()
        if value is not None and value is not False and value != ()
    }
    from_file = {} if config is None else read_toml(config)
    typed = [name for name in ("force", "debug") if from_file.pop(name, None) is not None]
    sound, mistakes = _sound(from_file, f"{config}: ")
    mistakes += [f"{config}: {name} is no setting of a file; type --{name}" for name in typed]
    sound_options, more = _sound(given, "--")
    found, mistakes = _validated(sound | sound_options), mistakes + more
    if found.jobs and found.scheduler:
        mistakes.append("--jobs is for workers of this machine, --scheduler for those of a cluster")
    return found, mistakes


def read_toml(path: Path) -> dict[str, Any]:
    """The contents of a TOML file."""
    raw = contents(path, "a TOML file, see --config", _LARGEST, ConfigError)
    try:
        return _flat(tomllib.loads(raw.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path} is not TOML: line {line} is not UTF-8 text; save the file as UTF-8"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}; correct it there") from error
    except (RecursionError, ValueError) as error:
        raise ConfigError(f"{path}: {_unreadable(error)}") from error


def parse_set(assignments: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """`["k=2", "covariance=tied"]` as a mapping; a value is read as TOML, else as text."""
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    for text in assignments:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name.isidentifier():
            mistakes.append(f"{option} {text[:60]}: expected NAME=VALUE, such as {option} k=2")
        elif name in values:
            mistakes.append(f"{option} {name}: given twice")
        else:
            try:
                values[name] = _flat(tomllib.loads(f"value = {value}"))["value"]
            except tomllib.TOMLDecodeError:
                values[name] = value
            except (RecursionError, ValueError) as error:
                mistakes.append(f"{option} {name}: {_unreadable(error)}")
    refuse(mistakes)
    return values


def numbers(option: str, text: str) -> tuple[tuple[int, ...], list[str]]:
    """Distinct integers of `"10,50"`, smallest first, and what is wrong with the rest."""
    found, mistakes = set(), []
    for part in map(str.strip, text.split(",")):
        long = len(part) >= 20  # before it is read: digits take long, in thousands
        number = int(part) if part.isdecimal() and not long else 0
        if 2 <= number <= MOST:
            found.add(number)
            continue
        bound = f"at most {MOST:,}" if number > MOST or long else "at least 2"
        mistakes.append(f"{option} {text[:60]}: {shown(part)} is no integer of {bound}")
    return tuple(sorted(found)), mistakes


def split_names(texts: Iterable[str]) -> tuple[str, ...]:
    """Names from repeated, comma-separated options; commas within brackets belong to a label."""
    if (given := list(texts)) and not "".join(given).strip(", "):
        raise ConfigError(f"{given[0]!r} names nothing: name something, or leave the option out")
    parts = (part.strip() for text in given for part in re.split(r",(?![^\[]*\])", text))
    return tuple(dict.fromkeys(filter(None, parts)))


def explained(error: ValidationError, prefix: str) -> list[str]:
    """The mistakes of a validation, each with its path, what was found and what was expected."""
    mistakes: list[str] = []
    for item in error.errors(include_url=False):
        place, found = item["loc"], item["input"]
        parts = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in place)
        match item["type"]:
            case "extra_forbidden":
                valid = (CaseSettings if place[0] == "cases" else Settings).model_fields
                problem = f"unknown name.{did_you_mean(str(place[-1]), valid)}"
            case "literal_error":
                choices = re.findall(r"'([^']*)'", str(item.get("ctx", {}).get("expected", "")))
                problem = f"unknown value {shown(found)}.{did_you_mean(str(found), choices)}"
            case _:
                expected = item["msg"].replace("Input should be", "expected")
                problem = f"{expected}; got {shown(found)}"
        path = prefix + (parts if prefix[-1:].isalnum() else parts.lstrip("."))
        mistakes.append(f"{path}: {problem}")
    return mistakes


def _sound(raw: Mapping[str, Any], prefix: str) -> tuple[dict[str, Any], list[str]]:
    """The valid part of `raw`, and the mistakes in the rest."""
    try:
        _validated(raw)
    except ValidationError as error:
        wrong = {item["loc"][0] for item in error.errors() if item["loc"]}
        if not wrong:  # no JSON at all: a byte that is no text
            return {}, [f"{prefix.rstrip(': -') or 'an option'}: holds bytes that are no text"]
        cases = raw.get("cases", ())
        sound = {name: value for name, value in raw.items() if name not in wrong}
        if "cases" in wrong and isinstance(cases, list):
            bad = {item["loc"][1] for item in error.errors() if item["loc"][0] == "cases"}
            sound["cases"] = [case for n, case in enumerate(cases) if n not in bad]
        return sound, explained(error, prefix)
    return dict(raw), []


def _validated(raw: Mapping[str, Any]) -> Settings:
    # strict JSON: no text where a number belongs, yet arrays for tuples
    return Settings.model_validate_json(json.dumps(raw, default=str), strict=True)


def _flat(found: dict[str, Any]) -> dict[str, Any]:
    """The same, if it is nested no deeper than settings are."""
    level: list[Any] = [found]
    for _ in range(_DEEPEST):
        parts = [one.values() if isinstance(one, dict) else one for one in level]
        level = [item for part in parts for item in part if isinstance(item, dict | list)]
        if not level:
            return found
    raise RecursionError


def _unreadable(error: Exception) -> str:
    """Why TOML that is well formed cannot be read."""
    if isinstance(error, RecursionError):
        return "is nested too deeply; expected a few levels: write it flat"
    return "holds an integer of thousands of digits; expected one that fits 64 bits: shorten it"
