"""Episodes as plain Parquet: `steps.parquet` (a row per observation), `episodes.parquet`, and `about.json`.

The last row of an episode holds what was seen after its last step, and no action.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cryptoenv.env.offline.episode import Episode
from cryptoenv.env.offline.layout import DataLayout, Part
from cryptoenv.files.bounded_json import parse_json
from cryptoenv.files.durable_files import write_file

ABOUT_FILE, STEPS_FILE, EPISODES_FILE = "about.json", "steps.parquet", "episodes.parquet"
OF_STEPS = {"reward": pa.float64(), "terminated": pa.bool_(), "truncated": pa.bool_()}


def _schema(layout: DataLayout) -> pa.Schema:
    columns = [("episode", pa.int32()), ("step", pa.int32())]
    columns += [(part.name, _list_of(part)) for part in layout.parts]
    columns += [("action", pa.int64() if layout.targets else pa.float32()), *OF_STEPS.items()]
    return pa.schema(columns)


def _list_of(part: Part) -> pa.DataType:
    return pa.list_(pa.from_numpy_dtype(np.dtype(part.dtype)), part.size)


def write_parquet(
    folder: Path, layout: DataLayout, episodes: Iterable[Episode], *, said: Callable[[], dict[str, Any]], name: str
) -> None:
    """Write episodes into a folder, one at a time; `said` is asked once they are written. `name` counts for nothing."""
    schema, listed = _schema(layout), []
    with pq.ParquetWriter(folder / STEPS_FILE, schema, compression="zstd") as writer:
        for number, episode in enumerate(episodes):
            writer.write_table(_table(number, episode, layout, schema))
            told = {"policy": episode.policy, "market": episode.market, "start": episode.start, "steps": len(episode)}
            listed.append({"episode": number, **told, "return": float(episode.rewards.sum())})
    with pq.ParquetWriter(folder / EPISODES_FILE, (table := pa.Table.from_pylist(listed)).schema) as writer:
        writer.write_table(table)
    write_file(folder / ABOUT_FILE, json.dumps(said(), indent=1, sort_keys=True))


def _table(number: int, episode: Episode, layout: DataLayout, schema: pa.Schema) -> pa.Table:
    steps = len(episode)
    columns: list[Any] = [np.full(steps + 1, number, np.int32), np.arange(steps + 1, dtype=np.int32)]
    for part in layout.parts:
        values = np.ascontiguousarray(episode.observations[part.name], part.dtype).reshape(-1)
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(values), part.size))
    after = np.arange(steps + 1) == steps
    for values in (episode.actions.reshape(-1), episode.rewards, episode.terminated, episode.truncated):
        columns.append(pa.array(np.append(values, np.zeros(1, values.dtype)), mask=after))
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=schema)


def read_parquet(folder: Path) -> tuple[dict[str, Any], Callable[[DataLayout], Iterator[Episode]]]:
    """What a dataset says of itself, and how its episodes are read.

    Raises:
        ValueError: a damaged file.
    """
    about = parse_json((folder / ABOUT_FILE).read_bytes(), str(folder / ABOUT_FILE))
    if not isinstance(about, dict):
        raise ValueError(f"{folder / ABOUT_FILE} says nothing of a dataset")
    return about, lambda layout: _episodes(folder, layout)


def _episodes(folder: Path, layout: DataLayout) -> Iterator[Episode]:
    try:
        listed = pq.read_table(folder / EPISODES_FILE).to_pylist()
        steps = pq.ParquetFile(folder / STEPS_FILE)
        if steps.schema_arrow != _schema(layout) or steps.num_row_groups != len(listed):
            raise ValueError(f"{folder / STEPS_FILE} does not hold what {ABOUT_FILE} and {EPISODES_FILE} say")
        for number, one in enumerate(listed):
            table = steps.read_row_group(number)
            if len(table) != one["steps"] + 1:
                raise ValueError(f"episode {number} of {folder} has {len(table)} rows, and {one['steps']} steps")
            yield _episode(table, one, layout)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{folder} is damaged: {error}") from error


def _episode(table: pa.Table, one: dict[str, Any], layout: DataLayout) -> Episode:
    def column(name: str) -> NDArray[Any]:
        found: NDArray[Any] = table.column(name).slice(0, one["steps"]).to_numpy()
        return found

    seen = {}
    for part in layout.parts:
        values = table.column(part.name).combine_chunks().flatten().to_numpy(zero_copy_only=False)
        seen[part.name] = values.reshape(-1, *part.shape)
    actions = column("action")
    actions = actions.astype(np.int64) if layout.targets else actions.astype(np.float32)[:, None]
    ends = (column("terminated").astype(np.bool_), column("truncated").astype(np.bool_))
    return Episode(seen, actions, column("reward"), *ends, one["policy"], one["market"], one["start"])
