"""Every snippet and every command of README.md and docs/ works, or is known to be shortened: the table below says how.

A page is walked from top to bottom in a folder of its own, its Python blocks in one namespace: what a block or command
leaves is there for the next. Words between backticks that look like a command have to name commands and options.
"""

from __future__ import annotations

import argparse
import configparser
import doctest
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import typer
from pip._internal.commands import create_command

import synthetic
from agents.algorithms.threads import one_thread
from agents.command_line import app, main
from agents.training.recipe import AgentRecipe
from pretrain.loading import read_recipe
from tests.asgi import ask

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PARSED = "only its options are read"
#: Command -> what is run in its place. A command that is not here is run as it stands.
REDUCED = {
    "cryptoenv serve default": PARSED,  # tests/agents/live/serving/
    "cryptoenv serve runs/my-segmenter runs/ppo --port 8000": PARSED,
    "cryptoenv serve runs/my-segmenter --replay my_bars.csv.gz --speed 1000": PARSED,
    "cryptoenv serve runs/my-segmenter --bars data/binance/BTC-USDT/15m": PARSED,
    "cryptoenv serve runs/my-segmenter --exchange binance --symbol BTC/USDT": PARSED,
    "cryptoenv walk-forward ppo --bars my_bars.csv.gz --folds 6 --seeds 3 --out runs/walk":
        PARSED,  # tests/agents/training/test_walk_forward.py
    'cryptoenv backtest --rule "cross fast=8,16,32 slow=64,128 band=0,0.2" --bars my_bars.csv.gz --out runs/grid':
        PARSED,
    'cryptoenv backtest --rule "cross fast=16 slow=64 band=0.1" --bars my_bars.csv.gz --out runs/cross':
        PARSED,  # tests/agents/commands/test_backtest_command.py
    "cryptoenv backtest runs/segmenter --states 4h --short --task standard --out runs/states": PARSED,
    "cryptoenv check-leakage --bars my_bars.csv.gz": PARSED,  # tests/agents/commands/test_check_leakage.py
    "cryptoenv check-leakage runs/ppo --bars my_bars.csv.gz": PARSED,
    "cryptoenv warm": PARSED,  # tests/cryptoenv/env/test_warming.py
    "cryptoenv bench run --agent my_agent:trend --task easy --markets 3 --days 10 --out runs/trend.json":
        PARSED,  # tests/agents/evaluation/protocol/test_protocol.py
    "cryptoenv bench verify runs/trend.json": PARSED,
    "cryptoenv bench table benchmarks/leaderboard": PARSED,
    "cryptoenv export-dataset oracle random --task easy --episodes 4 --episode-bars 200 --noise 0.1 "
    "--out offline/mixed-v0":
        "cryptoenv export-dataset oracle random --task easy --episodes 2 --episode-bars 40 --noise 0.1 --markets 1 "
        "--days 3 --window 4,2,1 --out offline/mixed-v0",
    "cryptoenv export-dataset runs/ppo --out offline/ppo-v0": PARSED,  # tests/agents/evaluation/test_recording.py
    "cryptoenv export-dataset mixed --observation flat --format parquet --out offline/mixed": PARSED,
    "cryptoenv report runs/ppo": PARSED,  # tests/agents/reports/, tests/agents/commands/test_train_commands.py
    "cryptoenv report runs/cross --open": PARSED,
    "cryptoenv report runs/walk --format markdown --out walk.md": PARSED,
    "cryptoenv report runs/ppo runs/dqn --out both.html": PARSED,
    'cryptoenv backtest --task standard --rule "cross fast=16 slow=96 band=0.2" --stop-loss 0.05 --out runs/sample':
        PARSED,
    "cryptoenv report runs/sample": PARSED,
    "cryptoenv demo": PARSED,  # tests/agents/commands/test_demo.py runs it
    "cryptoenv demo --bars my_bars.csv.gz --out runs/mine": PARSED,
    "cryptoenv train --algo ppo --task standard --out runs/ppo": PARSED,  # test_train_commands.py
    "cryptoenv train --algo fitted_q --bars my_bars.csv.gz --out runs/mine": PARSED,
    "cryptoenv train --algo dqn --seeds 5 --out runs/dqn": PARSED,
    "cryptoenv train --resume runs/ppo": PARSED,
    "cryptoenv evaluate runs/ppo": PARSED,
    "cryptoenv evaluate runs/ppo --bars my_bars.csv.gz": PARSED,
    "cryptoenv signal runs/ppo --bars my_bars.csv.gz": PARSED,
    "cryptoenv trade --signals my_signals.csv --timeframe 15m --paper --replay replayed.csv --state runs/paper":
        "cryptoenv trade --signals my_signals.csv --timeframe 15m --paper --replay replayed.csv --state runs/paper "
        "--times 100",
    "cryptoenv trade runs/ppo --paper --replay my_bars.csv.gz --speed 1000 --state runs/ppo-paper": PARSED,
    "cryptoenv trade runs/ppo --paper --exchange binance --symbol BTC/USDT:USDT --state runs/live-paper": PARSED,
    "cryptoenv trade runs/ppo --live --exchange binance --symbol BTC/USDT:USDT --gradual --state runs/live": PARSED,
    "cryptoenv trade --signals my_signals.csv --timeframe 15m --paper --replay replayed.csv --speed 2000 --dashboard "
    "--state runs/watched": PARSED,  # tests/agents/live/test_dashboard.py
    "cryptoenv trade runs/ppo --live --exchange binance --symbol BTC/USDT:USDT --gradual --dashboard 8800 "
    "--state runs/live": PARSED,
    "cryptoenv trade reconcile runs/live": "cryptoenv trade reconcile runs/paper",  # tests/agents/live/test_venues.py
    "cryptoenv models add models runs/ppo --why \"the first\"": PARSED,  # tests/agents/run_folders/test_versions.py
    "cryptoenv models promote models 0001": PARSED,
    "cryptoenv models list models": PARSED,
    "cryptoenv models show models 0002": PARSED,
    "cryptoenv trade models --paper --replay my_bars.csv.gz --state runs/model-paper": PARSED,
    "cryptoenv retrain models": PARSED,  # tests/agents/training/test_retraining.py
    "cryptoenv retrain models --every 7d --on-drift runs/model-paper": PARSED,
    "cryptoenv retrain models --every 7d --on-drift runs/model-paper --loop": PARSED,
    "cryptoenv play runs/ppo --task standard --render ansi": PARSED,  # tests/agents/reports/test_playing.py
    "cryptoenv tune --agent --recipe sac --trials 20 --workers 2 --out runs/tune": PARSED,
    "cryptoenv tune --recipe default --seconds 60 --trials 20": PARSED,
    "cryptoenv export runs/ppo agent.zip": PARSED,  # tests/agents/commands/test_sb3_commands.py
    "cryptoenv import agent.zip --trust --out runs/imported": PARSED,
    "cryptoenv pretrain --recipe default --out runs/pretrain": PARSED,  # tests/pretrain/extractor/test_recipe.py
    "cryptoenv pretrain --recipe default --out runs/pretrain --resume": PARSED,
    "cryptoenv pretrain --recipe bars --out runs/bars": PARSED,  # tests/pretrain/extractor/test_rewards_commands.py
    "cryptoenv pretrain --recipe oracle --out runs/oracle": PARSED,  # tests/pretrain/data/test_oracle_tables.py
    "cryptoenv pretrain --recipe bars --bars my_bars.csv.gz --out runs/bars_mine": PARSED,
    "cryptoenv pretrain --recipe default --out runs/extractor": PARSED,
    "cryptoenv pretrain --bars my_bars.csv.gz --split time --from default --out runs/finetuned": PARSED,
    "cryptoenv pretrain --bars my_bars.csv.gz --labels labels.csv --out runs/own": PARSED,
    "cryptoenv pretrain --bars my_bars.csv.gz --timeframes 1m,15m --out runs/minutes": PARSED,  # test_market_inputs.py
    "cryptoenv pretrain --bars my_bars.csv.gz --features features.yaml --reference btc.csv.gz --exogenous greed.csv@1d "
    "--out runs/greedy": PARSED,
    "cryptoenv pretrain --recipe forecaster --out runs/forecaster": PARSED,  # test_forecaster_commands.py
    "cryptoenv pretrain --recipe hybrid --bars my_bars.csv.gz --out runs/hybrid": PARSED,
    "cryptoenv predict runs/forecaster --bars my_bars.csv.gz --steps 96 --out runs/forecast": PARSED,
    "cryptoenv predict runs/hybrid --bars my_bars.csv.gz --track --out runs/tracked": PARSED,
    "cryptoenv evaluate runs/hybrid --bars my_bars.csv.gz --split test --out runs/scores.csv": PARSED,
    "cryptoenv export runs/forecaster forecaster.onnx": PARSED,
    # tests/agents/commands/test_segmenter_commands.py
    "cryptoenv pretrain --recipe segmenter --out runs/segmenter": PARSED,
    "cryptoenv pretrain --recipe segmenter --bars my_bars.csv.gz --split time --out runs/my-segmenter": PARSED,
    "cryptoenv pretrain --recipe segmenter --bars my_bars.csv.gz --labels labels.csv --out runs/my-classes": PARSED,
    "cryptoenv predict runs/segmenter --bars my_bars.csv.gz --out predictions": PARSED,
    "cryptoenv evaluate runs/segmenter --task standard --split validation": PARSED,
    "cryptoenv evaluate runs/my-segmenter --bars my_bars.csv.gz": PARSED,
    "cryptoenv data download --exchange binance --symbol BTC/USDT --symbol ETH/USDT --timeframe 1m --since 2020-01-01":
        PARSED,  # tests/cryptoenv/exchange/
    "cryptoenv data download --exchange binance --symbol BTC/USDT:USDT --since 2020-01-01 --timeframe funding": PARSED,
    "cryptoenv data download --exchange binance --symbol BTC/USDT --timeframe 15m --since 2023-01-01": PARSED,
    "cryptoenv tokens --out runs/tokens": PARSED,  # tests/agents/commands/test_tokens_command.py
    "cryptoenv tokens --test-mode --out runs/tokens": PARSED,
    "cryptoenv tokens --recipe tokens_trained --out runs/pumps": PARSED,
    "cryptoenv tokens tune --trials 50 --out runs/tune-tokens": PARSED,
    "cryptoenv synth --kind regime --task standard --seed 0 --out regimes":
        "cryptoenv synth --kind regime --task standard --seed 0 --out regimes --days 2",
    "cryptoenv synth --kind pattern-market --seed 0 --out pattern-market":
        "cryptoenv synth --kind pattern-market --seed 0 --out pattern-market --days 2",
    "cryptoenv synth --kind pattern --seed 0 --out patterns --picture":
        "cryptoenv synth --kind pattern --seed 0 --out patterns --picture --pattern double_top",
}  # fmt: skip
#: Text of a Python block -> what stands in its place.
SHORTER = {
    'with Client("http://127.0.0.1:8000", key=None) as client:':
        "from tests.served_default import default_client\nwith default_client() as client:",
    "training=replace(recipe.training, steps=200, validate_every=100)":
        "training=replace(recipe.training, steps=2, validate_every=2, batch=2)",
    "num_envs=1024": "num_envs=8",
    "n_steps=128).learn(2_048)": "n_steps=8).learn(64)",
    '"market": "easy"}': '"market": "easy", "markets": 2}',
    'run = agents.train("ppo", market="standard", extractor=extractor, seed=0, out="runs/ppo-0")':
        "assert callable(agents.train)",
    'table = agents.evaluate(run, market="standard", split="validation")\nprint(table[["score", "realised_score"]])':
        "assert callable(agents.evaluate)",
    "embeddings = extractor.embed(market)": "assert callable(extractor.embed)",
    'model = PPO("MultiInputPolicy"': 'assert (256, 16, 8) == extractor.config.window; model = PPO("MultiInputPolicy"',
    "markets=4, days=20)\nprint": "markets=2, days=5)\nprint",
    "markets=4)    # always long": "markets=2, days=5)",
}  # fmt: skip
LOCAL = "http://127.0.0.1:8000"  #: where pages take a service to listen
NOT_OURS = ("git clone", "cd ")  #: begin what a reader types and no test runs

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`((?:\.venv/bin/)?(?:cryptoenv|python -m|python|make|pip) [^`]+)`(?!`)")


class Step(NamedTuple):
    """One thing that a page says one can do."""

    kind: str  #: "python", "yaml", "bash" (a line of a block) or "words" (between backticks)
    text: str
    line: int


def steps(text: str) -> list[Step]:
    """The steps of a page in their order."""
    found = []
    for block in _FENCE.finditer(text):
        if block[1] == "python" and not block[2].startswith(">>>"):  # doctest runs those
            found.append(Step("python", block[2], text[: block.start()].count("\n") + 1))
        if block[1] == "yaml":
            found.append(Step("yaml", block[2], text[: block.start()].count("\n") + 1))
        if block[1] == "bash":
            first = text[: block.start(2)].count("\n") + 1
            found += [Step("bash", line, first + i) for i, line in enumerate(block[2].splitlines())
                      if line.strip() and not line.startswith("#")]  # fmt: skip
    prose = _FENCE.sub(lambda m: "\n" * m[0].count("\n"), text)
    found += [Step("words", " ".join(m[1].split()), prose[: m.start()].count("\n") + 1) for m in _SPAN.finditer(prose)]
    return sorted(found, key=lambda step: step.line)


def sample_files(folder: Path) -> None:
    """What the pages take to be there: bars, funding rates, and a run's folder and zip for commands that are parsed."""
    bars = synthetic.regime_market("easy", days=64, seed=5).bars
    bars.index = pd.date_range("2020-01-01", periods=len(bars), freq="15min", tz="UTC", name="timestamp")
    bars.to_csv(folder / "my_bars.csv.gz")
    due = pd.date_range(bars.index[0].floor("8h"), bars.index[-1], freq="8h", name="timestamp")
    pd.Series(1e-4, due, name="rate").to_csv(folder / "my_funding.csv")
    for run in ("ppo", "segmenter", "my-segmenter", "forecaster", "hybrid", "live"):
        (folder / "runs" / run).mkdir(parents=True)
    (folder / "agent.zip").touch()
    (folder / "labels.csv").touch()


def failures(text: str) -> Iterator[str]:
    """What of a page does not work, with its line."""
    names: dict[str, Any] = {"__name__": "page"}
    for step in steps(text):
        try:
            if step.kind == "python":
                exec(compile(shorter(step.text), f"line {step.line}", "exec"), names)
            elif step.kind == "yaml":  # a recipe of an agent, or of a model that it names
                Path("recipe.yaml").write_text(step.text, "utf-8")
                read = read_recipe if step.text.startswith("model:") else AgentRecipe.read
                read("recipe.yaml")
            elif step.kind == "bash":
                for command in step.text.partition("  #")[0].split("&&"):
                    run_command(command.strip())
            else:
                read_command(step.text, whole=False)
        except (Exception, SystemExit) as error:
            yield f"line {step.line}: {step.text.strip().splitlines()[0]}: {type(error).__name__}: {error}"


def shorter(code: str) -> str:
    for text, instead in SHORTER.items():
        code = code.replace(text, instead)
    return code


def run_command(command: str) -> None:
    """Run a line of a block, or what the table has in its place."""
    command = command.removeprefix(".venv/bin/")
    if command.startswith(NOT_OURS):
        return
    read_command(command, whole=True)
    if command.startswith("curl "):
        run_curl(shlex.split(command)[1:])
        return
    instead = REDUCED.get(command, command)
    if command.startswith("cryptoenv ") and instead != PARSED:
        assert main(shlex.split(instead)[1:]) == 0, "the command failed"


def run_curl(words: list[str]) -> None:
    """Ask the service in this process what a line asks with curl."""
    from tests.served_default import default_service

    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("-d", "--data", default="")
    parser.add_argument("-H", "--header", action="append", default=[])
    given = parser.parse_args(words)
    data = Path(given.data[1:]).read_bytes() if given.data.startswith("@") else given.data.encode()
    headers = [tuple(one.split(": ", 1)) for one in given.header]
    reply = ask(default_service(), "POST" if data else "GET", given.url.removeprefix(LOCAL), body=data, headers=headers)
    assert reply.status == 200, f"{reply.status}: {reply.body[:300]!r}"


def read_command(command: str, *, whole: bool) -> None:
    """Check the names and options of a command; `whole`: and that it has all it needs, with values that are allowed."""
    words = shlex.split(command.removeprefix(".venv/bin/"))
    while "=" in words[0]:
        words = words[1:]
    if words[0] == "cryptoenv":
        read_own(words[1:], whole)
    elif words[:2] == ["python", "-m"]:
        read_module(words[2], words[3:], whole)
    elif words[0] == "python":
        assert (ROOT / words[1]).is_file(), f"no file {words[1]}"
    elif words[0] == "curl":
        assert any(word.startswith(LOCAL) for word in words[1:]), "curl asks another place than a service here"
    elif words[0] == "make":
        done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    elif words[:2] == ["pip", "install"]:
        read_pip(words[2:])
    else:
        raise AssertionError("no test knows how to run this")


def read_own(words: list[str], whole: bool) -> None:
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands") and words:
        if hasattr(command, "default") and words[0] not in (*command.commands, "--help"):
            words = [command.default, *words]
        if words[0].startswith("-"):
            break
        assert words[0] in command.commands, f"no command {words[0]!r}"
        command, words = command.commands[words[0]], words[1:]
    shown = {name for option in command.params if not getattr(option, "hidden", False)
             for name in (*option.opts, *option.secondary_opts)}  # fmt: skip
    unknown = {word for word in words if word.startswith("--")} - shown - {"--help"}
    assert not unknown, f"no option {sorted(unknown)}"
    if whole:
        command.make_context("cryptoenv", list(words))


class Parsed(Exception):
    """The options were read."""


def read_module(name: str, words: list[str], whole: bool) -> None:
    if name == "pytest":
        return
    assert (ROOT / Path(*name.split("."))).with_suffix(".py").is_file(), f"no module {name}"
    if not words or (not whole and any(word.isupper() for word in words)):
        return  # a placeholder stands for a value
    read = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser, *given: Any, **options: Any) -> None:
        read(parser, *given, **options)
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        patch.setattr(sys, "argv", [name, *words])
        with pytest.raises(Parsed):
            import_module(name).main()


def read_pip(words: list[str]) -> None:
    """The options are pip's, files are there, extras are setup.cfg's, pins those of constraints.txt."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    options, names = create_command("install").parse_args(words)
    for file in (*options.constraints, *options.requirements):
        assert (ROOT / file).is_file(), f"no file {file}"
    for name in (*names, *options.editables):
        place, extras, _ = (name + "[]").replace("]", "[").split("[", 2)
        missing = {extra for extra in extras.split(",") if extra} - set(config["options.extras_require"])
        assert not missing, f"no extra {sorted(missing)}"
        pinned = "==" in place and place in (ROOT / "constraints.txt").read_text("utf-8").split()
        assert place in (".", config["metadata"]["name"]) or pinned, f"{place} is not what is to be installed"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    text = page.read_text("utf-8")
    if steps(text):
        sample_files(tmp_path)
    with one_thread():  # torch's threads wait for each other beside busy neighbours
        found = list(failures(text))
    assert not found, "\n".join(found)


def test_every_line_of_the_tables_is_needed() -> None:
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    lines = {part.strip().removeprefix(".venv/bin/") for step in steps(text) if step.kind == "bash"
             for part in step.text.partition("  #")[0].split("&&")}  # fmt: skip
    assert not set(REDUCED) - lines - {"cryptoenv demo"}
    assert not [old for old in SHORTER if old not in text]


@pytest.mark.parametrize(
    "planted",
    [
        "```python\nimport cryptoenv\ncryptoenv.read_bar('my_bars.csv.gz')\n```",
        "```python\nimport cryptoenv\ncryptoenv.Costs(fees=0.1)\n```",
        "```bash\ncryptoenv data list --stores data\n```",
        "```bash\ncryptoenv data clean nothing.csv --out new.csv\n```",
        "```bash\ncryptoenv trian --algo ppo\n```",
        "```bash\ncryptoenv train --steps many\n```",
        "```bash\ncryptoenv data export --exchange binance\n```",
        "```yaml\nalgorithm: dqn\nlearning: {step: 1}\n```",
        "```bash\nmake demos\n```",
        "```bash\npython -m benchmarks.env_sped\n```",
        "```bash\npython -m benchmarks.learning --fast\n```",
        '```bash\npip install -e ".[agent]"\n```',
        "```bash\npip install " + "cryptoenv\n```",
        "```bash\npip install --no-dep .\n```",
        "```bash\nconda install .\n```",
        "Then `cryptoenv data mend` it.",
        "Then `cryptoenv train --algorithm ppo`.",
        "See `make documentation`.",
        "See `python -m benchmarks.nothing`.",
    ],
)
def test_a_planted_mistake_is_found(planted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert list(failures(planted))


def test_the_worked_example_computes_what_it_says() -> None:
    result = doctest.testfile(str(ROOT / "docs" / "worked_example.md"), module_relative=False)
    assert result.attempted > 20
    assert result.failed == 0


def test_links_and_pictures_of_the_readme_are_there() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    inside = [target for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target]
    assert len(inside) > 10
    assert not [target for target in inside if not os.path.exists(ROOT / target.partition("#")[0])]
    assert len(text.splitlines()) < 150
