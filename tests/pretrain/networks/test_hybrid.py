"""The hybrid: causal, the same alone and in a batch, its design's numbers, its gate."""

from __future__ import annotations

import pytest
import torch

from cryptoenv.files.typed_values import ConfigError
from pretrain import FitOptions, fit_extractor
from pretrain.networks.encoder_config import EncoderConfig
from pretrain.networks.hybrid import PARTS, HybridEncoder
from tests.pretrain.conftest import planted, random_market, small_config, small_training

NAMES = (("return_1", "range", "volume_surprise", "rsi", "macd"), ("return_1", "adx"))


def hybrid(ablate: tuple[str, ...] = (), **changes: object) -> HybridEncoder:
    values: dict[str, object] = {
        "timeframes": ("1h", "4h"), "window": (20, 2), "patches": (20, 2), "feature_names": NAMES, "width": 8,
        "layers": 2, "heads": 4, "feedforward": 64, "dropout": 0.2, "encoder": "hybrid",
        "ablate": ablate,
    }  # fmt: skip
    torch.manual_seed(0)
    return HybridEncoder(EncoderConfig(**(values | changes))).eval()  # type: ignore[arg-type]


def windows(count: int) -> list[torch.Tensor]:
    made = torch.Generator().manual_seed(count)
    return [torch.randn(count, 20, 5, generator=made), torch.randn(count, 2, 2, generator=made)]


def test_its_numbers_are_those_of_the_design() -> None:
    network = hybrid()
    assert (network.convolution.kernel_size, network.convolution.out_channels) == ((3,), 64)
    assert (network.lstm.hidden_size, network.lstm.num_layers, network.lstm.dropout) == (128, 2, 0.2)
    assert network.attention is not None
    assert (network.attention.embed_dim, network.attention.num_heads, network.attention.batch_first) == (128, 4, True)
    assert [layer.in_features for layer in network.head if isinstance(layer, torch.nn.Linear)] == [192, 64]
    assert network.indicator_names == ("1h rsi", "1h macd", "4h return_1", "4h adx")


def test_no_state_hears_of_later_bars() -> None:
    network, (bars, _) = hybrid(), windows(3)
    changed = bars.clone()
    changed[:, 12:] += 5.0
    with torch.inference_mode():
        before, after = network.states(bars), network.states(changed)
    torch.testing.assert_close(before[:, :12], after[:, :12], rtol=0.0, atol=0.0)
    assert (before[:, 12:] - after[:, 12:]).abs().min(dim=2).values.max() > 0.0


def test_a_window_is_the_same_alone_and_among_others() -> None:
    network, given = hybrid(), windows(32)
    with torch.inference_mode():
        together = network(given)
        alone = torch.cat([network([part[i : i + 1] for part in given]) for i in range(32)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("part", PARTS)
def test_every_part_can_be_left_out_and_matters(part: str) -> None:
    given = windows(4)
    with torch.inference_mode():
        whole, without = hybrid()(given), hybrid((part,))(given)
    assert without.shape == (4, 8)
    assert sum(p.numel() for p in hybrid((part,)).parameters()) < sum(p.numel() for p in hybrid().parameters())
    assert not torch.allclose(whole, without)
    with pytest.raises(ConfigError, match="ablate"):
        EncoderConfig(encoder="lstm", ablate=(part,))


def test_the_gate_weighs_each_indicator() -> None:
    network, given = hybrid(), windows(6)
    with torch.inference_mode():
        gates = network.gates(given)
        assert gates.shape == (6, 4)
        assert ((gates > 0.0) & (gates < 1.0)).all()
        assert network.gate is not None
        network.gate.bias[1] = -1e4  # the second indicator is shut out: nothing depends on it
        network.gate.weight[1] = 0.0
        network.gate.weight[:, 128 + 1] = 0.0
        before = network(given)
        given[0][:, -1, 4] += 3.0
        torch.testing.assert_close(network(given), before, rtol=0.0, atol=0.0)
        assert torch.equal(hybrid(("gate",)).gates(given), torch.ones(6, 4))


def test_it_is_an_encoder_of_the_extractor() -> None:
    items = [planted(random_market(seed)) for seed in range(2)]
    config = small_config(encoder="hybrid", window=(16, 1, 1), patches=(16, 1, 1), layers=1)
    training = small_training(steps=60, validate_every=30)
    found = fit_extractor(items[:1], items[1:], config, training, seed=0, options=FitOptions(progress=False))
    assert found.provenance.metrics["validation/accuracy"] > 0.8  # a coin gives one half
    table = found.predict(items[1].market)
    stream = found.stream(items[1].market.bars.iloc[:-1])
    assert stream.append(items[1].market.bars.iloc[[-1]]).equals(table.iloc[[-1]])
