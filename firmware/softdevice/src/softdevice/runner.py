"""Runs a fleet for a time: shows how it is, and reports what it came to."""

import asyncio
import gc
import json
import logging
import os
import signal
import sys
import time
from typing import Any, Final, TextIO

from softdevice.fleet import Fleet
from softdevice.report import cost_report, cpu_seconds, fleet_report, resident_bytes

_PROGRESS: Final = logging.getLogger("softdevice.progress")
_SECOND: Final = 1.0
# How often where lines are kept.
_LINE_SECONDS: Final = 10.0
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


async def run(
    fleet: Fleet,
    *,
    resident_before: int,
    seconds: float | None,
    shows: bool,
    deregister: bool,
    report_to: TextIO | None = None,
) -> tuple[dict[str, Any], bool]:
    """Start the fleet, keep it for `seconds` after the last device was switched on, or until SIGTERM or SIGINT, write
    the report, stop the fleet; returns the report, and whether the time was spent in full. A signal while it stops ends
    the process at once. `resident_before`: bytes before the fleet was made.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.set)
    begun = time.monotonic()
    tasks = [asyncio.create_task(_start(fleet))]
    if shows:
        tasks.append(asyncio.create_task(_show(fleet, begun)))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((tasks[0], stopped), return_when=asyncio.FIRST_COMPLETED)
    started, start_cpu, keep_cpu = time.monotonic(), cpu_seconds(), None
    if not stop.is_set():
        await asyncio.wait((stopped,), timeout=seconds)
        keep_cpu = (cpu_seconds() - start_cpu) / (time.monotonic() - started)
    report = fleet_report(fleet, seconds=time.monotonic() - begun)
    report |= cost_report(fleet, resident_before=resident_before, start_cpu=start_cpu, keep_cpu=keep_cpu)
    for task in (*tasks, stopped):
        task.cancel()
    await asyncio.gather(*tasks, stopped, return_exceptions=True)
    if report_to is not None:
        write_report(report, report_to)
    was_full = not stop.is_set()
    for number in _SIGNALS:
        # For the devices the power goes, which they survive. The default action would not end a container's first
        # process.
        loop.add_signal_handler(number, os._exit, 128 + number)
    await fleet.stop(deregister=deregister)
    return report, was_full


def write_report(report: dict[str, Any], file: TextIO) -> None:
    """As JSON, and at once."""
    file.write(json.dumps(report, indent=2) + "\n")
    file.flush()


async def _start(fleet: Fleet) -> None:
    await fleet.start()
    # Millions of objects that live as long as the process: looking through them for garbage would stop every device
    # for a second now and then.
    gc.collect()
    gc.freeze()


async def _show(fleet: Fleet, begun: float) -> None:
    """A line that changes where somebody looks, a line now and then where lines are kept."""
    on_terminal = sys.stderr.isatty()
    period = _SECOND if on_terminal else _LINE_SECONDS
    _PROGRESS.setLevel(logging.INFO)
    before = 0
    try:
        while True:
            await asyncio.sleep(period)
            updates = fleet.tally.counts["updates"]
            line = progress_line(fleet, time.monotonic() - begun, (updates - before) / period)
            before = updates
            if on_terminal:
                sys.stderr.write(f"\r{line}\x1b[K")
                sys.stderr.flush()
            else:
                _PROGRESS.info(line)
    finally:
        if on_terminal:
            sys.stderr.write("\n")


def progress_line(fleet: Fleet, seconds: float, update_rate: float) -> str:
    """How a fleet is after `seconds`, with `update_rate` Updates answered a second."""
    counts = fleet.tally.counts
    failed = sum(count for kind, count in counts.items() if kind.startswith("errors"))
    return (
        f"{seconds:5.0f} s: {fleet.registered} of {len(fleet.devices)} registered, {update_rate:.1f} updates/s, "
        f"{counts['registrations lost']} lost, {failed} failed, {resident_bytes() / 1e6:.0f} MB"
    )
