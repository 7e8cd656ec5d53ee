"""The one reader of YAML: plain values only, and never more of them than the text could reasonably say.

A few hundred bytes of aliases of aliases stand for more values than any memory holds; so do deep nesting and merged
mappings. What the text stands for is counted before any value is made.
"""

import math
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from cryptoenv.files.durable_files import NotRegularError, read_regular

MOST_BYTES = 256 * 1024  #: of a text
MOST_VALUES = 20_000  #: that a text may stand for, each alias counted as all it repeats
MOST_LEVELS = 24  #: of lists and mappings in each other
LONGEST_VALUE = 4_096  #: characters of one key or word
LONGEST_NUMBER = 100
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_MERGE = "tag:yaml.org,2002:merge"


class YamlError(ValueError):
    """A text that is no YAML, or more than a configuration can be; the message names the place."""


def parse_yaml(text: str, where: str) -> Any:
    """The value that `text` stands for: None, words, numbers, lists and mappings.

    Args:
        text: one YAML document.
        where: names the text in messages, e.g. its file.

    Raises:
        YamlError: no YAML, a type of one's own, a key given twice, an alias of what it lies in, a number that is not
            finite or none, or a text beyond `MOST_BYTES`, `MOST_VALUES`, `MOST_LEVELS` or `LONGEST_VALUE`.
    """
    if len(text) > MOST_BYTES:
        raise YamlError(f"{where}: {len(text):,} characters; at most {MOST_BYTES:,} are read")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _Counter(loader, where).require(node)
        return loader.construct_document(node)
    except (yaml.YAMLError, RecursionError) as error:
        raise YamlError(f"{where}: no YAML: {error}") from error
    except YamlError:
        raise
    except (ValueError, TypeError) as error:  # a date of month 13, a set of lists
        raise YamlError(f"{where}: no YAML: a value that cannot be read: {error}") from error


def read_yaml(path: Path) -> Any:
    """The value that a file stands for.

    Raises:
        YamlError: as `parse_yaml`; or the file is a pipe, a device, too large, or no UTF-8.
        OSError: it cannot be read.
    """
    try:
        text = read_regular(path.resolve(), MOST_BYTES).decode("utf-8-sig")
    except NotRegularError as error:
        raise YamlError(str(error)) from error
    except UnicodeDecodeError as error:
        raise YamlError(f"{path}: no YAML: byte {error.start} is no UTF-8") from error
    return parse_yaml(text, str(path))


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which stops at a depth."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._level = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._level += 1
        if self._level > MOST_LEVELS:
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem=f"more than {MOST_LEVELS} levels", problem_mark=mark)
        node = super().compose_node(parent, index)
        self._level -= 1
        return node


class _Counter:
    """Counts what nodes stand for; refuses cycles and doubled keys on the way."""

    def __init__(self, loader: _Loader, where: str) -> None:
        self._loader, self._where = loader, where
        self._counts: dict[int, int] = {}  # by identity of the node; 0 while it is being counted

    def require(self, node: yaml.Node) -> int:
        if (count := self._counts.get(id(node))) is not None:
            if count == 0:
                raise self._refusal(node, "an alias of what it lies in")
            return count
        self._counts[id(node)] = 0
        count = 1
        if isinstance(node, yaml.ScalarNode):
            self._require_short(node)
        elif isinstance(node, yaml.MappingNode):
            self._refuse_doubled(node)
            count += sum(self.require(key) + self.require(value) for key, value in node.value)
        else:
            count += sum(self.require(item) for item in node.value)
        if count > MOST_VALUES:
            raise self._refusal(node, f"with its aliases it stands for more than {MOST_VALUES:,} values")
        self._counts[id(node)] = count
        return count

    def _require_short(self, node: yaml.ScalarNode) -> None:
        number = node.tag in _NUMBERS
        longest = LONGEST_NUMBER if number else LONGEST_VALUE
        if len(node.value) > longest:
            raise self._refusal(node, f"a value of {len(node.value):,} characters, more than {longest:,}")
        if number and not math.isfinite(self._loader.construct_object(node)):
            raise self._refusal(node, f"{node.value!r} is not a finite number")

    def _refuse_doubled(self, node: yaml.MappingNode) -> None:
        seen: set[Hashable] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._refusal(key, "a key that is a list or a mapping")
            name: Hashable = key.tag if key.tag == _MERGE else self._loader.construct_object(key)  # type: ignore[no-untyped-call]
            if name in seen:
                raise self._refusal(key, f"key {key.value[:100]!r} is given twice")
            seen.add(name)

    def _refusal(self, node: yaml.Node, problem: str) -> YamlError:
        mark = node.start_mark
        return YamlError(f"{self._where}: line {mark.line + 1}, column {mark.column + 1}: {problem}")
