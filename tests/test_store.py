"""The store keeps fits exactly, finds every corruption, and never shows half a file."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import comparisons.store.entries as store_module
from comparisons.store.entries import Store, damage, entries, superfluous
from comparisons.store.keys import canonical, digest, source_digest, versions
from comparisons.store.trees import from_netcdf, to_netcdf
from inference.estimate import Estimate, Quantity
from models.errors import ConfigError, FitError, StoreError

KEY = {"fit": 1}


def an_estimate(draws: xr.DataTree | None = None, problems: tuple[str, ...] = ()) -> Estimate:
    value = xr.Dataset(
        {"mu": np.nan, "w": ("component", [0.1 + 0.2, -0.0])},
        coords={"component": ["a", "b"]},
        attrs={"origin": (1, 2.5), "flag": True, "nothing": None, "empty": "", "n": 3},
    )
    flat = ["mu", "w[0]", "w[1]"]
    covariance = xr.DataArray(
        np.diag([np.nan, 5e-324, 1e308]),
        dims=("quantity", "quantity_"),
        coords={"quantity": flat, "quantity_": flat},
    )
    return Estimate(
        location=Quantity(value, xr.zeros_like(value)),
        sd=Quantity(value * 2, xr.zeros_like(value)),
        log_likelihood=-1e300,
        draws=draws,
        problems=problems,
        point=value[["mu"]],
        covariance=covariance,
        sd_kind="observed",
        record=xr.Dataset({"climb": ("iteration", [-3.0, -2.0])}, attrs={"compile": 0.25}),
    )


def some_draws() -> xr.DataTree:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 5))
    values[0, 0] = np.nan
    posterior = xr.Dataset(
        {
            "mu": (("chain", "draw"), values, {"units": "days", "bounds": [0, (1,)]}),
            "labels": (("chain", "draw"), np.arange(10).reshape(2, 5)),
        },
        coords={"chain": [0, 1], "draw": np.arange(5)},
        attrs={"library": "é\0", "big": 2**70, "list": np.array([1.5]), "map": {"a": [1]}},
    )
    statistics = xr.Dataset({"diverging": (("chain", "draw"), np.zeros((2, 5), bool))})
    names = xr.Dataset({"text": ("x", np.array(["", "x"]))}, coords={"x": ["é", ""]})
    tree = xr.DataTree.from_dict(
        {
            "/posterior": posterior,
            "/sample_stats": statistics,
            "/empty": xr.Dataset(),
            "/nested/names": names,
            "/none": xr.Dataset({"z": ("k", np.zeros(0))}),
        }
    )
    tree.attrs["sampler"] = "nuts"
    return tree


def assert_exactly_equal(a: Estimate, b: Estimate) -> None:
    for left, right in [
        (a.location.value, b.location.value),
        (a.location.error, b.location.error),
        (a.sd.value, b.sd.value),
        (a.sd.error, b.sd.error),
        (a.point, b.point),
        (a.covariance, b.covariance),
        (a.record, b.record),
    ]:
        xr.testing.assert_identical(left, right)
    assert np.signbit(b.location.value["w"].values[1]) == np.signbit(
        a.location.value["w"].values[1]
    )
    assert (a.log_likelihood, a.problems, a.sd_kind) == (
        b.log_likelihood,
        b.problems,
        b.sd_kind,
    )
    assert (a.draws is None) == (b.draws is None)
    if a.draws is None or b.draws is None:
        return
    xr.testing.assert_identical(a.draws, b.draws)
    for node in a.draws.subtree:
        other = b.draws[node.path]
        for name, variable in node.to_dataset(inherit=False).variables.items():
            assert other[name].dtype == variable.dtype
            for key, attribute in variable.attrs.items():
                assert type(other[name].attrs[key]) is type(attribute)


ESTIMATES = {
    "without draws": an_estimate(),
    "with draws": an_estimate(some_draws()),
    "with problems": an_estimate(problems=("", "did not converge: R-hat 1.2", "é\0")),
    "with empty draws": an_estimate(xr.DataTree()),
}


@pytest.mark.parametrize("estimate", ESTIMATES.values(), ids=ESTIMATES.keys())
def test_a_fit_comes_back_exactly(estimate: Estimate, tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.load(KEY) is None
    store.save(KEY, estimate)
    found = store.load(KEY)
    assert found is not None
    assert_exactly_equal(estimate, found)
    assert_exactly_equal(estimate, from_netcdf(to_netcdf(estimate)))


def test_saving_changes_nothing_of_the_estimate(tmp_path: Path) -> None:
    draws = some_draws()
    Store(tmp_path).save(KEY, an_estimate(draws))
    xr.testing.assert_identical(draws, some_draws())


def test_a_stored_fit_opens_as_arviz_draws(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save(KEY, an_estimate(some_draws()))
    with xr.open_datatree(store.fit_path(KEY), engine="h5netcdf", decode_times=False) as tree:
        np.testing.assert_array_equal(tree["posterior"]["mu"], some_draws()["posterior"]["mu"])


@pytest.mark.parametrize(
    "variable",
    [np.array([None, 1], object), np.array(["2020-01-01"], "M8[ns]"), np.array([1j])],
    ids=["objects", "dates", "complex"],
)
def test_what_netcdf_cannot_hold_is_refused_by_name(variable: np.ndarray, tmp_path: Path) -> None:
    draws = xr.DataTree.from_dict({"/posterior": xr.Dataset({"odd": ("x", variable)})})
    with pytest.raises(FitError, match="posterior/odd has dtype"):
        Store(tmp_path).save(KEY, an_estimate(draws))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("group", ["/", "/estimate"])
def test_draws_must_follow_the_arviz_layout(group: str) -> None:
    draws = xr.DataTree.from_dict({group: xr.Dataset({"x": 1.0})})
    with pytest.raises(FitError, match="ArviZ groups"):
        to_netcdf(an_estimate(draws))


def _flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def _meta(path: Path, **fields: object) -> None:
    """Changes what an entry says of itself."""
    meta = json.loads((path / "meta.json").read_text())
    (path / "meta.json").write_text(json.dumps(meta | fields))


def _forged(path: Path, payload: bytes = b"cos\nsystem\n(S'true'\ntR.") -> None:
    """A hostile entry whose checksum is right."""
    (path / "fit.nc").write_bytes(payload)
    _meta(path, sha256=hashlib.sha256(payload).hexdigest(), bytes=len(payload))


def _rebuilt(change: Callable[[dict[str, xr.Dataset]], object]) -> Callable[[Path], None]:
    """An entry of another structure whose checksum is right."""

    def damage(path: Path) -> None:
        found = xr.open_groups(path / "fit.nc", engine="h5netcdf", decode_times=False)
        groups = {name: group.load() for name, group in found.items()}
        change(groups)
        _forged(path, bytes(xr.DataTree.from_dict(groups).to_netcdf(None, engine="h5netcdf")))

    return damage


def _replaced(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Something else in the place of an entry, or of a file in it."""

    def damage(path: Path) -> None:
        there = path / name
        if there.is_dir():
            shutil.rmtree(there)
        else:
            there.unlink()
        make(there)

    return damage


def _changed(groups: dict[str, xr.Dataset], name: str, change: Callable[[Any], Any]) -> None:
    groups[f"/estimate/{name}"] = change(groups[f"/estimate/{name}"])


DAMAGES = {
    "bit flipped in the numbers": lambda path: _flip(path / "fit.nc", -1000),
    "truncated": lambda path: os.truncate(path / "fit.nc", 1000),
    "empty": lambda path: os.truncate(path / "fit.nc", 0),
    "fit missing": lambda path: (path / "fit.nc").unlink(),
    "metadata empty": lambda path: os.truncate(path / "meta.json", 0),
    "metadata missing": lambda path: (path / "meta.json").unlink(),
    "metadata of another fit": lambda path: (path / "meta.json").write_text(
        (path / "meta.json").read_text().replace("1", "2")
    ),
    "metadata a list": lambda path: (path / "meta.json").write_text("[]"),
    "metadata nested too deep": lambda path: (path / "meta.json").write_text("[" * 100_000),
    "metadata not text": lambda path: (path / "meta.json").write_bytes(b"\xff\xfe\x00"),
    "metadata nested a little too deep": lambda path: (path / "meta.json").write_text(
        '{"content": ' + "[" * 5_000 + "]" * 5_000 + "}"
    ),
    "a huge integer": lambda path: (path / "meta.json").write_text('{"content": ' + "9" * 5_000),
    "content of another type": lambda path: _meta(path, content=float("nan")),
    "a checksum of another type": lambda path: _meta(path, sha256=[1]),
    "a size of another type": lambda path: _meta(path, bytes="many"),
    "hostile with a right checksum": _forged,
    "without a group": _rebuilt(lambda groups: groups.pop("/estimate/sd")),
    "without draws": _rebuilt(lambda groups: groups.pop("/posterior")),
    "without a variable": _rebuilt(
        lambda groups: _changed(groups, "location", lambda x: x.drop_vars("mu"))
    ),
    "with other dims": _rebuilt(
        lambda groups: _changed(groups, "sd", lambda x: x.rename(component="part"))
    ),
    "with another dtype": _rebuilt(
        lambda groups: _changed(groups, "point", lambda x: x.astype(str))
    ),
    **{
        f"{what} in the place of {name or 'the entry'}": _replaced(name, make)
        for name in ("", "fit.nc", "meta.json")
        for what, make in {
            "a dangling link": lambda path: path.symlink_to("nothing"),
            "a link": lambda path: path.symlink_to(__file__),
            "a link to itself": lambda path: path.symlink_to(path),
            "a pipe": os.mkfifo,
            **({"a directory": lambda path: path.mkdir()} if name else {}),
            "a file": lambda path: path.write_text("{}"),
        }.items()
    },
}


@pytest.mark.parametrize("harm", DAMAGES.values(), ids=DAMAGES.keys())
def test_corruption_is_found_set_aside_and_told_once(harm, tmp_path: Path) -> None:
    told: list[str] = []
    store = Store(tmp_path, warn=told.append)
    store.save(KEY, an_estimate(some_draws()))
    directory = store.fit_path(KEY).parent
    harm(directory)
    assert store.load(KEY) is None
    assert store.load(KEY) is None
    assert len(told) == 1
    assert "corrupt" in told[0]
    assert [p.name for p in tmp_path.iterdir()] == [f"{digest(KEY)}.corrupt-1"]
    store.save(KEY, an_estimate(some_draws()))
    assert store.intact(KEY)
    harm(directory)
    (tmp_path / f"{digest(KEY)}.corrupt-2").symlink_to("nothing")
    store.save(KEY, an_estimate(some_draws()))  # damage is no first writer
    if store.load(KEY) is None:  # it showed itself only now
        store.save(KEY, an_estimate(some_draws()))
    assert store.load(KEY) is not None
    assert os.path.lexists(tmp_path / f"{digest(KEY)}.corrupt-3")


def test_an_entry_that_may_not_be_read_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    store = Store(tmp_path, warn=told.append)
    store.save(KEY, an_estimate())

    def forbidden(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "read", forbidden)
        assert store.load(KEY) is None
    assert len(told) == 1
    assert "Permission denied" in told[0]
    store.save(KEY, an_estimate())
    assert store.load(KEY) is not None

    def exhausted(path: Path) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "read", exhausted)
        with pytest.raises(StoreError, match="Too many open files"):
            store.load(KEY)
    assert store.intact(KEY)


def test_what_a_reader_cannot_use_is_set_aside_too(tmp_path: Path) -> None:
    told: list[str] = []
    store = Store(tmp_path, warn=told.append)
    store.save_json(KEY, {"a": 1})
    assert store.load_json(KEY, lambda value: value["a"]) == 1
    assert store.load_json(KEY, lambda value: value["b"]) is None
    store.save(KEY, an_estimate())
    assert store.load(KEY, lambda fit: fit.problems) == ()
    assert store.load(KEY, lambda fit: fit.location.value["tau"]) is None
    assert len(told) == 2
    assert all("cannot be read (KeyError)" in one for one in told)


def test_an_inventory_says_what_an_entry_is_and_whether_it_is_whole(tmp_path: Path) -> None:
    store = Store(tmp_path)
    here, about = {"versions": versions()}, {"model": "m\nn", "method": "nuts", "data": "d"}
    fit = {"model": {"class": "Gaussian"}, "method": {"class": "NUTS"}}
    store.save({**fit, **here}, an_estimate(), about)
    store.save({**fit, "versions": {}}, an_estimate())
    for name in ("verdicts", "theory", "record"):
        store.save_json({name: "entry"}, [])
    store.save_json({"study": "a.b", "model": {"class": "M"}, "work": [5, 0, 9]}, [])
    for name in ("a" * 64, "b" * 64, "notes"):
        (tmp_path / name).mkdir()
    (tmp_path / ("a" * 64) / "meta.json").write_text('{"content": {"record": 1}, "about": 3}')
    found = {entry.what: entry for entry in entries(tmp_path)}
    assert set(found) == {
        *("nuts of m n on d", "NUTS of Gaussian", "verdicts of entry", "what entry shows"),
        *("results of a case", "a batch of b of M at N = 5", ""),
    }
    assert [what for what, entry in found.items() if not entry.current] == ["NUTS of Gaussian", ""]
    whole = found["nuts of m n on d"].path
    assert found["nuts of m n on d"].size == sum(one.stat().st_size for one in whole.iterdir())
    assert damage(whole) == damage(found["what entry shows"].path) == ""
    _forged(whole)
    assert damage(whole) == "fit.nc cannot be read (ValueError)"
    os.truncate(found["what entry shows"].path / "content.json", 0)
    assert "SHA-256" in damage(found["what entry shows"].path)


def test_only_what_is_ours_and_unused_is_superfluous(tmp_path: Path) -> None:
    names = {
        "a" * 64: "meta.json",
        "b" * 64: "fit.nc",
        "c" * 64: "thesis.tex",
        "d" * 64 + ".corrupt-1": "fit.nc",
        "e" * 64 + ".corrupt-1": "thesis.tex",
        "mine.corrupt-1": "fit.nc",
        ".tmp-999999999-abcdefgh": "half",
        "notes": "fit.nc",
    }
    for name, file in names.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    (tmp_path / ("f" * 64 + ".corrupt-2")).symlink_to(tmp_path / "notes")

    def found(used: set[str]) -> set[str]:
        return {path.name[:1] for path, _ in superfluous(tmp_path, used)}

    assert found({"a" * 64}) == {"b", "d", "f", "."}
    assert found(set()) == {"d", "f", "."}
    assert list(superfluous(tmp_path / "nothing", set())) == []


def test_a_warning_is_the_default_way_to_tell(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save(KEY, an_estimate())
    os.truncate(store.fit_path(KEY), 10)
    with pytest.warns(UserWarning, match="SHA-256 of fit.nc"):
        assert not store.intact(KEY)


def test_json_values_are_kept_and_checked_alike(tmp_path: Path) -> None:
    told: list[str] = []
    store = Store(tmp_path, warn=told.append)
    assert store.load_json(KEY) is None
    store.save_json(KEY, [{"observed": 0.1, "expected": float("inf")}])
    assert store.load_json(KEY) == [{"observed": 0.1, "expected": float("inf")}]
    _flip(tmp_path / digest(KEY) / "content.json", 3)
    assert store.load_json(KEY) is None
    assert len(told) == 1


def test_the_first_of_two_writers_wins(tmp_path: Path) -> None:
    Store(tmp_path).save(KEY, an_estimate(problems=("first",)))
    Store(tmp_path).save(KEY, an_estimate(problems=("second",)))
    found = Store(tmp_path).load(KEY)
    assert found is not None
    assert found.problems == ("first",)
    assert [p.name for p in tmp_path.iterdir()] == [digest(KEY)]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_failing_disk_is_a_store_error_and_leaves_nothing(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(store_module.os, "fsync", fail)
    with pytest.raises(StoreError, match=r"bytes are free") as caught:
        Store(tmp_path).save(KEY, an_estimate())
    assert str(tmp_path) in str(caught.value)
    assert os.strerror(code) in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_the_directory_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        Store(tmp_path / "file" / "fits").save(KEY, an_estimate())


def test_only_what_dead_processes_left_is_swept(tmp_path: Path) -> None:
    ours = f".tmp-{os.getpid()}-abcdefgh"
    kept = [ours, ".tmp-x-somebody", ".tmp-999999999-b", "tmp"]
    for name in (*kept, ".tmp-999999999-abcdefgh"):
        (tmp_path / name).mkdir()
    Store(tmp_path).sweep()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(kept)


def test_equal_content_has_one_key_and_different_content_another() -> None:
    assert digest({"a": 1, "b": (1.0, np.float64(2))}) == digest({"b": [1, 2.0], "a": 1.0})
    assert digest({"a": 1}) != digest({"a": True})
    assert digest(1.0) != digest(1.0 + 2**-52)
    assert canonical(np.arange(4.0).reshape(2, 2)) == {"shape": [2, 2], "values": [0, 1, 2, 3]}
    with pytest.raises(ConfigError, match="no content key"):
        canonical(object())


def test_a_class_without_source_is_refused() -> None:
    homeless = type("Homeless", (), {"__module__": "nowhere"})
    with pytest.raises(ConfigError, match="no source"):
        source_digest(homeless)
