"""The network: rows look back alone, one by one they are as at once; quantiles do not cross; channels go back."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from cryptoenv.files.typed_values import ConfigError
from pretrain.networks.encoders import AttentionBlock
from pretrain.tokens import rollout
from pretrain.tokens.channels import PREDICTED, channels, next_rows, normalised, target_scales
from pretrain.tokens.model import RunningMeans, TokenModel, sinusoids
from pretrain.tokens.rollout import drawn_at, sampled_paths
from pretrain.tokens.series import BUYS, FEATURES, LIQUIDITY, MARKET_CAP, PRICE, SELLS, VOLUME, TokenSeries
from tests.pretrain.tokens.conftest import new_model, small_config

VARIANTS = [("conv", "transformer"), ("linear", "transformer"), ("conv", "lstm")]


@pytest.mark.parametrize(("embedding", "encoder"), VARIANTS)
def test_rows_look_back_alone_and_one_by_one_are_as_at_once(embedding: str, encoder: str) -> None:
    model = new_model(small_config(embedding=embedding, encoder=encoder))
    rows = torch.randn(3, 16, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = model(rows)
        changed = rows.clone()
        changed[:, 9:] += 5.0
        assert torch.equal(whole[:, :9], model(changed)[:, :9]) and not torch.equal(whole[:, 9], model(changed)[:, 9])
        hidden, state = model.begin(rows[:, :5])
        torch.testing.assert_close(hidden, whole[:, 4], rtol=1e-4, atol=1e-5)
        for place in range(5, 16):
            hidden, state = model.extend(rows[:, place], state)
            torch.testing.assert_close(hidden, whole[:, place], rtol=1e-4, atol=1e-5)


def test_the_block_is_torchs_encoder_layer() -> None:
    config = small_config()
    block = AttentionBlock(config.blocks).eval()
    layer = nn.TransformerEncoderLayer(16, 2, 16, 0.0, nn.functional.gelu, batch_first=True, norm_first=True).eval()
    weights = {
        "self_attn.in_proj_weight": torch.cat([block.query.weight, block.key_value.weight]),
        "self_attn.in_proj_bias": torch.cat([block.query.bias, block.key_value.bias]),
        "self_attn.out_proj.weight": block.out.weight, "self_attn.out_proj.bias": block.out.bias,
        "linear1.weight": block.feedforward[1].weight, "linear1.bias": block.feedforward[1].bias,
        "linear2.weight": block.feedforward[3].weight, "linear2.bias": block.feedforward[3].bias,
        "norm1.weight": block.attention_norm.weight, "norm1.bias": block.attention_norm.bias,
        "norm2.weight": block.feedforward[0].weight, "norm2.bias": block.feedforward[0].bias,
    }  # fmt: skip
    layer.load_state_dict(weights)
    tokens = torch.randn(2, 7, 16)
    mask = nn.Transformer.generate_square_subsequent_mask(7)
    with torch.no_grad():
        torch.testing.assert_close(block(tokens, tokens, True), layer(tokens, mask), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(block(tokens, tokens, False), layer(tokens, mask))


def test_quantiles_do_not_cross_and_the_chain_knows_what_was_before() -> None:
    model = new_model(small_config())
    hidden, known = 3.0 * torch.randn(40, 16), torch.randn(40, 5)
    with torch.no_grad():
        said = model.all_quantiles(hidden, known)
        assert said.shape == (40, 5, 5) and (said.diff(dim=-1) > 0).all()
        other = known.clone()
        other[:, 2] += 1.0
        again = model.all_quantiles(hidden, other)
    assert torch.equal(said[:, :3], again[:, :3]) and not torch.equal(said[:, 3:], again[:, 3:])


def test_positions_are_sines() -> None:
    found = sinusoids(50, 16)
    for place, column in ((0, 0), (7, 4), (49, 15)):
        angle = place / 10_000 ** (2 * (column // 2) / 16)
        assert found[place, column] == pytest.approx(np.cos(angle) if column % 2 else np.sin(angle), abs=1e-6)


@pytest.mark.parametrize("split", [1, 128, 200])
def test_running_means_are_those_of_plain_sums(split: int) -> None:
    """Longer than one chunk, and cut anywhere: a mean of the rows so far, whose weights fall by e in `scale` rows."""
    torch.manual_seed(0)
    rows, means = torch.randn(2, 300, 4), RunningMeans((3, 50), 4)
    with torch.no_grad():
        first, state = means(rows[:, :split])
        second, _ = means(rows[:, split:], state, split)
        plain = np.zeros((2, 300, 2, 4))
        for place, scale in enumerate((3, 50)):
            for t in (0, 1, 127, 128, 199, 200, 299):
                weights = np.exp(-np.arange(t, -1, -1) / scale)
                plain[:, t, place] = np.einsum("t,btd->bd", weights / weights.sum(), rows[:, : t + 1].numpy())
        assert means.mix is not None
        expected = means.mix(torch.from_numpy(plain.reshape(2, 300, 8)).float())
    shown = [0, 1, 127, 128, 199, 200, 299]
    np.testing.assert_allclose(torch.cat([first, second], dim=1)[:, shown], expected[:, shown], atol=2e-6)
    nothing, _ = RunningMeans((), 4)(rows)
    assert not nothing.any()


def test_values_are_drawn_from_the_distribution_that_quantiles_say() -> None:
    levels = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95], dtype=torch.float64)
    said = torch.tensor([[-3.0, -1.0, 0.5, 1.0, 4.0]], dtype=torch.float64)
    place = torch.rand(40_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = drawn_at(said.expand(40_000, -1), levels, place)
    for level, value in zip(levels.tolist(), said[0].tolist(), strict=True):
        assert float((values <= value).double().mean()) == pytest.approx(level, abs=0.01)
        assert float(drawn_at(said, levels, torch.tensor([level], dtype=torch.float64))[0]) == pytest.approx(value)
    rising = drawn_at(said.expand(99, -1), levels, torch.linspace(0.0001, 0.9999, 99, dtype=torch.float64))
    assert (rising.diff() > 0).all() and rising[-1] > 4.0 and rising[0] < -3.0


def test_channels_say_all_six_features(tokens: tuple[TokenSeries, ...]) -> None:
    values = tokens[0].values
    read, said = channels(values), next_rows(values)
    pool = values[:-1, LIQUIDITY]
    np.testing.assert_allclose(np.exp(np.cumsum(said[:-1, 0])) * values[0, PRICE], values[1:, PRICE])
    np.testing.assert_allclose(np.expm1(said[:-1, 1]) / 1e4 * pool, values[1:, BUYS], atol=1e-9)
    np.testing.assert_allclose(np.expm1(said[:-1, 2]) / 1e4 * pool, values[1:, SELLS], atol=1e-9)
    np.testing.assert_allclose(np.expm1(said[:-1, 3]) / 1e4 * pool / values[1:, PRICE], values[1:, VOLUME], atol=1e-3)
    depth = np.log(values[0, LIQUIDITY] ** 2 / values[0, PRICE]) + np.cumsum(said[:-1, 4])
    np.testing.assert_allclose(np.exp((depth + np.log(values[1:, PRICE])) / 2), values[1:, LIQUIDITY])
    np.testing.assert_allclose(np.exp(read[:, MARKET_CAP]), values[:, MARKET_CAP])
    assert np.isnan(said[-1]).all()


def rolled(tokens: tuple[TokenSeries, ...], normalization: np.ndarray, model: TokenModel, rows: int = 60) -> np.ndarray:
    past = tokens[0].values[:rows]
    return sampled_paths(model, normalization, [(past, tokens[0].supply)], steps=40, paths=4, seed=5)[0]


def read_in(model: TokenModel, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """What the network is given, newest row of each path, in order."""
    given: list[torch.Tensor] = []
    begin, extend = model.begin, model.extend
    monkeypatch.setattr(model, "begin", lambda rows: (given.append(rows[:, -1]), begin(rows))[1])
    monkeypatch.setattr(model, "extend", lambda row, state: (given.append(row), extend(row, state))[1])
    return given


def differs(given: list[torch.Tensor], paths: np.ndarray, past: np.ndarray, normalization: np.ndarray) -> list[str]:
    """Features whose inputs are not those of the very path that was drawn."""
    wrong = set()
    for number, path in enumerate(paths):
        own = normalised(channels(np.concatenate([past, path])), normalization)[len(past) - 1 :]
        fed = np.stack([rows[number % len(rows)].numpy() for rows in given])  # paths of one past read it once
        wrong |= {name for c, name in enumerate(FEATURES) if not np.allclose(fed[:, c], own[: len(fed), c], atol=2e-4)}
    return sorted(wrong)


@pytest.mark.parametrize(("embedding", "encoder"), VARIANTS)
def test_all_six_inputs_are_rolled_forward(
    tokens: tuple[TokenSeries, ...], normalization: np.ndarray, monkeypatch: pytest.MonkeyPatch, embedding: str,
    encoder: str,
) -> None:  # fmt: skip
    model = new_model(small_config(embedding=embedding, encoder=encoder))
    given = read_in(model, monkeypatch)
    paths = rolled(tokens, normalization, model)
    assert len(given) == 40 and paths.shape == (4, 40, 6) and np.isfinite(paths).all()
    assert differs(given, paths, tokens[0].values[:60], normalization) == []
    spread = paths.std(axis=0)  # every path is another: always in what is above 0, often in trades, which may be none
    assert (spread[:, [PRICE, LIQUIDITY, MARKET_CAP]] > 0).all() and ((spread > 0).mean(axis=0) > 0.5).all()
    np.testing.assert_allclose(paths[..., MARKET_CAP], paths[..., PRICE] * tokens[0].supply, rtol=1e-9)
    assert all((a != b).all() for a, b in pairwise(np.moveaxis(paths[..., [PRICE, LIQUIDITY]], 1, 0)))


@pytest.mark.parametrize("feature", range(6))
def test_a_planted_constant_or_true_input_is_seen(
    tokens: tuple[TokenSeries, ...], normalization: np.ndarray, monkeypatch: pytest.MonkeyPatch, feature: int
) -> None:
    model = new_model(small_config())
    truth = torch.from_numpy(normalised(channels(tokens[0].values), normalization))[60:]
    whole = rollout._Rolling._row
    steps = iter(range(40))

    def held(self: object, *arguments: torch.Tensor) -> torch.Tensor:
        row = whole(self, *arguments)  # type: ignore[arg-type]
        row[:, feature] = row[:1, feature] * 0.0 + 0.3
        return row

    def true(self: object, *arguments: torch.Tensor) -> torch.Tensor:
        row = whole(self, *arguments)  # type: ignore[arg-type]
        row[:, feature] = truth[next(steps), feature]
        return row

    for planted in (held, true):
        monkeypatch.setattr(rollout._Rolling, "_row", planted)
        given = read_in(model, monkeypatch)
        found = differs(given, rolled(tokens, normalization, model), tokens[0].values[:60], normalization)
        assert found == [FEATURES[feature]]
        monkeypatch.undo()


def test_the_true_future_is_not_read_and_the_seed_decides(
    tokens: tuple[TokenSeries, ...], normalization: np.ndarray
) -> None:
    model = new_model(small_config())
    first = rolled(tokens, normalization, model)
    assert first.tobytes() == rolled(tokens, normalization, model).tobytes()
    past, supply = tokens[0].values[:60], tokens[0].supply
    shorter = sampled_paths(model, normalization, [(past[-20:], supply)], steps=40, paths=4, seed=5)
    assert shorter.tobytes() == first.tobytes()  # only the last window is read
    other = sampled_paths(model, normalization, [(past, supply)], steps=40, paths=4, seed=6)
    assert other.tobytes() != first.tobytes()
    few = sampled_paths(model, normalization, [(past[:5], supply)], steps=3, paths=2, seed=5)
    assert np.isfinite(few).all()


def test_several_tokens_at_once_are_each_alone(tokens: tuple[TokenSeries, ...], normalization: np.ndarray) -> None:
    model = new_model(small_config())
    pasts = [(token.values[:60], token.supply) for token in tokens[:3]]
    together = sampled_paths(model, normalization, pasts, steps=30, paths=4, seed=5)
    assert together.shape == (3, 4, 30, 6)
    alone = sampled_paths(model, normalization, pasts[:1], steps=30, paths=4, seed=5)
    np.testing.assert_allclose(together[0], alone[0], rtol=1e-3)
    assert (together[1, :, 0, PRICE] / pasts[1][0][-1, PRICE]).std() > 0


def test_scales_are_those_of_the_channels(normalization: np.ndarray) -> None:
    assert len(PREDICTED) == 5
    assert target_scales(normalization).tolist() == [*normalization[1][[PRICE, BUYS, SELLS, VOLUME]], 1.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nhead": 3}, "nhead=3 is not allowed: a divisor of embed_size=16"),
        ({"embed_size": 15, "nhead": 1}, "embed_size=15 is not allowed: an even number"),
        ({"embedding": "dense"}, "embedding='dense' is not allowed"),
        ({"quantiles": (0.1, 0.9, 0.95)}, "0.5 among them"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"rise": 0.0}, "rise=0.0"),
    ],
)
def test_bad_architectures_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small_config(**changes)
