"""What `import cryptoenv` brings along, and that a second process compiles nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "torch", "lightning", "stable_baselines3", "sb3_contrib", "imitation", "sklearn", "scipy", "matplotlib", "ccxt",
    "PIL", "pygame", "requests", "aiohttp", "IPython", "typer", "rich", "tensorboard",
)  # fmt: skip

IMPORT = """
import json, sys
before = set(sys.modules)
if sys.argv[1] == "dependencies":
    import gymnasium.vector, numba, numpy, pandas, talib
else:
    import cryptoenv
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""

# Every path through the jitted code; numba's own events tell of compiling, whatever the function's cache setting.
USE = """
import json
import numba.core.event as event
compiled = event.RecordingListener()
event.register("numba:compile", compiled)
import cryptoenv
at_import = len(compiled.buffer)
import gymnasium as gym, numpy as np, sys
from cryptoenv import RiskLimits
from numba.core.dispatcher import Dispatcher
jitted = {id(f): f for name, module in sys.modules.items() if name.startswith("cryptoenv")
          for f in vars(module).values() if isinstance(f, Dispatcher)}
loaded_at_import = sum(sum(f.stats.cache_hits.values()) for f in jitted.values())
sys.path.insert(0, sys.argv[1])
from tests.naive.random_bars import random_bars
market = cryptoenv.Market.from_bars(random_bars(70))
for more in ({}, {"observation": "index"}, {"actions": "continuous"}, {"limits": RiskLimits(drawdown_stop=0.1)},
             {"market": market.save(sys.argv[2])}):
    given = {"market": market, **more}
    env = gym.make("CryptoTrade-v0", **given)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    for num_envs in (2, 2048):
        envs = gym.make_vec("CryptoTrade-v0", num_envs, **given)
        envs.reset(seed=0)
        envs.step(envs.action_space.sample())
cryptoenv.performance(np.array([1.0, 1.1, 1.05]), 365.0)
events = [e[-1] if isinstance(e, tuple) else e for e in compiled.buffer]  # nested compilations come timed
names = [str(e.data["dispatcher"].py_func.__qualname__) for e in events if e.is_start]
print(json.dumps({"import": at_import, "jitted": len(jitted), "loaded": loaded_at_import, "all": names}))
"""


def run(code: str, *arguments: str) -> Any:
    """What the code prints, as JSON, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_import_brings_nothing_but_its_dependencies() -> None:
    brought, dependencies = set(run(IMPORT, "cryptoenv")), set(run(IMPORT, "dependencies"))
    assert brought & set(HEAVY) <= dependencies & {"scipy"}  # numba looks at its version where it is installed
    third_party = {name for name in brought - dependencies - set(sys.stdlib_module_names) if not name.startswith("_")}
    assert third_party <= {"cryptoenv", "synthetic"}, f"import cryptoenv brings {sorted(third_party)}"


@pytest.fixture(scope="module")
def second_process(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a process compiles after another one did the same."""
    folder = str(tmp_path_factory.mktemp("market"))
    run(USE, str(ROOT), folder)
    return run(USE, str(ROOT), folder)


def test_a_second_process_compiles_nothing(second_process: Any) -> None:
    assert second_process["all"] == []


def test_import_compiles_and_loads_no_jitted_code(second_process: Any) -> None:
    assert second_process["jitted"] > 10
    assert second_process["import"] == 0
    assert second_process["loaded"] == 0


def test_compiling_would_be_noticed() -> None:
    planted = USE.replace("import cryptoenv\n", "import cryptoenv\nimport numba\nnumba.njit(lambda x: x + 1)(1)\n", 1)
    code = planted.partition("import gymnasium")[0] + "print(json.dumps(at_import))"
    assert run(code) > 0
