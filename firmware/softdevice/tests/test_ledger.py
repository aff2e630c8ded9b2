"""The ledger: one page of a file, whatever is in it, read back as it was."""

import json
from pathlib import Path

from firmware_delta import HEADER_BYTES, MAX_DUMP_BYTES
from lwm2m.firmware import MAX_URI_BYTES, State
from softdevice.download import Progress
from softdevice.firmware_rules import Kept
from softdevice.ledger import Ledger
from softdevice.package import Checkpoint

# A write of one page is never cut in two by a kill.
PAGE_BYTES = 4096
MOST = 2**31


def largest(path: Path) -> Ledger:
    """Every field as long as it can become; control characters are the ones that JSON makes longest."""
    ledger = Ledger(path, "x" * 64, MOST, MOST, MOST, MOST, MOST, MOST)
    ledger.progress = Progress("\x01" * MAX_URI_BYTES, MOST, MOST, "ab" * 8)
    ledger.checkpoint = Checkpoint(MOST, MOST, "ab" * 31, "ab" * HEADER_BYTES, "x" * (MAX_DUMP_BYTES * 4 // 3 + 4))
    ledger.kept = Kept(State.DOWNLOADING, "\x01" * 255, MOST, MOST)
    return ledger


def test_largest_ledger_fits_one_page_and_a_small_one_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "device.json"
    ledger = largest(path)
    ledger.save()
    assert path.stat().st_size == PAGE_BYTES
    assert Ledger.load(path, "another") == ledger
    ledger.kept = Kept()
    ledger.forget_download()
    assert path.stat().st_size == PAGE_BYTES
    assert Ledger.load(path, "another") == ledger


def test_what_lies_behind_the_page_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "device.json"
    path.write_bytes(b"x" * 2 * PAGE_BYTES)
    ledger = Ledger(path, "dev-1", boots=7)
    ledger.save()
    assert Ledger.load(path, "dev-1") == ledger


def test_ledger_that_nobody_can_read_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "device.json"
    largest(path).save()
    content = path.read_bytes()
    for broken in (
        b"",
        content[: -PAGE_BYTES // 2],
        content.replace(b'"checkpoint": {', b'"checkpoint": [', 1),
        b"\xff",
    ):
        path.write_bytes(broken)
        assert Ledger.load(path, "dev-1") == Ledger(path, "dev-1")


def test_ledger_of_an_older_softdevice_keeps_its_counters(tmp_path: Path) -> None:
    path = tmp_path / "device.json"
    ledger = largest(path)
    ledger.save()
    stored = json.loads(path.read_text())
    del stored["checkpoint"], stored["kept"]
    path.write_text(json.dumps(stored))
    ledger.checkpoint, ledger.kept = None, Kept()
    assert Ledger.load(path, "another") == ledger
