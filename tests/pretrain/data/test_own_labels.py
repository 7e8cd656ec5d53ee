"""A user's own labels: joined where they belong, learned by heads that know the classes by name, refused by row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import pretrain
from agents.command_line import main
from cryptoenv.market.market import Market
from pretrain import Extractor, FitOptions, Recipe, fit_extractor
from pretrain.data.own_labels import LabelsError, classes_of, labelled_market, labelled_spans
from pretrain.data.splits import Span
from pretrain.data.windows import WindowDataset
from tests.pretrain.conftest import WINDOW, planted, random_bars, small_config, small_training

QUIET = FitOptions(progress=False)
Frame = pd.DataFrame


def table(market: Market, **columns: object) -> Frame:
    return pd.DataFrame(columns, index=market.bars.index)


def trend(market: Market) -> np.ndarray:
    """ "up", "down" by the mean of a feature over the last 4 bars, "" (no label) in every third row."""
    long = planted(market).labels[:, 0] == 2
    return np.where(np.arange(len(market)) % 3 == 0, "", np.where(long, "up", "down"))


def test_classes_stand_beside_the_bar_that_opens_then(markets: tuple[Market, ...], tmp_path: Path) -> None:
    market = markets[0]
    words = trend(market)
    frame = table(market, trend=words)
    frame.iloc[::-1].to_csv(tmp_path / "labels.csv")  # any order
    frame.reset_index().to_parquet(tmp_path / "labels.parquet")
    for given in (frame, frame["trend"], tmp_path / "labels.csv", tmp_path / "labels.parquet"):
        item = pretrain.labelled_market(market, given)
        (column,) = item.columns
        assert (column.name, column.classes) == ("trend", ("down", "up"))
        found = [column.classes[int(value)] if value == value else "" for value in column.values]
        assert found == words.tolist()
        assert (item.labels == -1).all()
        first = market.first_decision(WINDOW)
        assert item.decisions(WINDOW).tolist() == [t for t in range(first, len(market)) if words[t]]


def test_labels_of_a_longer_timeframe_are_said_at_their_bars_close(markets: tuple[Market, ...]) -> None:
    market = markets[0]
    opens = market.bars.index[market.bars.index.hour % 4 == 0][3:60]
    slow = pd.DataFrame({"trend_4h": np.where(np.arange(57) % 2, "up", "down")}, index=opens)
    (column,) = labelled_market(market, slow).columns
    assert market.bars.index[np.flatnonzero(column.known)].equals(opens + pd.Timedelta("3h"))
    every = table(market, trend_4h=np.where(np.arange(len(market)) % 2, "up", "down"))  # a label in every hour
    assert labelled_market(market, every).columns[0].known.all()
    with pytest.raises(LabelsError, match=r"row 5 .*column 'trend_4h': no bar of 4h opens then"):
        labelled_market(market, slow.set_axis(opens.where(np.arange(57) != 5, opens + pd.Timedelta("1h"))))


def test_what_stands_in_a_column_says_what_it_is(markets: tuple[Market, ...]) -> None:
    market, count = markets[0], len(markets[0])
    rng = np.random.default_rng(1)
    exposure = rng.choice([-1.0, 0.0, 1.0], count)
    numbers = rng.normal(size=count)
    item = labelled_market(
        market,
        table(
            market, regime=rng.integers(0, 4, count), exposure=exposure, target_size=rng.uniform(-1, 1, count),
            ahead=numbers, up=numbers > 0,
        ),
    )  # fmt: skip
    classes = {column.name: column.classes for column in item.columns}
    assert classes == {
        "regime": ("0", "1", "2", "3"), "exposure": ("-1", "0", "1"), "target_size": (), "ahead": (),
        "up": ("False", "True"),
    }  # fmt: skip
    assert np.array_equal(item.labels, np.repeat((exposure + 1).astype(np.int8)[:, None], 3, axis=1))
    assert np.array_equal(item.columns[3].values, numbers.astype(np.float32))
    halves = labelled_market(market, table(market, target=np.where(numbers > 0, 0.6, -0.2)))
    assert sorted(set(halves.labels.ravel().tolist())) == [1, 2]  # the nearest position


def refused(market: Market, frame: Frame, message: str, **more: object) -> None:
    with pytest.raises(LabelsError, match=message):
        labelled_market(market, frame, **more)  # type: ignore[arg-type]


def test_what_cannot_be_learned_is_named_by_row_and_column(markets: tuple[Market, ...], tmp_path: Path) -> None:
    market = markets[0]
    good = table(market, trend=trend(market))
    index = pd.DatetimeIndex(good.index)

    def at(row: int, moment: pd.Timestamp) -> Frame:
        return good.set_axis(index.where(np.arange(len(index)) != row, moment))

    refused(market, at(10, index[10] + pd.Timedelta("7min")), r"row 10 \(2020-01-01T10:07.*'trend': no bar of 1h opens")
    refused(market, at(10, index[11]), r"row 11 .*column 'trend': this time is there twice")
    refused(market, at(10, index[-1] + pd.Timedelta("1h")), r"row 10 .*'trend': this bar is not within the bars")
    refused(market, at(10, index[0] - pd.Timedelta("1h")), r"row 10 .*'trend': this bar is not within the bars")
    refused(market, table(market, trend="up"), r"column 'trend': all 1920 labels are 'up'; nothing is learned")
    refused(market, table(market, trend=[None] * len(market)), r"column 'trend' holds no label at all")
    refused(market, good.assign(exposure=2.0).assign(exposure=[2.0] + [1.0] * (len(good) - 1)), "exposure 2 is beyond")
    refused(market, good, r"row 1 .*'trend': class '(up|down)' is unknown; .*\['flat'\]", classes={"trend": ("flat",)})
    refused(market, good, r"column 'other' is missing", classes={"other": ("a", "b")})
    refused(market, good.reset_index(drop=True), "no column of times")
    refused(market, good[[]], "no column of labels")
    numbers = table(market, ahead=np.where(np.arange(len(market)) == 7, np.inf, np.linspace(0, 1, len(market))))
    refused(market, numbers, r"row 7 .*column 'ahead': inf is no finite number")
    with pytest.raises(LabelsError, match=r"x\.csv: .*not a table"):
        (tmp_path / "x.csv").write_bytes(b"\x00\x01")
        labelled_market(market, tmp_path / "x.csv")
    with pytest.raises(FileNotFoundError):
        labelled_market(market, tmp_path / "absent.csv")
    with pytest.raises(LabelsError, match="market 0 has no label from 2020-01-01"):
        labelled_spans([labelled_market(market, good.iloc[200:])], [Span(0, 0, 150)])


def heads(markets: tuple[Market, ...], config: pretrain.ExtractorConfig, steps: int = 120) -> Extractor:
    """An extractor of two columns of classes and one of numbers, all planted in what features show."""
    rows = [planted(m).labels[:, 0] == 2 for m in markets]
    numbers = [np.where(long, 5.0, 3.0) + np.linspace(0, 0.1, len(long)) for long in rows]
    items = [
        labelled_market(m, table(m, trend=trend(m), side=np.where(long, "long", "short"), ahead=values))
        for m, long, values in zip(markets, rows, numbers, strict=True)
    ]
    return fit_extractor(items[:2], items[2:], config, small_training(steps=steps), seed=3, options=QUIET)


@pytest.mark.parametrize("memory", [0, 8])
def test_heads_learn_their_columns_and_the_artifact_knows_the_classes(
    markets: tuple[Market, ...], tmp_path: Path, memory: int
) -> None:
    extractor = heads(markets, small_config(memory=memory), 120 if memory == 0 else 8)
    metrics = extractor.provenance.metrics
    assert "validation/action" not in metrics  # nothing was said of actions
    if memory == 0:
        assert metrics["validation/accuracy_trend"] > 0.9
        assert metrics["validation/accuracy_side"] > 0.9
        assert metrics["validation/label_ahead"] < 0.1
    loaded = Extractor.load(extractor.save(tmp_path / "artifact"))
    assert loaded.hash == extractor.hash
    assert loaded.config.label_columns == ("trend", "side", "ahead")
    assert loaded.config.label_classes == (("down", "up"), ("long", "short"), ())
    assert loaded.provenance.label_kind == "own labels: trend, side, ahead"
    embeddings = torch.from_numpy(loaded.embed(markets[2])[-50:])
    said = loaded.model.predict(embeddings).labels
    assert [tuple(logits.shape) for logits in said] == [(50, 2), (50, 2), (50, 1)]
    if memory == 0:
        centre, spread = loaded.config.label_scales[2]
        long = planted(markets[2]).labels[-51:-1, 0] == 2
        told = loaded.model.predict(torch.from_numpy(loaded.embed(markets[2])[-51:-1])).labels[2]
        assert ((told.detach().numpy()[:, 0] * spread + centre > 4.0) == long).mean() > 0.85


def test_rare_labels_train_a_memory_where_they_stand(markets: tuple[Market, ...]) -> None:
    """One label in 16 bars: every decision that is read in full has one."""
    from pretrain.data.stretches import ROWS, OrderedStretches, StretchDataset

    words = np.where(np.arange(len(markets[0])) % 16 == 5, trend(markets[0]), "")
    item = labelled_market(markets[0], table(markets[0], trend=words))
    dataset = WindowDataset([item], WINDOW, (4,), whole=True)
    assert (np.diff(dataset.t) == 1).all()
    for batch in OrderedStretches(StretchDataset(dataset), 64):
        known = (~batch.decisions.columns.isnan()).reshape(-1, ROWS)
        assert known.float().mean() > 0.6  # two thirds of those rows have a label at all


def test_what_was_made_without_labels_keeps_its_hash() -> None:
    assert Extractor.load("default").provenance.recipe == Recipe.read("default").digest
    assert "label_columns" not in Recipe.read("default").text()


def test_another_heads_classes_are_refused(markets: tuple[Market, ...]) -> None:
    start = heads(markets, small_config(), 2)
    items = [labelled_market(m, table(m, trend=trend(m))) for m in markets]
    with pytest.raises(pretrain.ConfigError, match=r"label_columns=.*'trend', 'side', 'ahead'.*the labels have"):
        fit_extractor(items[:2], items[2:], None, small_training(steps=2), options=QUIET, start=start)
    assert classes_of(items[0]) == {"trend": ("down", "up")}
    other = labelled_market(markets[1], table(markets[1], trend=np.char.upper(trend(markets[1]))))
    with pytest.raises(ValueError, match="labels of market 1 have the classes"):
        fit_extractor([items[0], other], items[2:], small_config(), small_training(steps=2), options=QUIET)


def test_the_command_learns_from_files(
    markets: tuple[Market, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = fit_extractor(
        [planted(markets[0])], [planted(markets[1])], small_config(), small_training(steps=2), options=QUIET
    )
    start.save(tmp_path / "start")
    files: list[str] = []
    for seed in (0, 1):
        random_bars(seed).to_csv(tmp_path / f"bars{seed}.csv")
        table(markets[seed], regime=trend(markets[seed])).to_csv(tmp_path / f"labels{seed}.csv")
        files += ["--bars", str(tmp_path / f"bars{seed}.csv"), "--labels", str(tmp_path / f"labels{seed}.csv")]
    run = ["pretrain", *files, "--start", str(tmp_path / "start"), "--out", str(tmp_path / "run"), "--steps", "4"]
    assert main(run) == 0
    said = capsys.readouterr().out
    assert "labels labels0.csv: regime: 1,280 of 1,920 bars, classes down, up" in said
    assert "validation/accuracy_regime" in said
    made = Extractor.load(tmp_path / "run" / "artifact")
    assert made.config.label_classes == (("down", "up"),)
    assert made.provenance.label_kind == "planted, then own labels: regime"
    assert Recipe.read(tmp_path / "run" / "recipe.yaml").teacher == "labels"
    words = trend(markets[1]).astype(object)
    words[-1] = "sideways"
    table(markets[1], regime=words).to_csv(tmp_path / "labels1.csv")
    assert main([*run[:-4], "--out", str(tmp_path / "other")]) == 2
    assert "labels1.csv: row 1919" in (error := capsys.readouterr().err)
    assert "class 'sideways' is unknown; the other labels have ['down', 'up']" in error
    assert main([*run[:7], "--out", str(tmp_path / "other")]) == 2
    assert "give each bars file its labels" in capsys.readouterr().err
    assert main(["pretrain", "--labels", files[3], "--out", str(tmp_path / "other")]) == 2
    assert "--labels needs --bars" in capsys.readouterr().err
    replace(Recipe.read("easy"), teacher="labels").write(tmp_path / "own.yaml")
    assert main(["pretrain", "--recipe", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "other")]) == 2
    assert "give --bars and --labels" in capsys.readouterr().err
