"""Ray workers: the same trajectory as here, and one copy of a saved market among them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import cryptoenv
from tests.clients import worker

ray = pytest.importorskip("ray", reason='Ray is not installed: pip install "cryptoenv-rl[distributed]"')


@pytest.fixture(scope="module")
def local_ray() -> Iterator[Any]:
    root = str(Path(__file__).parents[2])  # workers import the tests' own modules
    environment = {"env_vars": {"PYTHONPATH": root}}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=environment)
    yield ray
    ray.shutdown()


class Trader:
    """An actor with an env of its own, on the market it was sent."""

    def __init__(self, market: cryptoenv.Market) -> None:
        self.market = market
        self.env = gym.make("CryptoTrade-v0", market=market)

    def trajectory(self, seed: int, steps: int) -> list[tuple[Any, ...]]:
        return worker.trajectory(self.env, seed, steps)

    def touch(self) -> float:
        """Read every page of the market."""
        return float(sum(array.sum() for array in (self.market.prices, self.market.align, *self.market.features)))

    def mapped(self) -> dict[str, int]:
        """Bytes of this process's mappings of the market's files: resident, proportional and private ones."""
        return mapped_bytes(str(self.market.folder))


def mapped_bytes(folder: str) -> dict[str, int]:
    """Sums over `/proc/self/smaps` of the mappings of files in `folder`."""
    sums = {"Rss": 0, "Pss": 0, "Private_Dirty": 0}
    inside = False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        name, _, rest = line.partition(":")
        if "-" in name:
            inside = folder in line
        elif inside and name in sums:
            sums[name] += int(rest.split()[0]) * 1024
    return sums


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's smaps")
def test_ray_workers_share_a_saved_market(local_ray: Any, tmp_path: Path) -> None:
    worker.built(200).save(tmp_path)
    market = cryptoenv.Market.load(tmp_path)
    size = sum(array.nbytes for array in (market.prices, market.align, *market.features))
    actors = [local_ray.remote(Trader).remote(market) for _ in range(2)]
    here = worker.trajectory(gym.make("CryptoTrade-v0", market=market), 5, 80)
    assert local_ray.get([actor.trajectory.remote(5, 80) for actor in actors]) == [here, here]
    local_ray.get([actor.touch.remote() for actor in actors])
    for mapped in local_ray.get([actor.mapped.remote() for actor in actors]):
        assert mapped["Rss"] >= size, "the worker does not read the market's files: it has a copy"
        assert mapped["Pss"] < 0.6 * mapped["Rss"], "the pages are not shared"
        assert mapped["Private_Dirty"] < 0.05 * size
