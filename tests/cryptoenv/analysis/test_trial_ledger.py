"""Trials are counted once each, whoever writes and whenever one is killed; the verdict uses their number."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from cryptoenv.analysis.trial_ledger import LedgerError, Trial, ledger_beside, read_trials, record_trials, tried
from cryptoenv.analysis.verdict import LEAST_DAYS, verdict


def _trial(number: int, data: str = "btc", sharpe: float | None = 0.1) -> Trial:
    return Trial("tune", data, f"rate={number}", sharpe, 300)


def test_a_trial_counts_once(tmp_path: Path) -> None:
    ledger = ledger_beside(tmp_path / "runs" / "tune")
    assert ledger == tmp_path / "runs" / "trials.jsonl"
    assert tried(ledger, "btc").trials == 0
    assert record_trials(ledger, [_trial(1), _trial(2, sharpe=0.3), _trial(1)]) == 2
    assert record_trials(ledger, [_trial(2), _trial(3, "eth"), _trial(4, sharpe=None)]) == 2
    found = tried(ledger, "btc")
    assert (found.trials, found.kinds) == (3, {"tune": 3})
    assert found.variance == pytest.approx(0.02)
    assert tried(ledger, "eth").variance is None
    assert [t.what for t in read_trials(ledger)] == ["rate=1", "rate=2", "rate=3", "rate=4"]


def test_half_a_line_is_cut_off(tmp_path: Path) -> None:
    ledger = tmp_path / "trials.jsonl"
    record_trials(ledger, [_trial(1), _trial(2)])
    whole = ledger.read_bytes()
    for cut in range(whole.index(b"\n") + 1, len(whole)):
        ledger.write_bytes(whole[:cut])
        assert len(read_trials(ledger)) == 1
    record_trials(ledger, [_trial(3)])
    assert [t.what for t in read_trials(ledger)] == ["rate=1", "rate=3"]


@pytest.mark.parametrize(
    "change",
    [lambda t: t.replace(b"rate=1", b"rate=9"), lambda t: t[t.index(b"\n") + 1 :], lambda t: b"no json\n" + t,
     lambda t: b"[]\n" + t],
)  # fmt: skip
def test_a_changed_ledger_is_refused(tmp_path: Path, change) -> None:
    ledger = tmp_path / "trials.jsonl"
    record_trials(ledger, [_trial(1), _trial(2)])
    ledger.write_bytes(change(ledger.read_bytes()))
    for call in (read_trials, lambda path: record_trials(path, [_trial(3)])):
        with pytest.raises(LedgerError, match="line 1"):
            call(ledger)


def _write_many(ledger: Path, writer: int) -> None:
    for number in range(30):
        record_trials(ledger, [_trial(1000 * writer + number)])


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    ledger = tmp_path / "trials.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(ledger, number)) for number in range(3)]
    for writer in writers:
        writer.start()
    time.sleep(0.05)
    os.kill(writers[0].pid, signal.SIGKILL)  # type: ignore[arg-type]
    for writer in writers:
        writer.join()
    found = {trial.what for trial in read_trials(ledger)}
    assert {f"rate={1000 * w + n}" for w in (1, 2) for n in range(30)} <= found
    before = len(found)
    assert record_trials(ledger, [_trial(n) for n in range(30)]) == 90 - before
    assert len(read_trials(ledger)) == 90


def _days(mean: float, count: int = 500, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0.0, 0.01, count)
    return noise - noise.mean() + mean


def test_verdicts() -> None:
    assert verdict(_days(0.002)).word == "shown"
    assert verdict(_days(-0.002)).word == "refuted"
    assert verdict(_days(0.0002)).word == "not shown"
    short = verdict(_days(0.01, LEAST_DAYS - 1))
    assert short.word == "not shown" and "too short" in short.line
    searched = verdict(_days(0.0014), trials=1000)
    assert searched.word == "not shown" and "deflated Sharpe ratio" in searched.because
    assert "1000 trials" in searched.because and verdict(_days(0.0014)).word == "shown"
    lucky = verdict(_days(0.002), p_values={"random positions": 0.2})
    assert lucky.word == "not shown" and "random positions: p = 0.200" in lucky.because
    assert verdict(np.zeros(100)).word == "not shown" and verdict(np.full(100, -0.001)).word == "refuted"
    assert verdict(_days(-0.002)).figures["minimum_track_record_days"] == "never"
