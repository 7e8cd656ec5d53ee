"""Windows, their labels and masks; a fit that learns; the artifact; predictions; recipes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import pretrain
from cryptoenv.files.typed_values import ConfigError
from pretrain import ArtifactError, PretrainingConfig
from pretrain.data.splits import Span
from pretrain.fitting.fitting import FitOptions
from pretrain.tokens.artifact import TokenForecaster
from pretrain.tokens.channels import next_rows, target_scales
from pretrain.tokens.recipe import TokenRecipe, design_training
from pretrain.tokens.series import PRICE, SeriesError, TokenSeries
from pretrain.tokens.training import fit_tokens, split_tokens
from pretrain.tokens.windows import TokenWindows, known_chances
from tests.pretrain.tokens.conftest import new_model, small_config

QUIET = FitOptions(progress=False)


def small_recipe(**changes: object) -> TokenRecipe:
    training = PretrainingConfig(
        steps=60, batch=8, learning_rate=1e-2, validate_every=30, validation_windows=32, patience=100
    )
    values: dict[str, object] = {"split_strategy": "mixed", "architecture": small_config(), "training": training}
    return TokenRecipe(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(tokens: tuple[TokenSeries, ...]) -> TokenForecaster:
    return fit_tokens(tokens, split_tokens(tokens, small_recipe()), small_recipe(), QUIET)


def test_chances_are_what_came(tokens: tuple[TokenSeries, ...]) -> None:
    config = small_config(rise=0.2)
    token = tokens[1]
    found = known_chances(token, config)
    price = token.values[:, PRICE]
    starts = [first for first, _, _ in token.pumps or ()]
    for t in range(len(token)):
        if t + 10 >= len(token):
            assert np.isnan(found[t]).all()
            continue
        assert found[t, 0] == any(t < first <= t + 10 for first in starts)
        assert found[t, 1] == any(price[t + k] >= 1.2 * price[t] for k in range(1, 11))
    assert 0 < np.nanmean(found[:, 0]) < 0.5 and np.isnan(known_chances(replace(token, pumps=None), config)[:, 0]).all()


def test_windows_teach_only_the_rows_of_their_spans(tokens: tuple[TokenSeries, ...], normalization: np.ndarray) -> None:
    windows = TokenWindows(tokens, [Span(2, 15, 100), Span(3, 120, 200)], normalization, small_config())
    assert len(windows) == 85 + 80
    batch = windows.batch(np.arange(len(windows)))
    assert [part.shape for part in batch] == [(165, 16, 6), (165, 16, 5), (165, 16, 2)]
    taught = np.isfinite(batch.targets[..., 0].numpy())
    assert taught[:85].all()  # the span that the token begins with, and the rows before its first window
    ends = np.arange(120, 200)
    places = ends[:, None] + np.arange(-15, 1)
    assert (taught[85:] == (places >= 120)).all()
    wanted = next_rows(tokens[3].values)[150] / target_scales(normalization)
    np.testing.assert_allclose(batch.targets[85 + 30, -1].numpy(), wanted, rtol=1e-5)
    sparse = TokenWindows(tokens, [Span(3, 120, 200)], normalization, small_config(), stride=30)
    assert sparse.ends[:, 1].tolist() == [139, 169, 199]
    with pytest.raises(SeriesError, match="no window of 16 rows is whole"):
        TokenWindows([], [], normalization, small_config())


def test_a_fit_learns_and_is_the_same_again(tokens: tuple[TokenSeries, ...], trained: TokenForecaster) -> None:
    recipe = small_recipe()
    again = fit_tokens(tokens, split_tokens(tokens, recipe), recipe, QUIET)
    assert again.hash == trained.hash
    untrained = replace(recipe, training=replace(recipe.training, steps=1, learning_rate=1e-12, validate_every=1))
    before = fit_tokens(tokens, split_tokens(tokens, untrained), untrained, QUIET).provenance.metrics
    after = trained.provenance.metrics
    most = {"return": 1.0, "buys": 0.9, "sells": 0.9, "volume": 0.9, "depth": 0.9}  # of what who says the usual loses
    for name, share in most.items():
        assert after[f"validation/{name}"] < share * before[f"validation/{name}"], name


def test_before_training_what_is_usual_is_said(tokens: tuple[TokenSeries, ...], normalization: np.ndarray) -> None:
    config = small_config()
    windows = TokenWindows(tokens, [Span(0, 15, 200), Span(1, 15, 200)], normalization, config)
    usual, share = windows.usual(config.quantiles)
    said = np.concatenate([next_rows(tokens[n].values)[:200] for n in (0, 1)]) / target_scales(normalization)
    np.testing.assert_allclose(usual, np.quantile(said, config.quantiles, axis=0).T, rtol=1e-4, atol=1e-6)
    came = np.concatenate([known_chances(tokens[n], config)[:200] for n in (0, 1)])
    np.testing.assert_allclose(share, came.mean(axis=0), atol=2e-3)
    model = new_model(config)
    model.begin_at(usual, share)
    batch = windows.batch(np.arange(len(windows)))
    with torch.no_grad():
        hidden = model(batch.rows)
        first = model.all_quantiles(hidden, torch.zeros(*hidden.shape[:2], 5))
        np.testing.assert_allclose(first.mean(dim=(0, 1)), usual, atol=0.1)
        np.testing.assert_allclose(torch.sigmoid(model.chances(hidden)).mean(dim=(0, 1)), share, atol=0.02)


def test_the_artifact_comes_back_and_damage_is_named(
    trained: TokenForecaster, tokens: tuple[TokenSeries, ...], tmp_path: Path
) -> None:
    folder = trained.save(tmp_path / "a")
    loaded = pretrain.load(folder)
    assert isinstance(loaded, TokenForecaster) and loaded.hash == trained.hash
    assert loaded.provenance == trained.provenance
    table = loaded.predict(tokens[4])
    assert table.equals(trained.predict(tokens[4])) and list(table.columns) == list(trained.columns)
    assert len(table) == 300 - 15 and table.index[0] == tokens[4].index[15]
    assert (table.iloc[:, :5].diff(axis=1).iloc[:, 1:] > 0).all().all()
    assert table.iloc[:, 5:].stack().between(0, 1).all()
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"format_version": 2}))
    with pytest.raises(ArtifactError, match=r"config\.json does not have the sha256"):
        pretrain.load(folder)
    with pytest.raises(ArtifactError, match="exists and is no artifact"):
        trained.save(tmp_path)


def test_predictions_do_not_know_what_comes(trained: TokenForecaster, tokens: tuple[TokenSeries, ...]) -> None:
    token = tokens[0]
    whole = trained.predict(token)
    for rows in (40, 111, 222):
        cut = replace(token, times=token.times[:rows], values=token.values[:rows], pumps=None)
        np.testing.assert_allclose(trained.predict(cut), whole.iloc[: rows - 15], rtol=1e-5)
    late = replace(token, times=token.times[77:], values=token.values[77:], pumps=None)
    np.testing.assert_allclose(trained.predict(late).iloc[1:], whole.iloc[78:], rtol=1e-4)
    with pytest.raises(SeriesError, match="16"):
        trained.predict(replace(token, times=token.times[:15], values=token.values[:15], pumps=None))
    paths = trained.forecast(token, 50, steps=5, paths=3, seed=1)
    changed = replace(token, values=np.where(np.arange(300)[:, None] > 50, 2.0 * token.values, token.values))
    assert paths.tobytes() == trained.forecast(changed, 50, steps=5, paths=3, seed=1).tobytes()
    with pytest.raises(SeriesError, match="has no row 300; allowed: 0 to 299"):
        trained.forecast(token, 300, steps=1)


def test_it_goes_on_from_a_trained_one(trained: TokenForecaster, tokens: tuple[TokenSeries, ...]) -> None:
    recipe = small_recipe(seed=3)
    further = fit_tokens(tokens, split_tokens(tokens, recipe), recipe, QUIET, start=trained)
    assert further.hash != trained.hash and (further.normalization == trained.normalization).all()
    assert len(further.provenance.data) == 2


def test_recipes_that_ship(tmp_path: Path) -> None:
    design = TokenRecipe.read("tokens")
    assert design == TokenRecipe() and design.training == design_training()
    config = design.architecture
    assert (config.seq_length, config.embed_size, config.nhead, config.dim_feedforward) == (500, 64, 4, 256)
    other = TokenRecipe.read("tokens_trained")
    assert other.architecture.seq_length == 256 and other.world.tokens == other.num_tokens
    other.write(tmp_path / "r.yaml")
    assert TokenRecipe.read(tmp_path / "r.yaml") == other
    with pytest.raises(ConfigError, match="split_fractions"):
        TokenRecipe(split_fractions=(0.5, 0.4, 0.4))
    with pytest.raises(ConfigError, match="split_strategy='random' is not allowed: one of"):
        TokenRecipe(split_strategy="random")


def test_a_window_longer_than_the_tokens_is_refused(tokens: tuple[TokenSeries, ...]) -> None:
    recipe = small_recipe(architecture=small_config(seq_length=300))
    with pytest.raises(SeriesError, match="seq_length=300 is not allowed here: the longest token has 300 rows"):
        split_tokens(tokens, recipe)
