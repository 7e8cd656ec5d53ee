"""Every command with `--out` looks first, overwrites nothing and leaves nothing half-made."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import typer

from agents.command_line import main
from agents.policies.agent import Agent
from agents.policies.heads import new_policy
from agents.policies.policy_shape import PolicyShape
from agents.run_folders.new_outputs import (
    require_new_file,
    require_new_folder,
    told_when_interrupted,
    write_new_file,
    write_new_folder,
)
from agents.run_folders.run_folder import Run
from agents.run_folders.sb3_zip import export_zip, import_zip
from agents.settings import TradingSettings
from pretrain import Extractor


@pytest.fixture(scope="module")
def run(extractor: Extractor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of an agent that never learned."""
    settings = TradingSettings()
    shape = PolicyShape(extractor.width, len(settings.positions), (16, 16))
    agent = Agent(extractor, new_policy(shape, 0), shape, settings)
    folder = tmp_path_factory.mktemp("runs") / "run"
    Run(folder, agent, agent).save({"algorithm": "bc"}, {})
    return folder


def test_a_file_that_stands_is_refused_whatever_it_is(tmp_path: Path) -> None:
    (tmp_path / "file.csv").write_text("mine", encoding="utf-8")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "nowhere")
    for name in ("file.csv", "folder.csv", "link.csv"):
        with pytest.raises(FileExistsError, match=name):
            require_new_file(tmp_path / name)
        with pytest.raises(FileExistsError, match=name):
            write_new_file(tmp_path / name, lambda path: path.write_text("theirs", "utf-8"))
    assert (tmp_path / "file.csv").read_text("utf-8") == "mine"
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(NotADirectoryError, match=r"file\.csv is no folder"):
        require_new_file(tmp_path / "file.csv" / "deeper" / "x.csv")
    with pytest.raises(ValueError, match=r"ends in \.csv, \.gz"):
        require_new_file(tmp_path / "x.xlsx", ".csv", ".gz")


def test_a_folder_is_new_or_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    require_new_folder(tmp_path / "empty")
    require_new_folder(tmp_path / "new" / "deep")
    assert not (tmp_path / "new").exists()
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "mine").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for name in ("held", "file", "link"):
        with pytest.raises(FileExistsError, match=name):
            write_new_folder(tmp_path / name, lambda folder: (folder / "x").touch())
    with pytest.raises(NotADirectoryError, match="is no folder"):
        require_new_folder(tmp_path / "file" / "deep")


@pytest.mark.parametrize("write", [write_new_file, write_new_folder])
def test_what_fails_or_is_interrupted_leaves_nothing(write: Callable[..., None], tmp_path: Path) -> None:
    def half(path: Path) -> None:
        (path / "half" if path.is_dir() else path).write_text("half", encoding="utf-8")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out.bin", half)
    assert not list(tmp_path.iterdir())


def test_an_interrupt_says_what_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as stop, told_when_interrupted(lambda: "kept: all of it"):
        raise KeyboardInterrupt
    assert stop.value.exit_code == 130
    assert capsys.readouterr().err == "\ncryptoenv: interrupted; kept: all of it\n"


def test_commands_refuse_what_is_there_before_they_work(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.evaluation.tables.evaluate_runs", _never)
    monkeypatch.setattr("agents.run_folders.run_folder.load_runs", _never)
    monkeypatch.setattr("cryptoenv.analysis.features.inspect_features", _never)
    monkeypatch.setattr("synthetic.regimes.market", _never)
    monkeypatch.setattr("cryptoenv.store.store.BarStore", _never)
    kept = tmp_path / "kept.csv"
    kept.write_text("mine", encoding="utf-8")
    inside = tmp_path / "kept"
    inside.mkdir()
    (inside / "mine.txt").write_text("mine", encoding="utf-8")
    named = ["--exchange", "binance", "--symbol", "BTC/USDT", "--timeframe", "1h"]
    for arguments in (
        ["evaluate", str(run), "--out", str(kept)],
        ["data", "export", *named, "--out", str(kept)],
        ["features", "inspect", "--out", str(inside)],
        ["synth", "--kind", "regime", "--out", str(inside)],
        ["import", str(kept), "--trust", "--out", str(inside)],
    ):
        assert main(arguments) == 2, arguments
        assert "there already" in capsys.readouterr().err
    film = tmp_path / "film.gif"
    film.write_bytes(b"mine")
    assert main(["play", str(run), "--render", "rgb_array", "--steps", "2", "--out", str(film)]) == 2
    assert kept.read_text("utf-8") == "mine"
    assert film.read_bytes() == b"mine"
    assert [path.name for path in inside.iterdir()] == ["mine.txt"]


def _never(*_: object, **__: object) -> None:
    raise AssertionError("it worked before it looked")


def test_import_replaces_no_agent(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "deep" / "agent.zip"
    assert main(["export", str(run), str(file)]) == 0
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    arguments = ["import", str(file), "--extractor", str(run / "extractor"), "--trust", "--out"]
    assert main([*arguments, str(run)]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert main([*arguments, str(tmp_path / "imported")]) == 0
    assert Run.load(tmp_path / "imported").agent.algorithm == "ppo"
    assert main(["export", str(run), str(file)]) == 2
    assert main(["export", str(run), "/proc/a.zip"]) == 2
    assert "/proc/a.zip" in capsys.readouterr().err


def test_a_zip_without_ending_gets_one(run: Path, tmp_path: Path) -> None:
    assert export_zip(Run.load(run).agent, tmp_path / "agent") == tmp_path / "agent.zip"
    with pytest.raises(FileExistsError):
        export_zip(Run.load(run).agent, tmp_path / "agent")


def _rewritten(source: Path, to: Path, **changed: bytes | None) -> Path:
    """A zip with other content under some names (dots as underscores); None leaves the name out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(to, "w") as new:
        for name in old.namelist():
            content = changed.get(name.replace(".", "_"), old.read(name))
            if content is not None:
                new.writestr(name, content)
    return to


def test_damaged_models_are_one_clear_error(
    run: Path, extractor: Extractor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = export_zip(Run.load(run).agent, tmp_path / "whole.zip")
    weights = tmp_path / "weights.pth"
    torch.save([1, 2], weights)
    damaged = {
        "no policy": _rewritten(whole, tmp_path / "a.zip", policy_pth=None),
        "text": _rewritten(whole, tmp_path / "b.zip", policy_pth=b"nonsense"),
        "empty": _rewritten(whole, tmp_path / "c.zip", policy_pth=b""),
        "a list": _rewritten(whole, tmp_path / "d.zip", policy_pth=weights.read_bytes()),
        "cut": _rewritten(whole, tmp_path / "e.zip", policy_pth=zipfile.ZipFile(whole).read("policy.pth")[:200]),
        "data": _rewritten(whole, tmp_path / "f.zip", data=b"{"),
        "data of a list": _rewritten(whole, tmp_path / "g.zip", data=b"[]"),
        "no zip": tmp_path / "h.zip",
    }
    damaged["no zip"].write_bytes(whole.read_bytes()[:-300])
    with zipfile.ZipFile(whole) as opened, opened.open("policy.pth") as held:
        state = torch.load(held, weights_only=True)
    for name, change in (("nan", lambda w: w * float("nan")), ("flat", lambda w: w.flatten())):
        mine = {key for key in state if key.endswith("weight") and "extractor.model" not in key}
        odd = {key: change(weight) if key in mine else weight for key, weight in state.items()}
        torch.save(odd, weights)
        damaged[name] = _rewritten(whole, tmp_path / f"{name}.zip", policy_pth=weights.read_bytes())
    for what, file in damaged.items():
        with pytest.raises(ValueError, match=file.name):
            import_zip(file, extractor, trust=True)
        out = tmp_path / "out"
        arguments = ["--extractor", str(run / "extractor"), "--trust", "--out", str(out)]
        assert main(["import", str(file), *arguments]) == 2, what
        assert capsys.readouterr().err.count("\n") == 1
        assert not out.exists()
