"""Versions and their pointer: added, promoted, rolled back; what is damaged, missing, killed or done by two at once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

import agents.run_folders.versions.models_folder as module
from agents.command_line import main
from agents.run_folders.versions.models_folder import ModelsFolder, is_models_folder
from agents.run_folders.versions.pointer import POINTER, PointerError
from agents.run_folders.versions.version import MODEL, TOLD, VersionError, require_whole
from cryptoenv.files.folder_lock import FolderLockedError, folder_lock
from pretrain import ArtifactError
from tests.agents.operated_world import untrained_extractor
from tests.naive.random_bars import random_bars

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("artifact") / "extractor"
    untrained_extractor(random_bars(25, timeframe="1h")).save(place)
    return place


@pytest.fixture
def models(artifact: Path, tmp_path: Path) -> ModelsFolder:
    """Three versions, the first of them in use."""
    found = ModelsFolder(tmp_path / "models")
    for _ in range(3):
        found.add(artifact)
    found.promote("0001")
    return found


def states(models: ModelsFolder) -> list[str]:
    return [one.state for one in models.versions()]


def test_versions_are_added_promoted_and_rolled_back(models: ModelsFolder) -> None:
    assert is_models_folder(models.folder) and states(models) == ["current", "proposed", "proposed"]
    models.promote("0003", reason="better", expect="0001")
    assert states(models) == ["former", "proposed", "current"] and models.current().name == "0003"
    models.promote("0002")
    assert models.roll_back().current == "0003" and models.roll_back(reason="worse").current == "0001"
    with pytest.raises(PointerError, match="nothing to roll back to: version 0001 is the first"):
        models.roll_back()
    told = [(one.what, one.detail["version"]) for one in models.happened()]
    assert told[:3] == [("added", "0001"), ("added", "0002"), ("added", "0003")]
    assert told[3:] == [("promoted", "0001"), ("promoted", "0003"), ("promoted", "0002"), ("rolled back", "0003"),
                        ("rolled back", "0001")]  # fmt: skip
    version = require_whole(models.current())
    assert version.kind == "cryptoenv-extractor" and f"{MODEL}/model.safetensors" in version.files


def test_what_is_not_there_or_used_already_is_refused(models: ModelsFolder, tmp_path: Path) -> None:
    before = (models.folder / POINTER).read_bytes()
    with pytest.raises(VersionError, match="version 0009 is not there; there are 0001, 0002, 0003"):
        models.promote("0009")
    for name in ("../0001", "latest", "1", ""):
        with pytest.raises(VersionError, match="is no version"):
            models.promote(name)
    with pytest.raises(PointerError, match="used already"):
        models.promote("0001")
    with pytest.raises(PointerError, match="version 0001 is used, not 0002: nothing was changed"):
        models.promote("0003", expect="0002")
    assert (models.folder / POINTER).read_bytes() == before
    empty = ModelsFolder(tmp_path / "none")
    with pytest.raises(PointerError, match="uses no version yet; there are no versions"):
        empty.current()
    with pytest.raises(PointerError, match="is not there"):
        empty.roll_back()
    (tmp_path / "something").mkdir()
    with pytest.raises(ArtifactError):
        empty.add(tmp_path / "something")
    assert not empty.folder.exists()


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "more", "link"])
def test_a_damaged_version_is_refused_by_the_name_of_its_file(models: ModelsFolder, harm: str, tmp_path: Path) -> None:
    weights = models.place("0002") / MODEL / "model.safetensors"
    data = weights.read_bytes()
    if harm == "flip":
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif harm == "cut":
        weights.write_bytes(data[:100])
    elif harm == "more":
        weights = weights.with_name("pickle.bin")
        weights.write_bytes(b"x")
    else:
        weights.unlink()
        if harm == "link":
            weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(VersionError, match=f"version 0002 is damaged: .*{weights.name}"):
        models.promote("0002")
    assert models.current().name == "0001"
    models.promote("0003")  # the others are none the worse


def test_a_half_written_version_is_none(models: ModelsFolder, artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_version", killed)
        with pytest.raises(KeyboardInterrupt):
            models.add(artifact)
    assert models.names() == ("0001", "0002", "0003") and not list(models.folder.glob(".tmp-*"))
    (models.place("0003") / TOLD).unlink()
    assert states(models) == ["current", "proposed", "damaged"]
    with pytest.raises(VersionError, match="version 0003 is not there, or was never finished"):
        models.promote("0003")
    assert models.add(artifact).name == "0004"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "is no JSON"),
        (b"[]", "no pointer of format 1"),
        (b'{"format": 1, "current": "0002", "moves": []}', "its moves say None"),
        (b'{"format": 1, "current": null, "moves": [{"at": "x"}]}', "must have exactly the texts"),
        (b'{"format": 1, "current": null, "moves": [{"at": "x", "what": "rollback", "version": "0001", "before": "", '
         b'"reason": ""}]}', "to before its first version"),
        (b'{"format": 1, "current": "../../x", "moves": [{"at": "x", "what": "promote", "version": "../../x", '
         b'"before": "", "reason": ""}]}', "is no move"),
    ],
)  # fmt: skip
def test_a_damaged_pointer_is_named_and_mended_by_hand_alone(models: ModelsFolder, content: bytes, words: str) -> None:
    (models.folder / POINTER).write_bytes(content)
    for act in (models.current, models.roll_back, lambda: models.promote("0002")):
        with pytest.raises(PointerError, match=words):
            act()
    assert models.promote("0002", anew=True).current == "0002"
    assert [path.read_bytes() for path in models.folder.glob(f"{POINTER}.damaged-*")] == [content]


def promoted_in_turns(models: ModelsFolder) -> None:
    """Two threads, each promotes in turn."""
    failures: list[Exception] = []

    def turns(names: tuple[str, str]) -> None:
        for k in range(3):
            try:
                models.promote(names[k % 2])
            except PointerError as error:
                if "used already" not in str(error):
                    failures.append(error)

    threads = [threading.Thread(target=turns, args=(names,)) for names in (("0002", "0001"), ("0003", "0001"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def require_one_history(models: ModelsFolder) -> None:
    """Every promotion is in the history, and begins where the one before ended."""
    moves = models.pointer().moves
    assert all(after.before == before.version for before, after in pairwise(moves))
    assert models.current().name == moves[-1].version and len(moves) >= 4


def test_promotions_at_once_come_one_after_the_other(models: ModelsFolder) -> None:
    promoted_in_turns(models)
    require_one_history(models)


TURNS = """
import sys
from agents.run_folders.versions.models_folder import ModelsFolder
models = ModelsFolder(sys.argv[1])
for k in range(20):
    try:
        models.promote(sys.argv[2 + k % 2])
    except Exception as error:
        assert "used already" in str(error), error
"""


@pytest.mark.slow
def test_of_other_processes_too_and_some_that_are_killed(models: ModelsFolder) -> None:
    def begun() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", TURNS, str(models.folder), "0002", "0003"], cwd=ROOT)

    others, victims = [begun(), begun()], [begun(), begun()]
    for number, victim in enumerate(victims):
        time.sleep(4.0 + number)
        victim.kill()
        victim.wait()
        models.pointer()  # whole at any moment
    promoted_in_turns(models)
    assert [other.wait(120) for other in others] == [0, 0]
    require_one_history(models)


def test_a_writer_waits_and_then_says_for_whom(models: ModelsFolder) -> None:
    words = pytest.raises(FolderLockedError, match="being written by process")
    with folder_lock(models.folder, "another"), words, models.held(wait=0.1):
        pass


def test_the_commands_say_it_in_words(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(artifact, "mine")
    for arguments in (["add", "models", "mine", "--why", "the first"], ["add", "models", "mine"],
                      ["promote", "models", "0001"], ["promote", "models", "0002", "--reason", "newer"],
                      ["rollback", "models"], ["list", "models"], ["show", "models", "0002"],
                      ["compare", "models", "0001", "0002"]):  # fmt: skip
        assert main(["models", *arguments]) == 0, arguments
    said = capsys.readouterr().out
    for words in ("version 0001 (cryptoenv-extractor) of mine", "uses version 0001 again; before: 0002", "the first",
                  "promote 0001 -> 0002 (newer)", "files are as they were written, and it loads"):  # fmt: skip
        assert words in said, words
    for arguments, words in (
        (["promote", "models", "0007"], "0007 is not there"), (["show", "models", "0007"], "0007 is not there"),
        (["list", "nowhere"], "nowhere"), (["add", "models", "nothing"], "nothing"),
        (["rollback", "models"], "nothing to roll back to"),
        (["compare", "models", "0001", "0002", "--bars", "x.csv"], "bars compare agents alone"),
    ):  # fmt: skip
        assert main(["models", *arguments]) == 2
        error = capsys.readouterr().err.strip()
        assert words in error and len(error.splitlines()) == 1, error
    told = json.loads(Path("models", POINTER).read_text())
    assert told["current"] == "0001" and len(told["moves"]) == 3
    assert main(["retrain", "models"]) == 2 and "name them with --bars" in capsys.readouterr().err
    described = Path("models", "0001", TOLD)
    described.write_text(described.read_text().replace("cryptoenv-extractor", "cryptoenv-tokens"))
    assert main(["retrain", "models"]) == 2
    said = capsys.readouterr().err.strip()
    assert "version 0001 is a cryptoenv-tokens, which `retrain` does not train; it trains agent, cryptoenv-ext" in said
    assert len(said.splitlines()) == 1
