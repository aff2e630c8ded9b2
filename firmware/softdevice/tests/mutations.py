"""Plants each bug of `mutants.py` into a copy of the bootloader and requires the recorded vectors to catch it.

A mutant is one substitution in the source of one module, made as the module is imported in a process of its own; a
substitution that does not match exactly once is an error, so that the list cannot rot. The vectors without power cuts
are played, then our own tests of the rules, then the vectors with cuts, until the first difference; a mutant that
lives through all of that fails the run. So does a control without a bug that is caught.

    python firmware/softdevice/tests/mutations.py [words of a title]
"""

import contextlib
import importlib
import io
import multiprocessing
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
import recordings
from mutants import MUTANTS, Mutant

# What a mutant process imports anew.
PACKAGES = ("softdevice", "mcuboot_image", "recorded_device", "replaying", "device_images")
# The files without cuts take a second together, so a mutant that they catch costs little.
WITH_CUTS = ("sweep-small-writes", "sweep-", "one-sector", "nested")
CONTROL = Mutant("no bug at all: the control", "softdevice.trailer", MUTANTS[0].old, MUTANTS[0].old)
RULES = Path(__file__).with_name("test_bootloader_rules.py")
LIMIT_SECONDS = 60


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: `caught` says by what it was, empty when it lives."""

    mutant: Mutant
    caught: str
    seconds: float


class NeverEnds(Exception):
    """A mutant that loops."""


class MutantLoader(SourceFileLoader):
    """Compiles one module from its source with the substitution made."""

    def __init__(self, name: str, path: str, mutant: Mutant) -> None:
        super().__init__(name, path)
        self.mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        """The module's code, the bug included."""
        source = self.get_data(self.path).decode()
        found = source.count(self.mutant.old)
        if found != 1:
            raise LookupError(f"{self.mutant.title}: its text is {found} times in {fullname}")
        return compile(source.replace(self.mutant.old, self.mutant.new), self.path, "exec", dont_inherit=True)


class MutantFinder:
    """Finds the one module that is to be changed."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        """The module's own spec with our loader; None for all others."""
        if name != self.mutant.module:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = MutantLoader(name, spec.origin, self.mutant)
        return spec


def has_cuts(family: str) -> bool:
    """Whether a file is one of the long ones."""
    return family.startswith(WITH_CUTS)


def judge(mutant: Mutant) -> Verdict:
    """Play everything against one mutant until something differs."""
    began = time.process_time()
    for name in [name for name in sys.modules if name.split(".")[0] in PACKAGES]:
        del sys.modules[name]
    sys.meta_path.insert(0, MutantFinder(mutant))
    # Of its own time, not of a busy machine's.
    signal.signal(signal.SIGPROF, _never_ends)
    signal.setitimer(signal.ITIMER_PROF, LIMIT_SECONDS)
    caught = _caught_by_vectors(cuts=False) or _caught_by_rules() or _caught_by_vectors(cuts=True)
    return Verdict(mutant, caught, time.process_time() - began)


def _caught_by_vectors(*, cuts: bool) -> str:
    replaying = importlib.import_module("replaying")
    for family in sorted(recordings.families(), reverse=True):
        if has_cuts(family) != cuts:
            continue
        for scenario in recordings.scenarios(family):
            try:
                replaying.play(scenario)
            except replaying.Difference as difference:
                return f"{family}: {str(difference).splitlines()[0].rpartition(': ')[2]}"
            except NeverEnds:
                return f"{family}: never ends"
            except Exception as error:
                # A bug may as well break the program: a device that stops is caught, too.
                return f"{family}: {type(error).__name__}"
    return ""


def _caught_by_rules() -> str:
    with contextlib.redirect_stdout(io.StringIO()):
        failed = pytest.main([str(RULES), "--noconftest", "-q", "-x", "-p", "no:cacheprovider"])
    return RULES.name if failed == pytest.ExitCode.TESTS_FAILED else ""


def _never_ends(_signal: int, _frame: FrameType | None) -> None:
    raise NeverEnds


def main(words: list[str]) -> int:
    """Judge all mutants, or those whose title has all `words`; 1 when one lives."""
    chosen = [mutant for mutant in MUTANTS if all(word in mutant.title for word in words)]
    # Read once here: the processes that are forked off find it in memory.
    for family in (*recordings.families(), "images", "keys"):
        recordings.load(family)
    began = time.monotonic()
    wrong = []
    with multiprocessing.get_context("fork").Pool(processes=2, maxtasksperchild=1) as pool:
        for verdict in pool.imap(judge, [CONTROL, *chosen], chunksize=1):
            if bool(verdict.caught) != (verdict.mutant != CONTROL):
                wrong.append(verdict.mutant)
            caught = verdict.caught or "lives"
            module = verdict.mutant.module.removeprefix("softdevice.")
            sys.stdout.write(f"{verdict.mutant.title:64} {module:24} {caught:44} {verdict.seconds:5.1f} s\n")
    took = time.monotonic() - began
    alive = len([mutant for mutant in wrong if mutant != CONTROL])
    sys.stdout.write(f"mutants: {len(chosen)} planted, {len(chosen) - alive} caught, in {took:.0f} s\n")
    for mutant in wrong:
        sys.stdout.write(f"WRONG: {mutant.title}\n")
    return 1 if wrong or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
