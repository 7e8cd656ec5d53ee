"""Files are written by `cryptoenv.files.durable_files`, whole or not at all: held over every module by its syntax."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("synthetic", "cryptoenv", "pretrain", "agents", "benchmarks")
WRITES = frozenset(("write_text", "write_bytes", "savefig", "save_file", "savez", "to_pickle"))
OF_MODULES = frozenset(("np.save", "torch.save", "json.dump", "pickle.dump"))
ONTO_A_PATH = frozenset(("to_csv", "to_parquet"))  #: they give text where they get no path
#: Functions that write to a temporary of `durable_files`, to memory, or to what no reader reads: and why.
ALLOWED = {
    ("cryptoenv/env/saved_state.py", "to_bytes"): "to memory",
    ("cryptoenv/files/durable_files.py", "write_figure"): "to memory",
    ("cryptoenv/files/durable_files.py", "_write_bytes"): "the one that writes",
    ("cryptoenv/market/files.py", "make"): "into the folder of write_folder",
    ("cryptoenv/store/export.py", "export_rows"): "to memory",
    ("pretrain/fitting/artifact_folder.py", "make"): "into the folder of write_folder",
    ("pretrain/fitting/generations.py", "make"): "into the folder of save_generation",
    ("pretrain/extractor/embedding_cache.py", "cached_embeddings"): "to the file of make_file",
    ("pretrain/extractor/embedding_cache.py", "keep_part"): "to the file of make_file",
    ("pretrain/forecaster/onnx_file.py", "export_onnx"): "to the file of make_file",
    ("pretrain/tokens/hdf5_store.py", "write_normalization"): "to memory",
    ("agents/evaluation/backtest/judgement.py", "write_backtest"): "into the folder of write_new_folder",
    ("agents/training/walk_forward.py", "_train_all"): "to the file of make_file",
    ("agents/algorithms/fitted_q.py", "fill"): "into the folder of write_folder",
    ("agents/training/checkpoint.py", "fill"): "into the folder of save_generation",
    ("agents/live/dashboard/serving.py", "_write_key"): "to the file of make_file",
    ("agents/commands/synth.py", "fill"): "into the folder of write_new_folder",
    ("agents/commands/synth.py", "_write"): "into the folder of write_new_folder",
    ("agents/commands/signal.py", "signal"): "to the file of write_new_file",
    ("agents/commands/data_clean.py", "clean_file"): "to the file of write_new_file",
    ("synthetic/jit_cache.py", "drop_stale_cache"): "a stamp; one that is cut short counts as none",
    ("benchmarks/support/segmentation_collected.py", "keep_run"): "to memory",
    ("benchmarks/vectorbt_parity.py", "save_episode"): "into a temporary folder",
    ("benchmarks/evaluation.py", "vectorbts"): "into a temporary folder",
    ("benchmarks/market_build.py", "report_peak"): "to the kernel",
    ("benchmarks/features.py", "_peak"): "to the kernel",
}


def writers(tree: ast.AST, function: str = "") -> Iterator[tuple[str, int, str]]:
    """Enclosing function, line and name of every call that writes a file by itself."""
    for node in ast.iter_child_nodes(tree):
        inside = node.name if isinstance(node, ast.FunctionDef) else function
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            of_module = f"{getattr(getattr(node.func, 'value', None), 'id', '')}.{name}"
            opened = name == "open" and any(_writes(a) for a in node.args[1:])
            onto_a_path = name in ONTO_A_PATH and bool(node.args)
            if name in WRITES or onto_a_path or opened or of_module in OF_MODULES:
                yield inside, node.lineno, name
        yield from writers(node, inside)


def _writes(argument: ast.expr) -> bool:
    mode = getattr(argument, "value", None)
    return isinstance(mode, str) and mode in ("w", "wb", "wt", "a", "ab", "at", "x", "xb", "xt")


def found_in(package: str) -> Iterator[tuple[str, str, int, str]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for function, line, call in writers(ast.parse(path.read_text("utf-8"))):
            yield name, function, line, call


@pytest.mark.parametrize("package", PACKAGES)
def test_files_are_written_whole(package: str) -> None:
    alone = [f"{name}:{line} {call}" for name, where, line, call in found_in(package) if (name, where) not in ALLOWED]
    assert not alone, "write with cryptoenv.files.durable_files: " + ", ".join(alone)


def test_all_that_is_allowed_is_there() -> None:
    found = {(name, where) for package in PACKAGES for name, where, _, _ in found_in(package)}
    assert found == set(ALLOWED)


@pytest.mark.parametrize(
    "source",
    [
        "Path('a').write_text('b')", "figure.savefig('a.png')", "table.to_csv('a.csv')", "open('a', 'wb').write(b'')",
        "np.save('a', b)", "torch.save(a, 'b')", "json.dump(a, file)", "save_file(a, 'b')",
    ],
)  # fmt: skip
def test_a_planted_writer_is_found(source: str) -> None:
    assert list(writers(ast.parse(source)))


@pytest.mark.parametrize("source", ["table.to_csv()", "open('a')", "open('a', 'rb')", "write_file(a, b)"])
def test_reading_and_text_are_left_alone(source: str) -> None:
    assert not list(writers(ast.parse(source)))
