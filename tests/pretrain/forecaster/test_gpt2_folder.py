"""A GPT-2 on disk as a start: its weights are taken, what was frozen stays, and what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from cryptoenv.files.typed_values import ConfigError
from cryptoenv.market.market import Market
from pretrain.data.forecast_windows import Part
from pretrain.forecaster.artifact import Forecaster
from pretrain.forecaster.gpt2_folder import like_gpt2
from pretrain.forecaster.training import Start, fit_forecaster
from tests.pretrain.forecaster.conftest import QUIET, tiny_config, tiny_training


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model of its own sizes, as Hugging Face writes it."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=50, n_positions=64, n_embd=24, n_layer=2, n_head=3, bos_token_id=0, eos_token_id=0)
    place = tmp_path_factory.mktemp("gpt2")
    GPT2LMHeadModel(config).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def frozen(folder: Path, markets: tuple[Market, ...]) -> Forecaster:
    return started(folder, markets, True)


def started(folder: Path, markets: tuple[Market, ...], frozen: bool) -> Forecaster:
    start = Start(folder, frozen)
    training = tiny_training(steps=3, validate_every=3)
    return fit_forecaster(
        [Part(markets[0])], [Part(markets[1])], tiny_config(), training, options=QUIET, start=start, calibrated=False
    )


def test_sizes_are_those_of_the_folder(frozen: Forecaster) -> None:
    config = frozen.config
    assert (config.width, config.layers, config.heads, config.feedforward) == (24, 2, 3, 96)
    assert "from a GPT-2" in frozen.provenance.label_kind


def test_frozen_layers_stay_and_the_rest_learns(folder: Path, frozen: Forecaster) -> None:
    before = GPT2LMHeadModel.from_pretrained(folder).transformer.state_dict()
    after = frozen.model.get_submodule("network.blocks").state_dict()
    for name, tensor in after.items():
        if ".attn." in name or ".mlp." in name:
            torch.testing.assert_close(tensor, before[name], rtol=0.0, atol=0.0)
    changed = [n for n in ("h.0.ln_1.weight", "ln_f.weight", "wpe.weight")
               if not torch.equal(after[n], before[n][: len(after[n])])]  # fmt: skip
    assert changed == ["h.0.ln_1.weight", "ln_f.weight", "wpe.weight"]


def test_all_layers_learn_where_nothing_is_frozen(folder: Path, markets: tuple[Market, ...]) -> None:
    before = GPT2LMHeadModel.from_pretrained(folder).transformer.state_dict()
    after = started(folder, markets, False).model.get_submodule("network.blocks").state_dict()
    assert not torch.equal(after["h.0.attn.c_attn.weight"], before["h.0.attn.c_attn.weight"])
    distance = (after["h.0.attn.c_attn.weight"] - before["h.0.attn.c_attn.weight"]).abs().max()
    assert distance < 0.05  # three small steps from where it began, not from anywhere


def test_what_does_not_fit_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        like_gpt2(tiny_config(), tmp_path / "nothing")
    with pytest.raises(ConfigError, match=r"config\.json is missing"):
        like_gpt2(tiny_config(), tmp_path)
    with pytest.raises(ConfigError, match="it has 64 places, window"):
        like_gpt2(tiny_config(steps=60), folder)
    with pytest.raises(ConfigError, match="for the network 'gpt'"):
        like_gpt2(tiny_config(network="lstm", steps=0), folder)
    values = json.loads((folder / "config.json").read_text()) | {"model_type": "llama"}
    (tmp_path / "config.json").write_text(json.dumps(values))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match="is not that of a GPT-2"):
        like_gpt2(tiny_config(), tmp_path)
