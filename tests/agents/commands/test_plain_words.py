"""Commands say in one plain line what happened: errors, hints, names in tables, what a training gained."""

from __future__ import annotations

import configparser
import errno
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from agents.command_line import main
from agents.commands.error_words import error_in_words, hint_that_fits
from agents.commands.missing_extra import EXTRA_OF, OF_LEARNING, extra_is_missing
from agents.evaluation.tables import charged_in_words
from agents.markets.expert_market import split_bars
from agents.policies.agent import Agent
from agents.policies.heads import new_policy
from agents.policies.policy_shape import PolicyShape
from agents.run_folders.run_folder import Run
from agents.run_folders.run_origin import agent_name, own_market, trained_in_words
from agents.settings import TradingSettings
from agents.training.recipe import AgentRecipe
from cryptoenv.trading.config import Costs
from pretrain import ConfigError, Extractor, Recipe
from synthetic import regime_market

ROOT = Path(__file__).parents[3]


@pytest.fixture
def run(extractor: Extractor, tmp_path: Path) -> Path:
    """The folder of a run on the easy task whose learning gained nothing."""
    settings = TradingSettings()
    shape = PolicyShape(extractor.width, len(settings.positions))
    clone = Agent(extractor, new_policy(shape, 0), shape, settings)
    learned = Agent(extractor, new_policy(shape, 0), shape, settings, algorithm="ppo")
    made = Run(tmp_path / "run", learned, clone)
    made.save({"algorithm": "ppo", "market": "easy", "seed": 0}, {"kept_step": 0, "kl_to_clone": 0.0})
    return made.folder


def failed(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that fails as users may expect it."""
    capfd.readouterr()
    assert main(arguments) == 2
    error = capfd.readouterr().err
    assert "Traceback" not in error
    assert "\r" not in error
    lines = [line for line in error.splitlines() if line.startswith("cryptoenv: ")]
    assert lines[-1:] == error.splitlines()[-1:]
    return lines[-1]


def test_evaluate_judges_on_the_runs_own_task_and_names_rows_as_the_demo_does(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    small = ["--split", "validation", "--markets", "2", "--days", "12"]
    assert main(["evaluate", str(run), *small, "--out", str(tmp_path / "own.csv")]) == 0
    said = capfd.readouterr()
    assert "task 'easy', what it was trained on" in said.out
    assert "the clone's weights were kept" in said.out
    assert "Charged: fee 0.1%, half-spread 0.01%. Not charged: market impact, funding." in said.out
    assert "\r" not in said.out + said.err
    assert "evaluating: 7 of 7" in said.err
    own = pd.read_csv(tmp_path / "own.csv", index_col=0)
    assert {"BC clone", "BC -> PPO (= clone)"} <= set(own.index)
    assert main(["evaluate", str(run), "--task", "easy", *small, "--out", str(tmp_path / "easy.csv")]) == 0
    pd.testing.assert_frame_equal(own, pd.read_csv(tmp_path / "easy.csv", index_col=0))
    assert "what it was trained on" not in capfd.readouterr().out


def test_a_run_trained_on_bars_is_judged_on_bars(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bars = tmp_path / "bars.csv"
    for key, value in (("market", str(bars)), ("bars", str(bars))):  # of `train`, of the demo
        (run / "config.json").write_text(f'{{"{key}": "{value}"}}', encoding="utf-8")
        bars.unlink(missing_ok=True)
        assert f"trained on bars ({bars}), which are not there" in failed(["evaluate", str(run)], capfd)
        regime_market("easy", days=40, seed=3).bars.reset_index().to_csv(bars, index=False)
        assert own_market(Run.load(run)) == bars
        assert main(["evaluate", str(run)]) == 0
        said = capfd.readouterr().out
        assert "bars.csv, the validation part in time, what it was trained on" in said
        assert "market impact. Not charged: funding." in said
    assert "one of them at a time" in failed(["evaluate", str(run), "--bars", str(bars), "--task", "easy"], capfd)


def test_what_cannot_be_shown_or_written_is_one_line(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    play = ["play", str(run), "--task", "easy", "--steps", "2"]
    line = failed([*play, "--render", "human"], capfd)
    assert "display" in line and "ansi" in line
    for place in ("/proc/a.zip", "/dev/null/a.zip"):
        assert place.rpartition("/")[0] in failed(["export", str(run), place], capfd)
    assert "is a directory" in failed(["play", str(run), "--bars", str(tmp_path)], capfd)
    assert "is no file of bars and no task" in failed(["play", str(run), "--bars", str(tmp_path / "x.csv")], capfd)
    assert "is a directory" in failed(["train", "--bars", str(tmp_path), "--out", str(tmp_path / "new")], capfd)
    assert "is a directory" in failed(["train", "--recipe", str(tmp_path), "--out", str(tmp_path / "new")], capfd)
    assert "is a directory" in failed(["pretrain", "--recipe", str(tmp_path), "--out", str(tmp_path / "n")], capfd)

    def breaks(*_: object, **__: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr("agents.reports.playing.play_run", breaks)
    assert "KeyError: 'lost' (set CRYPTOENV_TRACEBACK=1" in failed(play, capfd)
    monkeypatch.setenv("CRYPTOENV_TRACEBACK", "1")
    with pytest.raises(KeyError):
        main(play)


def test_errors_in_words() -> None:
    class TclError(Exception):
        pass

    words = error_in_words(TclError("no display name and no $DISPLAY environment variable"), ["play"])
    assert "--render ansi" in words
    assert error_in_words(RuntimeError("the window closed"), ["play"]) == "the window closed"
    assert error_in_words(RuntimeError(), ["play"]) == "RuntimeError"
    assert error_in_words(IsADirectoryError(errno.EISDIR, "Is a directory", "/x"), ["play"]) == "/x: is a directory"


@pytest.mark.parametrize("command", ["demo", "train", "evaluate", "features inspect", "data clean"])
def test_hints_are_what_the_command_takes(command: str) -> None:
    message = 'say so with time_zone="UTC", or name the columns with columns=("timestamp", "open")'
    told = hint_that_fits(message, [*command.split(), "--bars", "x.csv"])
    assert "--time-zone UTC" in told
    assert "--columns timestamp,open" in told
    assert "=" not in told
    assert ("cryptoenv data clean FILE" in told) is (command != "data clean")


def test_naive_times_at_every_door(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bars = tmp_path / "bars.csv"
    found = regime_market("easy", days=1, seed=3).bars
    found.set_axis(found.index.tz_localize(None)).rename_axis("timestamp").to_csv(bars)
    new = str(tmp_path / "new")
    doors = (["demo", "--bars"], ["features", "inspect", "--bars"], ["pretrain", "--bars"], ["train", "--bars"])
    for door in doors:
        line = failed([*door, str(bars), "--out", new], capfd)
        assert "cryptoenv data clean" in line and "--time-zone" in line
        assert "time_zone=" not in line
    clean = str(tmp_path / "clean.parquet")
    line = failed(["data", "clean", str(bars), "--out", clean], capfd)
    assert "--time-zone UTC" in line
    assert main(["data", "clean", str(bars), "--out", clean, "--time-zone", "UTC"]) == 0


def brought(extra: str) -> str:
    """What setup.cfg says that an extra installs."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return " ".join(config["options.extras_require"][name.strip()] for name in extra.split(",")).lower()


@pytest.mark.parametrize("module", sorted({*EXTRA_OF, *OF_LEARNING, "typer", "rich", "tqdm"}))
def test_every_hint_names_an_extra_that_brings_the_module(module: str) -> None:
    distribution = {"sklearn": "scikit-learn", "scipy": "scikit-learn", "PIL": "matplotlib"}
    distribution |= dict.fromkeys(("sqlalchemy", "alembic", "flask"), "mlflow>")
    for command in ("data", "features", "train", "tune", "pretrain"):
        told = extra_is_missing(ModuleNotFoundError("no", name=f"{module}.inner"), command)
        (extra,) = re.findall(r"\.\[(.*)\]", told)
        assert distribution.get(module, module).replace("_", "-").lower() in brought(extra)
        if module in ("torch", "lightning"):
            assert extra == "agents"  # the command needs typer as well


@pytest.mark.parametrize(
    ("module", "extra", "arguments"),
    [
        ("sklearn", "report", ["features", "inspect", "--days", "10", "--out"]),
        ("optuna", "tuning", ["tune", "--out"]),
        ("ccxt", "data", ["data", "download", "--exchange", "binance", "--symbol", "BTC/USDT", "--since", "2024-01-01",
                          "--store"]),
    ],
)  # fmt: skip
def test_a_hidden_library_is_asked_for_by_its_extra(
    module: str, extra: str, arguments: list[str], tmp_path: Path
) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None;"
        f"from agents.command_line import main; sys.exit(main({[*arguments, str(tmp_path / 'new')]!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2, done.stderr
    assert f".[{extra}]" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_an_empty_recipe_and_a_wrong_key_are_said(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    for text in ("", "# nothing\n", "{}\n"):
        path.write_text(text, encoding="utf-8")
        for reader in (AgentRecipe.read, Recipe.read):
            with pytest.raises(ConfigError, match=r"is empty|says nothing"):
                reader(path)
    path.write_text("agorithm: ppo\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"'cloning'.*'learning'"):
        AgentRecipe.read(path)
    path.write_text("training: {dayz: 3}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        AgentRecipe.read(path)
    assert "'days'" in str(refused.value)
    assert not any(f"'{name}'" in str(refused.value) for name in ("cloning", "dagger", "learning", "settings"))


def test_trainings_in_words() -> None:
    assert agent_name("ppo") == "BC -> PPO" and agent_name("bc") == "BC clone"
    nothing = trained_in_words("dqn", 0.5, {"kept_step": 0, "kl_to_clone": 0.0})
    assert nothing.startswith("BC -> DQN; the clone's weights were kept")
    assert "more than 0.5" in nothing
    gained = trained_in_words("fitted_q", 0.0, {"kept_step": 2_048, "changed_actions": 0.123, "kl_to_clone": 0.2})
    assert gained == (
        "BC -> fitted Q; weights of env step 2,048 kept; another position than the clone's in 12.3% of the states; "
        "no hysteresis"
    )
    spot = TradingSettings(instrument="spot", positions=(0.0, 1.0), costs=Costs(fee=0.0, impact=0.0))
    assert charged_in_words(spot, real=False) == "Charged: half-spread 0.01%. Not charged: fee, market impact."


@pytest.mark.parametrize(("timeframe", "minutes"), [("5m", 5), ("15m", 15), ("1h", 60), ("4h", 240)])
def test_thirty_days_of_every_timeframe_or_as_many_bars_as_of_15m(timeframe: str, minutes: int) -> None:
    settings = TradingSettings(timeframes=(timeframe,), window=(4,))
    bars = regime_market("easy", days=1, seed=3).bars
    needed = min(30 * 24 * 60 // minutes, 2_880)
    count = 195 + needed * 29 // 30  # after the warm-up
    index = pd.date_range("2024-01-01", periods=count, freq=f"{minutes}min", tz="UTC")
    few = bars.iloc[[row % len(bars) for row in range(count)]].set_axis(index)
    with pytest.raises(ValueError, match=rf"at least {needed} \(30 days"):
        split_bars(few, settings)
