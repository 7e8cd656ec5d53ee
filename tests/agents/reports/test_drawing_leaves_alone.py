"""Drawing changes nothing of the process: matplotlib's backend, figures and settings, threads of torch and numba."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

DRAWN = """
import json, sys
from pathlib import Path
import matplotlib
matplotlib.use("svg")  # a backend of the user's, which nobody would choose by chance
from matplotlib import pyplot
import numba, torch
import gymnasium as gym
import cryptoenv, synthetic
torch.set_num_threads(3); numba.set_num_threads(2)
pyplot.figure("the user's")

def state():
    return [matplotlib.get_backend(), pyplot.get_figlabels(), dict(matplotlib.rcParams) == before,
            torch.get_num_threads(), numba.get_num_threads(), torch.are_deterministic_algorithms_enabled()]

before = dict(matplotlib.rcParams)
out, found = Path(sys.argv[1]), {"before": state()}

env = gym.make("CryptoTrade-v0", market=synthetic.regime_market("easy", days=2, seed=0).bars, render_mode="rgb_array")
env.reset(seed=0); env.step(2)
assert env.render().shape == (600, 800, 3)
env.close()
found["env.render"] = state()

from agents.evaluation import baselines
from agents.evaluation.rollout import roll, whole_markets
from agents.markets.expert_market import markets_of, synthetic_markets
from agents.reports.picture import draw
from agents.settings import TradingSettings
from pretrain.data.splits import plot_splits, split_markets
settings = TradingSettings()
labelled = synthetic_markets("easy", "test", 1, 2, settings, progress=False)
rollouts = {name: roll(baselines.constant(labelled, settings, held), labelled, whole_markets(labelled), settings)
            for name, held in (("flat", 0.0), ("buy and hold", 1.0))}
draw(rollouts, labelled[0], 0, agent="flat", title="t", path=out / "picture.png")
found["report"] = state()

markets = markets_of(labelled)
plot_splits(markets, split_markets(markets, settings.window, look_ahead=8), out / "splits.png")
found["splits"] = state()

from pretrain.fitting.drawing import new_pyplot, save_figure
pictures = new_pyplot()
figure, axes = pictures.subplots(1, 2, figsize=(3.0, 2.0), layout="constrained", sharey=True)
axes[0].plot([0, 1])
save_figure(pictures, figure, out / "model.png")
found["models' pictures"] = state()

import optuna
from pretrain.fitting.study import draw_study
study = optuna.create_study()
study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=4)
draw_study(study, out)
found["study"] = state()
assert len(list(out.glob("*.png"))) == 5, list(out.iterdir())
matplotlib.use("Agg"); torch.set_num_threads(1)
found["planted"] = state()
print(json.dumps(found))
"""


def test_drawing_leaves_backend_figures_settings_and_threads_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DRAWN, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    before = found.pop("before")
    assert before == ["svg", ["the user's"], True, 3, 2, False]
    assert found.pop("planted") != before
    assert found == dict.fromkeys(("env.render", "report", "splits", "models' pictures", "study"), before)
