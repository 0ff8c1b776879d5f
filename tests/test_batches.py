"""Batches of replicates: any workers give the same numbers, and what fails is counted."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import pandas as pd
import psutil
import pytest

from comparisons.report.pages.study import study_page
from comparisons.runs import batches as _batches
from comparisons.runs import remote as _remote
from comparisons.runs.batches import Work, Workers, description, from_spec, here, measured, there
from comparisons.runs.conduct import conduct
from comparisons.runs.executor import Cluster
from comparisons.runs.plan import dumped, model_spec
from comparisons.runs.programs import user_class
from comparisons.runs.run import study as run_study
from comparisons.runs.settings import CaseSettings, Settings
from comparisons.store.entries import Store
from comparisons.store.keys import digest
from comparisons.studies import Setting, asymptotics
from comparisons.verdict import Verdict
from models.catalogue.gaussian import Gaussian
from models.errors import ConfigError, FitError

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = '''
import os
from dataclasses import dataclass
from pathlib import Path
from typing import final

from models.spec import Model
from models.catalogue.gaussian import Gaussian


@final
@dataclass(frozen=True)
class Fragile(Model):
    """A normal law whose replicates die or fail at some data."""

    marker: str = ""
    near: float = -1e9
    within: float = 0.3
    deaths: int = 0

    name = "fragile"
    parameters = Gaussian().parameters

    @property
    def truth(self):
        return Gaussian().truth

    def simulate(self, rng, values, n):
        return Gaussian().simulate(rng, values, n)

    def start(self, rng, data):
        if abs(float(data["y"].data[0]) - self.near) < self.within:
            raise ValueError("the first row is unlucky")
        if self.deaths and n_times(self.marker) <= self.deaths:
            os._exit(9)
        return Gaussian().start(rng, data)

    def numpyro(self, data):
        Gaussian().numpyro(data)

    def pymc(self, data):
        return Gaussian().pymc(data)


def n_times(marker):
    with Path(marker).open("a") as file:
        file.write("x")
    return Path(marker).stat().st_size
'''


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(2, None, tmp_path_factory.mktemp("events")) as cluster:
        yield cluster


def workers_for(cluster: Cluster, reference: str, model: Any) -> Workers:
    return there(cluster, spec(reference, model), lambda *event: None)


@pytest.fixture
def fragile(tmp_path: Path) -> str:
    path = tmp_path / "fragile.py"
    path.write_text(USER)
    return f"{path}:Fragile"


GAUSSIAN = model_spec(CaseSettings(model="gaussian"))
AGREED = Verdict("x", 0.0, 0.0, 0.0, 1.0)


def spec(reference: str, model: Any) -> dict[str, Any]:
    described = model_spec(CaseSettings(model=reference, set=dumped(model)))
    return {"study": "asymptotics", "model": described, "truth": None, "seed": 3, "methods": []}


def test_workers_give_the_numbers_of_this_process(cluster: Cluster, tmp_path: Path) -> None:
    setting = Setting(Gaussian(), 3)

    def told(*_: object) -> None:
        pass

    here = conduct(asymptotics, setting, (20, 40), 600, Store(tmp_path / "a"), told)
    workers = workers_for(cluster, "gaussian", setting.model)
    remote = conduct(
        asymptotics, setting, (20, 40), 600, Store(tmp_path / "b"), told, workers=workers
    )
    assert here.verdicts == remote.verdicts


def test_a_scheduler_that_runs_already_gives_the_same_study(
    cluster: Cluster, tmp_path: Path
) -> None:
    address, keys = cluster.client.scheduler_info()["address"], cluster.client.security
    tls = {"ca-file": keys.tls_ca_file, "client.key": keys.tls_client_key}
    tls["client.cert"] = keys.tls_client_cert
    dask.config.set({f"distributed.comm.tls.{name}": value for name, value in tls.items()})
    rows = []
    for out, scheduler in ((tmp_path / "here", None), (tmp_path / "there", address)):
        settings = Settings(out=str(out), jobs=None if scheduler else 1, scheduler=scheduler)
        run_study("asymptotics", GAUSSIAN, (30,), 250, settings, "")
        rows.append((out / "study.csv").read_text())
    assert rows[0] == rows[1]
    dask.config.refresh()
    with (
        pytest.raises(ConfigError, match=r"with its keys in Dask's configuration"),
        Cluster(1, address, tmp_path) as stranger,
    ):
        _ = stranger.memory


def test_threads_of_a_worker_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most = threading.Semaphore(2), []

    def measure(*_: object) -> str:
        with inside:
            most.append(inside._value)
            time.sleep(0.05)
        return "measured"

    monkeypatch.setattr(_batches, "measured", measure)
    monkeypatch.setattr(_remote, "prepare", lambda: None)  # this process has its environment
    text = json.dumps(spec("gaussian", Gaussian()))
    source = digest(description(*from_spec(text)))

    def perform(i: int) -> str:
        call = "comparisons.runs.batches:measure_spec"
        return _remote.perform(call, (text, source, (20, i, i + 1)), {}, "", "")

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(perform, range(4)))
    assert found == ["measured"] * 4
    assert most == [1] * 4  # never the second of the two places


def test_workers_of_several_threads_give_the_same_numbers(tmp_path: Path) -> None:
    from dask.distributed import LocalCluster

    works = [Work(20, i, i + 30) for i in range(0, 240, 30)]
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=4,
            host="127.0.0.1",
            dashboard_address=None,
            local_directory=str(tmp_path),
        ) as own,
        Cluster(1, own.scheduler_address, tmp_path) as cluster,
    ):
        found = dict(workers_for(cluster, "gaussian", Gaussian()).measured(works))
    expected = dict(here(asymptotics, Setting(Gaussian(), 3)).measured(works))
    for work in works:
        assert not found[work].failures
        np.testing.assert_array_equal(found[work].columns["error"], expected[work].columns["error"])


def test_a_worker_in_single_precision_is_refused(cluster: Cluster) -> None:
    def precision(double: bool) -> None:
        import jax

        jax.config.update("jax_enable_x64", double)

    cluster.client.run(precision, False)
    try:
        with pytest.raises(ConfigError, match="float32"):
            list(workers_for(cluster, "gaussian", Gaussian()).measured([Work(20, 0, 30)]))
    finally:
        cluster.client.run(precision, True)


def test_a_method_of_pymc_runs_on_a_worker(cluster: Cluster) -> None:
    def fitted() -> Any:
        from comparisons.runs import environment as _environment

        _environment.prepare()
        from comparisons.studies import Setting
        from inference.methods.nuts import NUTS
        from models.catalogue.gaussian import Gaussian

        setting = Setting(Gaussian(), 3, (NUTS("pymc", warm_up=300, draws=500),))
        found = setting.drawn(setting.batch(50, [0]), 39)
        return setting.batch(50, [0]).sets[0]["y"].data, found

    y, found = cluster.client.submit(fitted).result()
    assert list(found) == ["nuts[pymc]"]
    draws, usable = found["nuts[pymc]"]
    assert usable.all()
    # the posterior is nearly N(ȳ, s²/50); 39 of its draws; false alarm 1e-6
    mean, error = draws[0, :, 0].mean(), y.std() / np.sqrt(50 * 39)
    assert abs(mean - y.mean()) < 5 * error


def test_a_study_that_was_killed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    killed = subprocess.Popen(
        [sys.executable, "-m", "comparisons", "study", "asymptotics", "--model", "gaussian",
         "--n", "30", "--replicates", "1000000", "--jobs", "1", "--out", str(tmp_path / "killed")],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        kept: list[Path] = []
        while not kept and killed.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
            kept = list((tmp_path / "killed" / "fits").glob("[!.]*/content.json"))
    finally:
        killed.kill()
        killed.wait()
    assert kept
    before = {path: path.stat().st_mtime_ns for path in kept}
    studies = []
    for out in ("killed", "whole"):
        settings = Settings(out=str(tmp_path / out), jobs=1)
        run_study("asymptotics", GAUSSIAN, (30,), 1_000, settings, "")
        studies.append(pd.read_csv(tmp_path / out / "study.csv"))
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    pd.testing.assert_frame_equal(*studies, rtol=1e-9)


def test_nothing_listens_beyond_this_machine(cluster: Cluster) -> None:
    assert cluster.client.scheduler_info()["address"].startswith("tls://127.0.0.1:")
    this = psutil.Process()
    for process in (this, *this.children(recursive=True)):
        for socket in process.net_connections():
            assert socket.status != "LISTEN" or socket.laddr.ip in ("127.0.0.1", "::1")


def test_a_killed_worker_costs_one_batch(cluster: Cluster, tmp_path: Path, fragile: str) -> None:
    cls = user_class(Path(fragile.partition(":")[0]), "Fragile")
    model = cls(marker=str(tmp_path / "deaths"), deaths=1)
    works = [Work(20, 0, 30), Work(20, 30, 60)]
    found = dict(workers_for(cluster, fragile, model).measured(works))
    expected = dict(here(asymptotics, Setting(cls(), 3)).measured(works))
    for work in works:
        assert not found[work].failures
        np.testing.assert_array_equal(found[work].columns["error"], expected[work].columns["error"])


def test_a_batch_that_kills_every_worker_is_counted(
    cluster: Cluster, tmp_path: Path, fragile: str
) -> None:
    model = user_class(Path(fragile.partition(":")[0]), "Fragile")(
        marker=str(tmp_path / "deaths"), deaths=1_000_000
    )
    [(_, found)] = workers_for(cluster, fragile, model).measured([Work(20, 0, 30)])
    assert found.columns == {}
    assert found.failures == {"the worker ended (exit status 9) twice during its batch": 30}


def test_a_failing_replicate_is_counted_and_its_batch_kept(fragile: str) -> None:
    cls = user_class(Path(fragile.partition(":")[0]), "Fragile")
    setting = Setting(cls(near=4.0), 3)  # one set in ten begins near there
    batch = setting.batch(20, range(40))
    unlucky = np.array([abs(float(data["y"].data[0]) - 4.0) < 0.3 for data in batch.sets])
    assert 0 < unlucky.sum() < 20
    found = measured(asymptotics, setting, Work(20, 0, 40))
    assert found.failures == {"ValueError: the first row is unlucky": unlucky.sum()}
    whole = measured(asymptotics, Setting(cls(within=0.0), 3), Work(20, 0, 40))
    assert np.isnan(found.columns["error"][unlucky]).all()
    np.testing.assert_allclose(
        found.columns["error"][~unlucky], whole.columns["error"][~unlucky], rtol=1e-9
    )


def test_what_fails_everywhere_is_told_at_once(fragile: str) -> None:
    cls = user_class(Path(fragile.partition(":")[0]), "Fragile")
    with pytest.raises(FitError, match="failed at N = 20: ValueError: the first row is unlucky"):
        measured(asymptotics, Setting(cls(within=1e12), 3), Work(20, 0, 40))


def test_no_failure_is_stored(tmp_path: Path) -> None:
    calls: list[int] = []

    def measure(setting: Setting, n: int, indices: range) -> dict[str, np.ndarray]:
        calls.append(len(indices))
        if 7 in indices:
            raise ValueError("seven")
        return {"x": np.zeros((len(indices), 1))}

    module: Any = SimpleNamespace(
        measure=measure,
        judge=lambda setting, summaries: [dataclasses.replace(AGREED, method="m", n=5)],
        __name__="comparisons.planted",
        __file__=str(Path(__file__)),
        __doc__="Planted.",
    )
    for _ in range(2):
        calls.clear()
        found = conduct(module, Setting(Gaussian(), 0), (5,), 20, Store(tmp_path), lambda *_: None)
        assert found.failures == {5: {"ValueError: seven": 1}}
        assert calls  # measured again, since it was not stored
    page = study_page(found, "a command", overview=False)
    assert "1 of 20 replicates at N = 5 failed: ValueError: seven" in page
    assert "20 data sets at N = 5: no statement fails." in page
    unsure = Verdict("x", 0.0, 0.0, 9.0, 1.0, method="m", n=5)
    page = study_page(dataclasses.replace(found, verdicts=(unsure,)), "", overview=False)
    assert "no statement fails; 1 of 1 are not decided." in page


def test_kept_replicates_are_written_whole(tmp_path: Path) -> None:
    for seed, keep in ((0, True), (1, False), (1, True)):
        settings = Settings(out=str(tmp_path), jobs=1, seed=seed)
        run_study("asymptotics", GAUSSIAN, (30,), 300, settings, "", keep=keep)
    # numbers of one seed never stand for those of another
    folders = list((tmp_path / "replicates" / "asymptotics-gaussian").iterdir())
    assert len(folders) == 2
    errors = []
    for folder in folders:
        table = pd.concat([pd.read_parquet(file) for file in sorted(folder.iterdir())])
        assert list(table["replicate"]) == list(range(300))
        assert {"error: mu", "standard error: sigma", "below: mu 0"} <= set(table.columns)
        errors.append(table["error: mu"])
    for seed in (0, 1):
        batch = Setting(Gaussian(), seed).batch(30, range(300))
        mean = [float(data["y"].mean()) - float(Gaussian().truth["mu"]) for data in batch.sets]
        assert any(np.allclose(mean, error, atol=1e-4) for error in errors)


def test_a_study_that_fails_in_many_ways_says_so(tmp_path: Path) -> None:
    def measure(setting: Setting, n: int, indices: range) -> dict[str, np.ndarray]:
        raise ValueError(f"odd one {indices.start}")

    module: Any = SimpleNamespace(measure=measure, judge=None, __name__="comparisons.planted")
    found = measured(module, Setting(Gaussian(), 0), Work(5, 0, 3))
    assert found.columns == {}
    assert found.failures == {f"ValueError: odd one {index}": 1 for index in range(3)}


def test_a_worker_with_other_code_is_refused(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_batches, "versions", lambda: {"python": "0.9"})
    workers = workers_for(cluster, "gaussian", Gaussian())
    with pytest.raises(ConfigError, match="has another version of this package"):
        list(workers.measured([Work(20, 0, 30)]))


def test_whoever_has_no_key_cannot_speak_to_the_scheduler(cluster: Cluster) -> None:
    from dask.distributed import Client
    from distributed.security import Security

    address = cluster.client.scheduler.address
    assert address.startswith("tls://127.0.0.1:")
    for theirs, key in ((f"tcp{address[3:]}", None), (address, Security.temporary())):
        with pytest.raises(OSError, match=r"TCP|TLS|Timed out"):
            Client(theirs, security=key, timeout="2s", set_as_default=False)
    assert cluster.client.submit(len, "ours").result() == 4


def test_no_scheduler_at_the_address_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="--scheduler nonsense"),
        Cluster(1, "nonsense://127.0.0.1:1", tmp_path) as cluster,
    ):
        assert cluster.client
