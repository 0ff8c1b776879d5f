"""Two posteriors, whoever drew them: planted differences are found, and equal pairs pass.

With 4 × 5,000 independent draws a mean has error σ/141 and a difference of two means 0.01 σ; means
differ by the rule if |d| > 0.05 σ + 3.29 · 0.01 σ = 0.083 σ, which equal ones do with probability
1e-16 a row, and ones that are 0.5 σ apart fail to do with less. An sd has an error of 0.005 σ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

import concord as cc

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHAPE = (4, 5_000)


def draws(seed: int, shape: tuple[int, int] = SHAPE) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    rate = rng.gamma(9.0, 1.0, shape)
    return {"mu": rng.normal(3.0, 2.0, shape), "beta": rng.normal(size=(*shape, 2)), "rate": rate}


def tree(posterior: dict[str, np.ndarray], **names: Any) -> xr.DataTree:
    from arviz import from_dict

    return from_dict({"posterior": posterior}, **names)


def outcomes(found: cc.SamePosterior) -> dict[tuple[str, str], str]:
    table = found.table()
    keys = zip(table["parameter"], table["quantity"], strict=True)
    return dict(zip(keys, table["verdict"], strict=True))


PLANTED: dict[str, tuple[Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]], object]] = {
    "mean off by half an sd": (lambda x: x | {"mu": x["mu"] + 1.0}, ("mu", "mean")),
    "sd off by 40 %": (lambda x: x | {"mu": 3.0 + 1.4 * (x["mu"] - 3.0)}, ("mu", "sd")),
    "one entry off": (lambda x: x | {"beta": x["beta"] + [0.0, 0.5]}, ("beta[1]", "mean")),
    "another constant": (lambda x: x | {"rate": np.full(SHAPE, 9.0)}, ("rate", "sd")),
}


@pytest.mark.parametrize(("plant", "row"), PLANTED.values(), ids=PLANTED)
def test_planted_differences_are_found(plant, row) -> None:
    found = cc.same_posterior(tree(plant(draws(1))), tree(draws(2)))
    assert not found.passed
    differing = {key for key, outcome in outcomes(found).items() if outcome == "DIFFER"}
    assert row in differing
    assert {parameter for parameter, _ in differing} == {row[0]}


def test_a_wider_tolerance_lets_a_difference_pass() -> None:
    plant, row = PLANTED["mean off by half an sd"]
    sides = tree(plant(draws(1))), tree(draws(2))
    assert outcomes(cc.same_posterior(*sides, tolerance=6.0))[row] == "AGREE"


@pytest.mark.parametrize("seed", range(5))
def test_equal_posteriors_pass(seed: int) -> None:
    found = cc.same_posterior(tree(draws(2 * seed)), tree(draws(2 * seed + 1)))
    assert found.passed
    assert set(outcomes(found)) == {
        (name, part) for name in ("mu", "beta[0]", "beta[1]", "rate") for part in ("mean", "sd")
    }


def test_chains_and_draws_may_differ_in_number() -> None:
    assert cc.same_posterior(tree(draws(1, (2, 20_000))), tree(draws(2, (6, 3_000)))).passed


def test_what_never_varies_agrees_up_to_the_rounding_of_float32() -> None:
    def with_constants(seed: int, dtype: type, off: float = 0.0) -> xr.DataTree:
        held = np.full((*SHAPE, 3), [0.1, 0.0, 1.0 + off], dtype)
        held[..., 2] += np.random.default_rng(seed).integers(2, size=SHAPE) * np.finfo(dtype).eps
        return tree(draws(seed) | {"held": held})

    exact, single = with_constants(1, np.float64), with_constants(2, np.float32)
    for pair in ((exact, single), (single, exact)):
        cc.testing.assert_same_posterior(*pair)
    found = outcomes(cc.same_posterior(exact, with_constants(2, np.float32, 1e-5)))
    assert [row for row, outcome in found.items() if outcome == "DIFFER"] == [("held[2]", "mean")]


def test_what_one_side_has_alone_is_listed() -> None:
    less = draws(1)
    del less["mu"]
    found = cc.same_posterior(tree(less), tree(draws(2)))
    (row,) = found.table().query("verdict == 'NOT COMPARABLE'").to_dict("records")
    assert row["parameter"] == "mu"
    assert row["cause"] == "only the second posterior has it"
    assert found.passed


def test_nothing_in_common_is_no_agreement() -> None:
    one, other = ({name: draws(1)["mu"]} for name in ("a", "b"))
    assert not cc.same_posterior(tree(one), tree(other)).passed


@pytest.mark.parametrize("axis", [0, 1], ids=["as another chain", "in the same chain"])
def test_draws_that_are_there_twice_are_told(axis: int) -> None:
    half = draws(1, (2, 2_500))
    twice = {name: np.concatenate([x, x], axis=axis) for name, x in half.items()}
    table = cc.same_posterior(tree(twice), tree(draws(2))).table()
    (row,) = table.query("verdict == 'NOT COMPARABLE'").to_dict("records")
    assert row["parameter"] == "the first posterior"
    assert "5000 of its draws were there before" in row["cause"]


def test_rejected_proposals_and_counts_are_no_repeats() -> None:
    x = draws(1)
    held = {"mu": np.repeat(x["mu"][:, ::2], 2, axis=1)}
    counts = {"n": np.random.default_rng(3).poisson(4.0, SHAPE)}
    found = cc.same_posterior(tree(held | counts), tree(x | counts))
    assert "there before" not in found.table()["cause"].str.cat()


def test_entries_are_matched_by_their_labels() -> None:
    x, y = draws(1), draws(2)
    x["beta"], y["beta"] = x["beta"] + [0.0, 5.0], y["beta"] + [5.0, 0.0]
    names: Any = {"dims": {"beta": ["column"]}}
    one = tree(x, coords={"column": ["age", "dose"]}, **names)
    other = tree(y, coords={"column": ["dose", "age"]}, **names)
    found = outcomes(cc.same_posterior(one, other))
    assert found["beta[age]", "mean"] != "DIFFER" != found["beta[dose]", "mean"]
    # of two that count their entries, or one that does, the position decides
    found = outcomes(cc.same_posterior(one, tree(y)))
    assert found["beta[age]", "mean"] == found["beta[dose]", "mean"] == "DIFFER"


def test_what_shows_itself_is_escaped() -> None:
    found = cc.same_posterior(tree({"<img>": draws(1)["mu"]}), tree({"<img>": draws(2)["mu"]}))
    assert "<img>" not in found._repr_html_()
    assert "&lt;img&gt;" in found._repr_html_()
    assert "2 " in repr(found)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (4, 4)])
def test_a_handful_of_draws_is_told(shape: tuple[int, int]) -> None:
    found = cc.same_posterior(tree(draws(1, shape)), tree(draws(2)))
    (reason,) = found.table().query("parameter == 'the first posterior'")["cause"]
    assert "draws" in reason


# --- files and the command ----------------------------------------------------------------------


def stored(folder: Path, **trees: xr.DataTree) -> list[str]:
    for name, one in trees.items():
        one.to_netcdf(folder / f"{name}.nc", engine="h5netcdf")
    return [str(folder / f"{name}.nc") for name in trees]


def test_files_are_compared_as_trees_are(tmp_path: Path) -> None:
    old, new = stored(tmp_path, old=tree(draws(1)), new=tree(draws(2)))
    found = cc.same_posterior(old, tmp_path / "new.nc")
    assert found.table().equals(cc.same_posterior(tree(draws(1)), tree(draws(2))).table())
    cc.testing.assert_same_posterior(old, old)
    assert new


def test_the_command_prints_the_rows(tmp_path: Path, concord) -> None:
    x = draws(2)
    old, new, off = stored(
        tmp_path, old=tree(draws(1)), new=tree(x), off=tree(x | {"mu": x["mu"] + 1.0})
    )
    for tolerance in ("0", "nan"):
        code, _, errors = concord("posterior", old, new, "--tolerance", tolerance)
        assert code == 2
        assert f"tolerance is {float(tolerance)}; expected > 0" in errors
    code, output, _ = concord("posterior", old, new)
    assert code == 0
    assert sum("mean" in line for line in output.splitlines()) == 4
    code, output, _ = concord("posterior", old, off)
    assert code == 1
    assert "1 DIFFER" in output.splitlines()[-1]
    (line,) = (line for line in output.splitlines() if "DIFFER" in line and "mean" in line)
    assert line.split()[0] == "mu"


def test_what_cannot_be_read_is_named(tmp_path: Path, concord) -> None:
    (good,) = stored(tmp_path, good=tree(draws(1)))
    prior = xr.DataTree.from_dict({"prior": xr.Dataset(), "observed_data": xr.Dataset()})
    flat = xr.DataTree.from_dict({"posterior": xr.Dataset({"mu": ("sample", np.zeros(9))})})
    empty = xr.DataTree.from_dict({"posterior": xr.Dataset()})
    stored(tmp_path, prior=prior, flat=flat, empty=empty)
    (tmp_path / "text.nc").write_text("mu\n1\n")
    whole = (tmp_path / "good.nc").read_bytes()
    (tmp_path / "cut.nc").write_bytes(whole[: len(whole) // 2])
    for name, message in {
        "none": "no such file",
        "text": "cannot be read as netCDF",
        "cut": "cannot be read as netCDF",
        "prior": "no group posterior; it has prior, observed_data",
        "flat": "expected (chain, draw, …)",
        "empty": "no variables",
    }.items():
        path = str(tmp_path / f"{name}.nc")
        code, _, errors = concord("posterior", good, path)
        assert code == 2
        assert path in errors
        assert message in errors
    with pytest.raises(cc.DataError, match="from_dict"):
        cc.same_posterior({"mu": np.zeros((4, 9))}, good)
