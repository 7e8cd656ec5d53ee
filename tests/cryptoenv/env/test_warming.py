"""`cryptoenv warm`: every part is compiled in a process of its own, and what fails is named."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agents.command_line import main
from cryptoenv.env import warming


def test_each_part_runs_in_a_process_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = f"import os, sys; open(os.path.join({str(tmp_path)!r}, sys.argv[1]), 'w').write(str(os.getpid()))"
    monkeypatch.setattr(warming, "_SCRIPT", script)
    assert main(["warm", "--jobs", "2"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == set(warming.PARTS)
    assert len({path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}) == len(warming.PARTS)
    assert "compiled code: " in capsys.readouterr().out


def test_a_part_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(warming, "_SCRIPT", "import sys; sys.exit(sys.argv[1] == 'vector' and 'no room')")
    assert main(["warm", "--jobs", "1"]) == 2
    assert "compiling the part 'vector' failed: no room" in capsys.readouterr().err


def test_without_a_place_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "cache_folder", lambda _: None)
    with pytest.raises(RuntimeError, match="NUMBA_CACHE_DIR"):
        list(warming.warm(1))
    with pytest.raises(ValueError, match="jobs"):
        list(warming.warm(0))


@pytest.mark.slow
def test_what_was_warmed_is_not_compiled_again(tmp_path: Path) -> None:
    given = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-m", "agents.command_line", "warm"], env=given, check=True)
    script = """
from numba.core import event
with event.install_recorder("numba:compile") as seen:
    import gymnasium, numpy, cryptoenv
    env = gymnasium.make("CryptoTrade-v0"); env.reset(seed=0); env.step(2)
    env = gymnasium.make("CryptoTrade-v0", observation="index"); env.reset(seed=0); env.step(2)
    envs = gymnasium.make_vec("CryptoTrade-v0", num_envs=1024); envs.reset(seed=0); envs.step(numpy.ones(1024, int))
    gymnasium.make("CryptoTrade-v0", market="standard")
print([e.data["dispatcher"].py_func.__qualname__ for _, e in seen.buffer])
"""
    done = subprocess.run([sys.executable, "-c", script], env=given, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
