"""While functions compile the collector rests, nothing is made for C, and a long compilation says so once."""

import gc
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from synthetic import jit_compiling
from synthetic.jit_compiling import NOTICE, _Compiling


def event(module: str) -> Any:
    dispatcher = SimpleNamespace(py_func=SimpleNamespace(__module__=module), targetoptions={})
    return SimpleNamespace(data={"dispatcher": dispatcher})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that is read, as the first of a list."""
    now = [100.0]
    monkeypatch.setattr(jit_compiling.time, "perf_counter", lambda: now[0])
    return now


@pytest.mark.parametrize("collects", [True, False])
def test_the_collector_rests_and_is_as_it_was(collects: bool) -> None:
    listener, outer, inner = _Compiling(), event("cryptoenv.env"), event("numba.core")
    try:
        if not collects:
            gc.disable()
        listener.on_start(outer)
        listener.on_start(inner)
        assert not gc.isenabled()
        listener.on_end(inner)
        assert not gc.isenabled(), "the outer one is still compiling"
        listener.on_end(outer)
        assert gc.isenabled() is collects
    finally:
        gc.enable()
    assert outer.data["dispatcher"].targetoptions == {"no_cfunc_wrapper": True}
    assert inner.data["dispatcher"].targetoptions == {}, "other packages' functions are left as they are"


def test_other_packages_compile_as_ever(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    listener, theirs = _Compiling(), event("other.package")
    with caplog.at_level(logging.INFO, "cryptoenv"):
        listener.on_start(theirs)
        assert gc.isenabled()
        clock[0] += 10.0
        listener.on_end(theirs)
        listener.on_start(theirs)
        listener.on_end(theirs)
    assert not caplog.messages


def test_a_long_compilation_says_so_once(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    listener, own = _Compiling(), event("cryptoenv.features")
    with caplog.at_level(logging.INFO, "cryptoenv"):
        for told in (0, 0, 1, 1):
            listener.on_start(own)
            clock[0] += 0.3
            listener.on_end(own)
            assert len(caplog.messages) == told
    assert caplog.messages == [NOTICE]


def test_a_terminal_is_told_where_nobody_logs(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for terminal in (False, True):
        monkeypatch.setattr(jit_compiling.sys.stderr, "isatty", lambda terminal=terminal: terminal, raising=False)
        listener, own = _Compiling(), event("synthetic.regimes")
        for _ in range(3):
            listener.on_start(own)
            clock[0] += 0.3
            listener.on_end(own)
        assert capsys.readouterr().err == (f"{NOTICE}\n" if terminal else "")
