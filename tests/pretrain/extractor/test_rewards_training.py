"""Learning from bars alone: targets, carried memory, resumption, and two worlds whose answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cryptoenv.market.market import Market
from cryptoenv.trading.replay import replay
from pretrain import ArtifactError, ConfigError, Extractor, FitOptions, PretrainingConfig
from pretrain.data.rewards import TOLD_EVERY, DrawnMarkets, Lanes, OwnPieces, Piece, RewardsConfig, RewardStream
from pretrain.data.scaler import RobustScaler
from pretrain.data.splits import Span
from pretrain.extractor.config import ExtractorConfig
from pretrain.extractor.model import ExtractorModel
from pretrain.extractor.rewards_task import RewardLearner, RewardsTask, read_stretch
from pretrain.extractor.rewards_training import RewardMarkets, fit_rewards
from pretrain.extractor.value_decisions import followed, value_decisions
from pretrain.fitting.market_layout import MarketLayout
from synthetic import family_of, regime_market, task_seeds
from tests.pretrain.conftest import TIMEFRAMES, random_bars

WINDOW = (24, 1, 1)
CONFIG = ExtractorConfig(
    timeframes=TIMEFRAMES, window=WINDOW, patches=WINDOW, encoder="recurrent", memory=16, width=16, horizons=(1, 4),
)  # fmt: skip
REWARDS = RewardsConfig(lanes=4, stretch=24, piece=72, averaging=0.02)
COST = REWARDS.turnover_cost


def market_of(seed: int, hours: int, *, leaked: bool = False) -> Market:
    """White noise; `leaked`: the first base feature is the return of the bar to come."""
    bars = random_bars(seed, hours)
    slope = np.log(bars["close"].iloc[-1] / bars["open"].iloc[0]) / len(bars)
    bars[["open", "high", "low", "close"]] *= np.exp(-slope * np.arange(len(bars)))[:, None]  # no drift to be learned
    bars["volume"] *= 1e6  # no order is held back
    market = Market.from_bars(bars, timeframes=TIMEFRAMES)
    if not leaked:
        return market
    base = market.features[0].copy()
    close = np.log(market.prices[:, 3])
    base[:-1, 0], base[-1, 0] = 100.0 * np.diff(close), 0.0
    return Market(
        market.timeframes, market.start_ms, market.prices, (base, *market.features[1:]), market.feature_names,
        market.align, market.valid_from, market.funding_series, market.name,
    )  # fmt: skip


def span_of(market: Market, number: int = 0) -> Span:
    return Span(number, market.first_decision(WINDOW), len(market))


def markets_of(train: Market, held_out: Market, rewards: RewardsConfig) -> RewardMarkets:
    source = OwnPieces([train], [span_of(train)], rewards, seed=1)
    span = span_of(held_out)
    return RewardMarkets(source, 1, (Piece(held_out, span.start, span.stop),))


@pytest.fixture(scope="module")
def noise() -> tuple[Market, Market]:
    return market_of(0, 24 * 90), market_of(1, 24 * 90)


def lanes_of(market: Market, *, positions: tuple[float, ...] = CONFIG.positions) -> Lanes:
    start = market.first_decision(WINDOW)
    pieces = [Piece(market, start + shift, start + shift + 72) for shift in (0, 5, 11, 17)]
    return Lanes(pieces, positions, CONFIG.horizons, REWARDS)


def learner_of(market: Market, config: ExtractorConfig = CONFIG) -> RewardLearner:
    config = replace(config.for_market(market), values="alone", value_cost=COST)
    scaler = RobustScaler.fit(config.timeframes, config.feature_names, market.features)
    torch.manual_seed(0)
    learner = RewardLearner(ExtractorModel(config, scaler), REWARDS.lanes)
    for part in (learner.network, learner.averaged):
        assert part.value_head is not None
        torch.nn.init.normal_(part.value_head.weight, generator=torch.Generator().manual_seed(3))
    return learner


def test_a_stretch_holds_what_was_known_and_what_followed(noise: tuple[Market, Market]) -> None:
    market, lanes = noise[0], lanes_of(noise[0])
    batch = lanes.stretch(24, 24)
    close = market.prices[:, 3]
    for lane, piece in enumerate(lanes.pieces):
        rows = piece.start + np.arange(24, 48)
        np.testing.assert_array_equal(batch.bars[lane].numpy(), market.features[0][rows])
        long = 100.0 * np.log(close[rows + 1] / close[rows])
        np.testing.assert_allclose(batch.rewards[lane, :, 2].numpy(), long, atol=1e-4)
        assert not batch.rewards[lane, :, 1].any()
        told = batch.returns[lane, :, 1].numpy() * market.prices[rows[::TOLD_EVERY], 5] * 2.0
        np.testing.assert_allclose(told, np.log(close[rows[::TOLD_EVERY] + 4] / close[rows[::TOLD_EVERY]]), atol=1e-5)
    assert lanes.stretch(0, 24).begins and not batch.begins
    assert torch.isnan(lanes.stretch(48, 24).returns[:, -1, 1]).sum() == 0  # row 64 looks to 68, inside the piece
    poisoned = replace_prices(market, lanes.pieces[0].start + 50)
    piece = lanes.pieces[0]._replace(market=poisoned)
    other = Lanes([piece], CONFIG.positions, (1,), REWARDS)
    assert torch.equal(other.stretch(0, 50).volatility[0], lanes.stretch(0, 50).volatility[0])


def replace_prices(market: Market, row: int) -> Market:
    """The market with other closes from `row` on."""
    prices = market.prices.copy()
    prices[row:, :4] *= 3.0
    return Market(
        market.timeframes, market.start_ms, prices, market.features, market.feature_names, market.align,
        market.valid_from, market.funding_series, market.name,
    )  # fmt: skip


@pytest.mark.parametrize("positions", [(-1.0, 0.0, 1.0), (-1.0, -0.5, 0.0, 0.25, 1.0)])
def test_targets_are_those_of_plain_loops(noise: tuple[Market, Market], positions: tuple[float, ...]) -> None:
    learner = learner_of(noise[0], replace(CONFIG, positions=positions))
    batch = lanes_of(noise[0], positions=positions).stretch(0, 24)
    values = torch.randn(4, 24, len(positions), generator=torch.Generator().manual_seed(1))
    values[..., positions.index(0.0)] = 0.0
    found = RewardsTask(REWARDS).targets(learner.averaged, values, batch.rewards)
    for lane, t, a in ((0, 0, 0), (1, 7, len(positions) - 1), (3, 22, 1)):

        def onward(held: float, at: Any) -> float:
            return max(float(at[b]) - 100.0 * COST * abs(exposure - held) for b, exposure in enumerate(positions))

        after = values[lane, t + 1]
        gain = onward(positions[a], after) - onward(0.0, after)
        assert abs(gain) <= 100.0 * COST * abs(positions[a]) + 1e-6
        expected = float(batch.rewards[lane, t, a]) + REWARDS.gamma * gain
        assert float(found[lane, t, a]) == pytest.approx(expected, abs=1e-5)


def test_the_memory_goes_on_from_stretch_to_stretch(noise: tuple[Market, Market]) -> None:
    learner, lanes, task = learner_of(noise[0]), lanes_of(noise[0]), RewardsTask(REWARDS)
    whole, _ = read_stretch(learner.network, lanes.stretch(0, 72), None)
    with torch.no_grad():
        for begin in (0, 24):
            task.measure(learner, lanes.stretch(begin, 24))
        part, _ = read_stretch(learner.network, lanes.stretch(48, 24), learner.carried)
    torch.testing.assert_close(part, whole[:, 48:], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(read_stretch(learner.network, lanes.stretch(48, 24), None)[0], whole[:, 48:], atol=1e-4)


def test_what_is_validated_is_what_the_kernel_pays_for_greedy_decisions(noise: tuple[Market, Market]) -> None:
    learner, lanes = learner_of(noise[0]), lanes_of(noise[0])
    with torch.no_grad():
        found = RewardsTask(REWARDS).measure(learner, lanes)
        values = learner.averaged.values(read_stretch(learner.averaged, lanes.stretch(0, 72), None)[0])
    earned = 0.0
    for lane, piece in enumerate(lanes.pieces):
        held, targets = 1, []
        for t in range(71):
            charge = 100.0 * COST * np.abs(np.array(CONFIG.positions) - CONFIG.positions[held])
            held = int((values[lane, t].numpy() - charge).argmax())
            targets.append(CONFIG.positions[held])
        trace = replay(piece.market.prices[piece.start : piece.stop], np.array(targets), lanes.parameters)
        earned += np.log(trace.equity[-1] / trace.start)
    assert float(found.loss) == pytest.approx(-100.0 * earned / (4 * 72 / 24), rel=1e-5)
    assert float(found.figures["turnover"]) > 0.0


def test_decisions_by_values_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    values, positions = rng.normal(0.0, 0.2, (50, 3)), (-1.0, 0.0, 1.0)
    table = value_decisions(values, positions, COST, 1.5)
    for t in range(50):
        for held in range(3):
            worth = [values[t, b] - 150.0 * COST * abs(positions[b] - positions[held]) for b in range(3)]
            assert table[t, held] == int(np.argmax(worth))
    assert value_decisions(np.zeros((1, 3)), positions, 0.0).tolist() == [[0, 1, 2]]  # a tie stays
    path, held = followed(table, 1), 1
    for t in range(50):
        held = table[t, held]
        assert path[t] == held


def test_a_stream_goes_on_where_it_stood_and_pools_are_the_same_again(noise: tuple[Market, Market]) -> None:
    def stream(count: int) -> RewardStream:
        source = OwnPieces([noise[0]], [span_of(noise[0])], REWARDS, seed=7)
        return RewardStream(
            source, lambda pieces: Lanes(pieces, CONFIG.positions, CONFIG.horizons, REWARDS), REWARDS, count
        )

    every = list(stream(5))
    assert [batch.begins for batch in every] == [True, False, False, True, False]
    later = stream(5)
    later.load_state_dict({"given": 2})
    for found, expected in zip(later, every[2:], strict=True):
        assert torch.equal(found.bars, expected.bars) and torch.equal(found.rewards, expected.rewards)
    assert not torch.equal(every[0].bars, every[3].bars) and stream(5).pools == 2


def test_pieces_are_drawn_by_length_inside_their_spans_and_families_are_kept_apart(
    noise: tuple[Market, Market],
) -> None:
    first = noise[0].first_decision(WINDOW)
    spans = [Span(0, first, first + 600), Span(1, first + 10, first + 110), Span(1, first, first + 20)]
    source = OwnPieces(noise, spans, REWARDS, seed=0)
    drawn = source.pool(0, 400)
    long = sum(piece.market is noise[0] for piece in drawn)
    assert 300 < long < 380  # 6 of 7
    assert all(piece.stop - piece.start == 72 for piece in drawn)
    assert all(first + 10 <= piece.start and piece.stop <= first + 110 for piece in drawn if piece.market is noise[1])
    layout = MarketLayout.of(noise[0], WINDOW)
    task = DrawnMarkets("easy", 3, 1, lambda bars: Market.from_bars(bars, TIMEFRAMES), layout.window)
    origins = [piece.market.origin for piece in task.pool(1, 4)]
    assert [one.seed for one in origins if one] == [task_seeds("easy", "extractor", 3)[k] for k in (1, 2, 0, 1)]
    assert all(family_of(seed) == "extractor" for seed in task.seeds)
    for family in ("train", "test", "demo"):
        seen = Market.from_bars(regime_market("easy", 1, task_seeds("easy", family, 1)[0]).bars, TIMEFRAMES)
        with pytest.raises(ValueError, match=f"seed family '{family}'"):
            OwnPieces([seen], [Span(0, 0, len(seen))], REWARDS, seed=0)


TRAINING = PretrainingConfig(steps=10, validate_every=2, learning_rate=5e-3, patience=50)


class _Interrupted(BaseException):
    """Ctrl-C, as far as a training can tell."""


def trained(noise: Sequence[Market], out: Path | None, *, stop_after: int = 0, resume: bool = False) -> Extractor:
    measured: list[dict[str, float]] = []

    def count(figures: dict[str, float]) -> None:
        measured.append(figures)
        if len(measured) == stop_after:
            raise _Interrupted

    options = FitOptions(out, resume=resume, progress=False, on_validation=count)
    return fit_rewards(markets_of(*noise, REWARDS), CONFIG, REWARDS, TRAINING, seed=5, options=options)


def test_a_killed_training_goes_on_to_the_same_weights(noise: tuple[Market, Market], tmp_path: Path) -> None:
    """It is stopped in the middle of a pool: what both networks remember of every lane goes on, too."""
    whole = trained(noise, None)
    with pytest.raises(_Interrupted):
        trained(noise, tmp_path / "run", stop_after=2)
    assert trained(noise, tmp_path / "run", resume=True).hash == whole.hash
    assert whole.config.values == "alone" and whole.provenance.metrics["bars"] == 10 * 4 * 24
    folder = whole.save(tmp_path / "artifact")
    assert Extractor.load(folder).hash == whole.hash


def test_values_are_columns_of_predictions_the_same_bar_by_bar(noise: tuple[Market, Market]) -> None:
    whole = trained(noise, None)
    bars = noise[1].bars[["open", "high", "low", "close", "volume"]]
    table = whole.predict(bars)
    values = whole.values(noise[1])
    np.testing.assert_array_equal(table["value_+1"].to_numpy(), (values[-len(table) :, 2] * 100.0).astype(np.float32))
    assert not table["value_0"].any() and table["value_-1"].any()
    whole.start_stream(bars.iloc[:-2])
    last = whole.predict_stream(bars.iloc[[-2]])
    assert last.iloc[0].equals(table.iloc[-2])
    odds = whole.action_logits(noise[1])[-1, 1]
    expected = torch.softmax(torch.from_numpy(20.0 * (values[-1] - 100.0 * COST * np.abs([-1.0, 0.0, 1.0]))), 0)
    np.testing.assert_allclose(torch.softmax(torch.from_numpy(odds), 0), expected, rtol=1e-4)


def test_what_rewards_cannot_teach_is_refused(noise: tuple[Market, Market]) -> None:
    given = markets_of(*noise, REWARDS)
    with pytest.raises(ConfigError, match="encoder='transformer' is not allowed"):
        fit_rewards(given, ExtractorConfig(timeframes=TIMEFRAMES), REWARDS, TRAINING)
    with pytest.raises(ArtifactError, match="no values of positions"):
        fit_rewards(given, CONFIG, REWARDS, TRAINING, start=Extractor.load("default"))
    with pytest.raises(ConfigError, match="positions"):
        replace(CONFIG, positions=(-1.0, 1.0), values="alone")
    with pytest.raises(ConfigError, match="piece=8"):
        RewardsConfig(stretch=16, piece=8)


def net_of(held: np.ndarray, returns: np.ndarray) -> float:
    """Net log-return of exposures held over bars, from flat, in plain arithmetic."""
    return float(np.log1p(held * np.expm1(returns)).sum() - COST * np.abs(np.diff(held, prepend=0.0)).sum())


def best_knowing_the_next_bar(returns: np.ndarray) -> float:
    """Net log-return of the best policy that knows each next return and nothing else, by value iteration (iid)."""
    positions, gain = np.array([-1.0, 0.0, 1.0]), np.zeros(3)
    switching = 100.0 * COST * np.abs(positions[:, None] - positions)
    for _ in range(200):
        worth = 100.0 * returns[:, None] * positions + REWARDS.gamma * gain
        onward = (worth[:, None, :] - switching).max(axis=2).mean(axis=0)
        gain = onward - onward[1]
    held, path = 1, []
    for one in returns:
        held = int((100.0 * one * positions + REWARDS.gamma * gain - switching[held]).argmax())
        path.append(positions[held])
    return net_of(np.array(path), returns)


def test_a_leak_is_found_and_white_noise_stays_flat() -> None:
    """Who sees the next return takes 0.95 of what it is worth; who sees noise does next to nothing."""
    rewards = replace(REWARDS, lanes=16, stretch=48, piece=480)
    shares, exposures = {}, {}
    for leaked in (True, False):
        training = PretrainingConfig(steps=180, validate_every=90, learning_rate=8e-3 if leaked else 2e-3)
        train, held_out, unseen = (
            market_of(seed, hours, leaked=leaked) for seed, hours in ((10, 24 * 500), (11, 24 * 150), (12, 24 * 150))
        )
        options = FitOptions(progress=False)
        extractor = fit_rewards(markets_of(train, held_out, rewards), CONFIG, rewards, training, options=options)
        first = unseen.first_decision(WINDOW)
        table = value_decisions(extractor.values(unseen)[first:], CONFIG.positions, COST)
        held = np.array(CONFIG.positions)[followed(table, 1)][:-1]
        returns = np.diff(np.log(unseen.prices[first:, 3]))
        shares[leaked] = net_of(held, returns) / best_knowing_the_next_bar(returns)
        exposures[leaked] = float(np.abs(held).mean())
    assert shares[True] >= 0.95, shares
    assert abs(shares[False]) < 0.02 and exposures[False] < 0.05, (shares, exposures)
