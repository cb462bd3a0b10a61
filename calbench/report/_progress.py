"""Progress of long work: a live bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from calbench.escaping import encodable
from calbench.runs import Advance

SECONDS_BETWEEN_LINES = 15.0


class TerminalProgress:
    """Tells what runs, how far it is and how long it will still take.

    Parameters
    ----------
    console
        Where to write; a terminal gets a bar that is redrawn, anything else whole lines.
    uncaptured
        Makes a context in which output reaches the console, for a test runner that captures it.
    """

    def __init__(
        self, console: Console, uncaptured: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self._console = console
        self._uncaptured = uncaptured

    @contextmanager
    def step(self, what: str, total: int | None = None) -> Iterator[Advance]:
        """Show a step while the block runs; call what is yielded with the number of items done."""
        started = time.monotonic()
        with self._uncaptured():
            live = self._console.is_terminal  # captured output never looks like a terminal
        if live:
            with self._bar(what, total) as advance:
                yield advance
        else:
            self._print(f"calbench: {what}" + (f", {total:,} items" if total else ""))
            yield self._lines(what, total or 0, started)
        seconds = time.monotonic() - started
        speed = f", {_speed(total, seconds):.0f} items/s" if total else ""
        self._print(f"calbench: {what}: done in {seconds:.0f} s{speed}")

    @contextmanager
    def _bar(self, what: str, total: int | None) -> Iterator[Advance]:
        bar = Progress(
            TextColumn("calbench: {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            auto_refresh=False,  # a thread of its own would write while output is captured
            redirect_stdout=False,
            redirect_stderr=False,
        )
        task = bar.add_task(encodable(what, self._console.encoding), total=total, speed="")
        started = time.monotonic()

        def advance(n_done: int, note: str = "") -> None:
            speed = _speed(n_done, time.monotonic() - started)
            with self._uncaptured():
                bar.update(task, completed=n_done, speed=_described(speed, note), refresh=True)

        with self._uncaptured():
            bar.start()
        try:
            yield advance
        finally:
            with self._uncaptured():
                bar.stop()

    def _lines(self, what: str, total: int, started: float) -> Advance:
        last = started

        def advance(n_done: int, note: str = "") -> None:
            nonlocal last
            now = time.monotonic()
            if now - last < SECONDS_BETWEEN_LINES or not 0 < n_done < total:
                return
            last = now
            speed = _speed(n_done, now - started)
            left = (total - n_done) / speed
            pace = f"{_described(speed, note)}, {left:.0f} s left"
            self._print(f"calbench: {what}: {n_done:,}/{total:,}, {pace}")

        return advance

    def _print(self, line: str) -> None:
        with self._uncaptured():
            self._console.print(
                encodable(line, self._console.encoding), highlight=False, markup=False, soft_wrap=True
            )


def _speed(n_done: int, seconds: float) -> float:
    """Items per second; a coarse clock may not have moved yet."""
    return n_done / max(seconds, 1e-9)


def _described(speed: float, note: str) -> str:
    return f"{speed:.0f} items/s" + (f", {note}" if note else "")
