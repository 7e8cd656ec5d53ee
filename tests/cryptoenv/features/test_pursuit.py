"""The matching pursuit against its definition and scikit-learn; its features against future, history and batching."""

import gzip
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import orthogonal_mp_gram

from cryptoenv.features.pursuit.batch_omp import COMPLETE, DEPENDENT, EXACT, PursuitResult, pursue
from cryptoenv.features.pursuit.dictionary import COSINE, GABOR, SINE, AtomKind, Dictionary, PursuitConfig, dictionary
from cryptoenv.features.pursuit.features import PURSUIT_BOUND, PURSUIT_NAMES, pursuit_features
from tests.naive import orthogonal_matching_pursuit as naive

SMALL = PursuitConfig(window=16, sparsity=5, cycles=(0.5, 1.0, 2.0, 3.0), scales=(2.0, 4.0), gabor_cycles=(0.0, 1.0))
DEFAULT = PursuitConfig()
ENDINGS = {"complete": COMPLETE, "exact": EXACT, "dependent": DEPENDENT}


def walk(bars: int, seed: int) -> np.ndarray:
    """Closes of a random walk with flat stretches, jumps and ticks."""
    rng = np.random.default_rng(seed)
    changes = 0.002 * rng.standard_t(4, bars)
    for first in rng.integers(0, bars, bars // 400):
        changes[first : first + int(rng.integers(5, 120))] = 0.0
    return np.round(30_000.0 * np.exp(np.cumsum(changes)), 2)


def normalised(closes: np.ndarray, bars: int, every: int = 1) -> np.ndarray:
    """Windows as the features see them; flat ones left out."""
    windows = np.lib.stride_tricks.sliding_window_view(np.log(closes), bars)[::every]
    windows = windows - windows.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(windows, axis=1, keepdims=True)
    return (windows / np.where(norms > 0.0, norms, 1.0))[norms[:, 0] > 1e-9]


def kinds_of(atoms: np.ndarray) -> tuple[AtomKind, ...]:
    return (AtomKind(SINE, True, 1.0, float(atoms.shape[1]), 0.0),) * len(atoms)


def own_dictionary(atoms: np.ndarray) -> Dictionary:
    return Dictionary(atoms / np.linalg.norm(atoms, axis=1, keepdims=True), kinds_of(atoms))


def scikit_learn(windows: np.ndarray, words: Dictionary, sparsity: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, k) atoms in the order chosen (-1 after the end) and (n, D) coefficients; one window per call."""
    atoms, coefficients = np.full((len(windows), sparsity), -1), np.zeros((len(windows), len(words.atoms)))
    for n, window in enumerate(windows):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            path = orthogonal_mp_gram(words.gram, words.atoms @ window, n_nonzero_coefs=sparsity, return_path=True)
        path = path.reshape(len(words.atoms), -1)
        seen: set[int] = set()
        for step in range(path.shape[1]):
            new = set(np.flatnonzero(path[:, step]).tolist()) - seen
            if new:
                (atoms[n, step],) = new
                seen |= new
        coefficients[n] = path[:, -1]
    return atoms, coefficients


def dense(result: PursuitResult, count: int) -> np.ndarray:
    out = np.zeros((len(result.atoms), count))
    for n, (atoms, weights) in enumerate(zip(result.atoms, result.coefficients, strict=True)):
        out[n, atoms[atoms >= 0]] = weights[atoms >= 0]
    return out


def differences(
    result: PursuitResult, atoms: np.ndarray, coefficients: np.ndarray, words: Dictionary, windows: np.ndarray
) -> list[str]:
    """Where a result differs from scikit-learn's other than by a tie of two atoms within 1e-12."""
    found = []
    ours = dense(result, len(words.atoms))
    for n in range(len(windows)):
        apart = np.flatnonzero(result.atoms[n] != atoms[n])
        if len(apart):
            margin = naive.pursue(windows[n], words.atoms, int(apart[0]) + 1).margins
            if len(margin) <= apart[0] or margin[apart[0]] > 1e-12:
                found.append(f"window {n}: atoms {result.atoms[n]} against {atoms[n]}")
        elif np.abs(ours[n] - coefficients[n]).max() > 1e-8:
            found.append(f"window {n}: coefficients {np.abs(ours[n] - coefficients[n]).max()} apart")
    return found


def check_against_scikit_learn(windows: np.ndarray, words: Dictionary, sparsity: int) -> None:
    result = pursue(windows, words, sparsity)
    atoms, coefficients = scikit_learn(windows, words, sparsity)
    assert not differences(result, atoms, coefficients, words, windows)


def mixtures(words: Dictionary, count: int, atoms: int, noise: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out = np.zeros((count, words.atoms.shape[1]))
    for row in out:
        row += rng.standard_normal(atoms) @ words.atoms[rng.choice(len(words.atoms), atoms, replace=False)]
        row += noise * rng.standard_normal(len(row))
    return out / np.linalg.norm(out, axis=1, keepdims=True)


@pytest.mark.parametrize(("config", "count"), [(SMALL, 60), (DEFAULT, 12)])
def test_pursuit_is_least_squares_over_greedily_chosen_atoms(config: PursuitConfig, count: int) -> None:
    words = dictionary(config)
    windows = np.concatenate(
        [
            normalised(walk(4000, seed=1), config.window, 3900 // count),
            mixtures(words, count, 3, 0.05, seed=2),
            mixtures(words, count, 2, 0.0, seed=3),
        ]
    )
    result = pursue(windows, words, config.sparsity)
    for n, window in enumerate(windows):
        expected = naive.pursue(window, words.atoms, config.sparsity)
        chosen = len(expected.atoms)
        assert result.atoms[n].tolist() == expected.atoms + [-1] * (config.sparsity - chosen)
        assert result.endings[n] == ENDINGS[expected.ending]
        np.testing.assert_allclose(result.coefficients[n, :chosen], expected.coefficients, rtol=0, atol=1e-10)
        np.testing.assert_allclose(result.energies[n, :chosen], expected.energies, rtol=0, atol=1e-12)
        np.testing.assert_allclose(result.error[n], expected.error, rtol=0, atol=1e-12)
        assert not result.coefficients[n, chosen:].any()
        assert not result.energies[n, chosen:].any()
    assert np.count_nonzero(result.endings == EXACT) > 0
    rebuilt = np.square(windows - result.reconstruct(words)).sum(axis=1)
    np.testing.assert_allclose(rebuilt, result.error, rtol=0, atol=1e-12)


@pytest.mark.parametrize("config", [SMALL, DEFAULT])
def test_pursuit_equals_scikit_learn(config: PursuitConfig) -> None:
    words = dictionary(config)
    check_against_scikit_learn(normalised(walk(6000, seed=4), config.window, 20), words, config.sparsity)
    check_against_scikit_learn(mixtures(words, 100, 6, 0.2, seed=5), words, config.sparsity)
    check_against_scikit_learn(mixtures(words, 50, 2, 0.0, seed=6), words, config.sparsity)


@pytest.mark.slow
def test_pursuit_equals_scikit_learn_on_real_bars(real_data: Path) -> None:
    closes = closes_of(real_data / "binance_spot_BTCUSDT_5m_20230101_20240906.csv.gz")
    check_against_scikit_learn(normalised(closes, DEFAULT.window, 18), dictionary(DEFAULT), DEFAULT.sparsity)


def test_pursuit_equals_scikit_learn_on_some_real_bars(real_data: Path) -> None:
    closes = closes_of(real_data / "binance_spot_BTCUSDT_5m_20230101_20240906.csv.gz")
    check_against_scikit_learn(normalised(closes, DEFAULT.window, 600), dictionary(DEFAULT), DEFAULT.sparsity)


def test_the_comparison_finds_planted_differences() -> None:
    words = dictionary(SMALL)
    windows = normalised(walk(400, seed=7), SMALL.window, 20)
    atoms, coefficients = scikit_learn(windows, words, SMALL.sparsity)
    result = pursue(windows, words, SMALL.sparsity)
    assert not differences(result, atoms, coefficients, words, windows)
    moved = coefficients.copy()
    moved[3, atoms[3, 0]] += 1e-7
    assert len(differences(result, atoms, moved, words, windows)) == 1
    swapped = atoms.copy()
    swapped[5, 2] = (atoms[5, 2] + 1) % len(words.atoms)
    assert len(differences(result, swapped, coefficients, words, windows)) == 1


def test_of_equal_atoms_the_lowest_is_chosen() -> None:
    words = own_dictionary(np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]))
    result = pursue(np.array([[1.0, -1.0, 0.0], [0.5, 0.5, 0.5]]), words, 3)
    assert result.atoms.tolist() == [[1, 2, -1], [0, 1, 2]]
    assert result.endings.tolist() == [EXACT, COMPLETE]
    assert result.coefficients.tolist() == [[-1.0, 1.0, 0.0], [0.5, 0.5, 0.5]]


def test_a_dependent_atom_ends_the_pursuit_as_in_scikit_learn() -> None:
    words = own_dictionary(np.array([[1.0, 0.0, 0.0], [1.0, 1e-9, 0.0], [0.0, 0.0, 1.0]]))
    windows = np.array([[1.0, 100.0, 0.0], [1.0, 100.0, 1.0], [1.0, 0.0, 1.0]])
    result = pursue(windows, words, 3)
    atoms, coefficients = scikit_learn(windows, words, 3)
    assert result.atoms.tolist() == atoms.tolist() == [[1, -1, -1], [1, 2, -1], [0, 2, -1]]
    np.testing.assert_allclose(dense(result, 3), coefficients, rtol=0, atol=1e-12)
    assert result.endings.tolist() == [DEPENDENT, DEPENDENT, EXACT]
    assert result.dependent == 2


def test_nothing_is_chosen_for_an_empty_window() -> None:
    result = pursue(np.zeros((2, SMALL.window)), dictionary(SMALL), 3)
    assert (result.atoms == -1).all()
    assert not result.coefficients.any()
    assert not result.error.any()
    assert result.endings.tolist() == [EXACT, EXACT]


def same(one: PursuitResult, other: PursuitResult) -> bool:
    return all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in one.__dataclass_fields__)


def test_batches_single_windows_and_threads_give_the_same_bits() -> None:
    words = dictionary(DEFAULT)
    windows = normalised(walk(700, seed=8), DEFAULT.window)
    whole = pursue(windows, words, 8)
    assert same(whole, pursue(windows, words, 8, threads=2))
    assert same(whole, pursue(windows, words, 8, threads=7))
    assert same(whole, pursue(np.asfortranarray(windows), words, 8))
    for n in range(0, len(windows), 37):
        one = pursue(windows[n : n + 1], words, 8)
        rows = slice(n, n + 1)
        parts = [getattr(whole, name)[rows] for name in one.__dataclass_fields__]
        assert same(one, PursuitResult(*parts))
    fewer = pursue(windows, words, 5)
    assert fewer.atoms.tobytes() == np.ascontiguousarray(whole.atoms[:, :5]).tobytes()
    assert fewer.energies.tobytes() == np.ascontiguousarray(whole.energies[:, :5]).tobytes()


def test_features_equal_their_table() -> None:
    closes = walk(1500, seed=9)
    words = dictionary(SMALL)
    table = pursuit_features(closes, SMALL)
    for t in range(SMALL.window - 1, len(closes), 11):
        expected = naive.features(closes[t - SMALL.window + 1 : t + 1].tolist(), words.atoms, words.kinds, 5)
        np.testing.assert_allclose(table[t], expected, rtol=0, atol=1e-6, err_msg=f"bar {t}")


def test_features_of_a_bar_depend_on_its_window_alone() -> None:
    closes = walk(900, seed=10)
    table = pursuit_features(closes, DEFAULT)
    assert not table[: DEFAULT.window - 1].any()
    assert table.tobytes() == pursuit_features(closes, DEFAULT, threads=3).tobytes()
    rng = np.random.default_rng(11)
    for t in rng.integers(DEFAULT.window - 1, len(closes) - 1, 60):
        window = closes[t - DEFAULT.window + 1 : t + 1]
        assert pursuit_features(window, DEFAULT)[-1].tobytes() == table[t].tobytes()
        poisoned = closes.copy()
        poisoned[t + 1 :] *= np.exp(0.01 * rng.standard_normal(len(closes) - t - 1))
        poisoned[: t - DEFAULT.window + 1] = 1.0
        assert pursuit_features(poisoned, DEFAULT)[t].tobytes() == table[t].tobytes()
        touched = closes.copy()
        touched[t] *= 1.001
        assert pursuit_features(touched, DEFAULT)[t].tobytes() != table[t].tobytes(), "the poison must reach its bar"


def test_flat_windows_read_zero_and_nothing_leaves_the_bounds() -> None:
    flat = pursuit_features(np.full(200, 1234.567), DEFAULT)
    assert not flat.any()
    tick = np.full(200, 0.00001234)
    tick[100] = 0.00001235
    spikes = np.concatenate([np.full(100, 1e-300), np.full(100, 1e300), np.tile([1.0, np.nextafter(1.0, 2.0)], 100)])
    for closes in (tick, spikes, np.geomspace(1e-8, 1e8, 300)):
        table = pursuit_features(closes, DEFAULT)
        assert np.isfinite(table).all()
        assert np.abs(table).max() <= PURSUIT_BOUND
    table = pursuit_features(tick, DEFAULT)
    assert not table[:100].any()
    assert table[100:163].any(axis=1).all()
    assert not table[164:].any()


def test_features_name_what_is_there() -> None:
    bars = np.arange(DEFAULT.window)
    middle = (bars - bars.mean()) / DEFAULT.window
    read = {}
    for name, shape in (
        ("rising", middle),
        ("falling", -middle),
        ("hill", np.cos(np.pi * middle)),
        ("wave", np.sin(2 * np.pi * 3 * middle)),
        ("bump", np.exp(-0.5 * (bars - 63.0) ** 2 / 16.0)),
        ("zigzag", np.sin(2 * np.pi * 16 * middle)),
    ):
        read[name] = dict(zip(PURSUIT_NAMES, pursuit_features(np.exp(0.01 * shape), DEFAULT)[-1], strict=True))
    assert read["rising"]["trend"] > 1.0
    assert read["falling"]["trend"] < -1.0
    assert read["rising"]["end_slope"] > 0.1
    assert read["hill"]["arch"] == pytest.approx(2.0, abs=1e-6)
    assert read["hill"]["cosine_slow"] == pytest.approx(2.0, abs=1e-6)
    assert read["wave"]["sine_medium"] == pytest.approx(4.0, abs=1e-6)
    assert read["wave"]["error"] == pytest.approx(-2.0, abs=1e-6)
    assert read["bump"]["recent"] == pytest.approx(1.0, abs=1e-6)
    assert read["bump"]["end_level"] > 3.0
    assert read["zigzag"]["pace"] > 3.0
    assert read["rising"]["stretch"] > read["zigzag"]["stretch"]


def closes_of(path: Path) -> np.ndarray:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        column = file.readline().strip().split(",").index("close")
        return np.array([float(line.split(",")[column]) for line in file])


@pytest.mark.parametrize("name", ["AMPUSDT_5m_2024", "PEPEUSDT_5m_2024", "BTCUSDT_1d_to_20241229"])
def test_real_bars_give_finite_features_of_order_one(real_data: Path, name: str) -> None:
    table = pursuit_features(closes_of(real_data / f"binance_spot_{name}.csv.gz"), DEFAULT)[DEFAULT.window - 1 :]
    assert np.isfinite(table).all()
    assert np.abs(table).max() <= PURSUIT_BOUND
    assert (table.std(axis=0) > 0.1).all()
    assert (table.std(axis=0) < 2.0).all()


def test_the_dictionary_is_what_its_page_says() -> None:
    words = dictionary(DEFAULT)
    assert dictionary(PursuitConfig()) is words
    assert words.atoms.shape == (160, 64)
    np.testing.assert_allclose(np.linalg.norm(words.atoms, axis=1), 1.0, rtol=0, atol=1e-14)
    np.testing.assert_allclose(words.atoms.sum(axis=1), 0.0, rtol=0, atol=1e-13)
    np.testing.assert_allclose(words.gram, words.atoms @ words.atoms.T, rtol=0, atol=1e-14)
    assert np.abs(words.gram - np.eye(160)).max() < 1.0 - 1e-6, "no atom twice"
    assert {kind.family for kind in words.kinds} == {SINE, COSINE, GABOR}
    for kind, atom in zip(words.kinds, words.atoms, strict=True):
        if kind.family != GABOR:
            np.testing.assert_allclose(atom[::-1], -atom if kind.odd else atom, rtol=0, atol=1e-13)
    gabor = words.kinds.index(AtomKind(GABOR, False, 1.0, 16.0, 31.0))
    u = np.arange(64) - 31.0
    expected = np.exp(-0.5 * (u / 4.0) ** 2) * np.cos(2 * np.pi * u / 16.0)
    expected -= expected.mean()
    np.testing.assert_allclose(words.atoms[gabor], expected / np.linalg.norm(expected), rtol=0, atol=1e-13)
    with pytest.raises(ValueError, match="read-only"):
        words.atoms[0, 0] = 1.0


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"window": 4}, "window is 4"),
        ({"window": 64.0}, "window is 64.0"),
        ({"sparsity": 0}, "sparsity is 0"),
        ({"window": 20, "sparsity": 20, "cycles": (1.0, 2.0)}, "sparsity is 20"),
        ({"cycles": (0.5, 32.0)}, "cycles holds 32"),
        ({"cycles": (0.1,)}, "cycles holds 0.1"),
        ({"cycles": (2.0, 2.0)}, "repeats"),
        ({"scales": (0.5,)}, "scales holds 0.5"),
        ({"scales": (float("nan"),)}, "scales holds nan"),
        ({"gabor_cycles": (8.0,)}, "gabor_cycles holds 8"),
        ({"cycles": (), "scales": ()}, r"number of atoms \(0\)"),
    ],
)
def test_a_config_that_makes_no_dictionary_is_refused(fields: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        PursuitConfig(**fields)


def test_errors_name_what_was_wrong() -> None:
    words = dictionary(SMALL)
    windows = np.zeros((3, 16))
    windows[2, 5] = np.nan
    with pytest.raises(ValueError, match=r"windows\[2, 5\] is nan"):
        pursue(windows, words, 2)
    with pytest.raises(ValueError, match=r"windows\[0, 0\] is -1e\+200"):
        pursue(np.full((3, 16), -1e200), words, 2)
    with pytest.raises(ValueError, match=r"shape \(3, 15\); allowed: \(n, 16\)"):
        pursue(windows[:, :15], words, 2)
    with pytest.raises(ValueError, match="sparsity is 17; allowed: 1 to 16"):
        pursue(np.zeros((3, 16)), words, 17)
    with pytest.raises(ValueError, match="threads is 0"):
        pursue(np.zeros((3, 16)), words, 2, threads=0)
    with pytest.raises(ValueError, match=r"closes\[1\] is 0.0"):
        pursuit_features(np.array([1.0, 0.0]), SMALL)
    with pytest.raises(ValueError, match="closes have shape"):
        pursuit_features(np.ones((5, 2)), SMALL)
    with pytest.raises(ValueError, match="atom 1 has norm"):
        Dictionary(np.array([[1.0, 0.0], [1.0, 1.0]]), kinds_of(np.ones((2, 2))))
    with pytest.raises(ValueError, match=r"shape \(1, 2\)"):
        Dictionary(np.array([[1.0, 0.0]]), kinds_of(np.ones((2, 2))))


def test_a_series_shorter_than_the_window_has_no_features() -> None:
    assert pursuit_features(np.ones(0), DEFAULT).shape == (0, len(PURSUIT_NAMES))
    assert not pursuit_features(walk(63, seed=1), DEFAULT).any()


DIGEST = """
import hashlib
import numpy as np
from cryptoenv.features.dictionary import PursuitConfig, dictionary
from cryptoenv.features.pursuit import pursue
from cryptoenv.features.pursuit_features import pursuit_features
config = PursuitConfig(window=21, sparsity=6, cycles=(0.5, 1.0, 2.0, 3.0), scales=(2.0, 4.0), gabor_cycles=(0.0, 1.0))
closes = 100.0 * np.exp(np.cumsum(0.01 * np.random.default_rng(0).standard_normal(33)))
windows = np.random.default_rng(1).standard_normal((4, 21))
result = pursue(windows, dictionary(config), 6)
parts = [pursuit_features(closes, config), *(getattr(result, n) for n in result.__dataclass_fields__)]
print(hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest())
"""


def test_jitted_and_plain_python_give_the_same_bytes() -> None:
    digests = set()
    for disabled in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", DIGEST],
            cwd=Path(__file__).resolve().parents[3],
            env={**os.environ, "NUMBA_DISABLE_JIT": disabled},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout.strip())
    assert len(digests) == 1


def test_the_chart_shows_window_reconstruction_and_atoms() -> None:
    from cryptoenv.rendering.pursuit_chart import plot_pursuit

    words = dictionary(DEFAULT)
    window = normalised(walk(64, seed=12), 64)[0]
    result = pursue(window[None], words, 4)
    top, *rows = plot_pursuit(window, words, 4).axes
    shown, fit = (line.get_ydata() for line in top.lines)
    np.testing.assert_array_equal(shown, window)
    np.testing.assert_allclose(fit, result.reconstruct(words)[0], rtol=0, atol=1e-14)
    np.testing.assert_allclose(sum(row.lines[0].get_ydata() for row in rows), fit, rtol=0, atol=1e-12)
    assert [row.texts[0].get_text().split(":")[0] for row in rows] == [str(words.kinds[i]) for i in result.atoms[0]]
    figure = plot_pursuit(np.zeros(64), words, 4)
    figure.canvas.draw()
    assert len(figure.axes) == 1
