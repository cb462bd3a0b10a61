"""Long work tells how far it is, how long it will still take, and what it has to note."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from calbench.report import TerminalProgress
from calbench.report import _progress as progress


@pytest.mark.parametrize("terminal", [False, True], ids=["log", "terminal"])
def test_a_note_such_as_the_loss_stands_beside_the_speed_and_the_time_left(monkeypatch, terminal):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    console = Console(file=io.StringIO(), force_terminal=terminal, width=160)
    with TerminalProgress(console).step("train", 80) as advance:
        advance(8, "loss 0.693")
    text = console.file.getvalue()
    assert "items/s, loss 0.693" in text
    assert "8/80" in text
    assert terminal or "s left" in text


def test_nothing_done_yet_has_no_speed(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: 1.0)  # a clock too coarse to have moved
    console = Console(file=io.StringIO(), width=160)
    with TerminalProgress(console).step("train", 80) as advance:
        advance(0)
        advance(8)
    text = console.file.getvalue()
    assert ": 0/80" not in text
    assert ": 8/80" in text
    assert "done in 0 s" in text
