"""Proves the firmware core: `make firmware`. Needs what .ci/install-firmware installs; a missing tool is an error.

host    the C tests, with address and undefined-behaviour sanitizers, gcc
cover   the same, with every branch of the core taken, by gcov
clang   another compiler's warnings, and its fuzzer for some seconds
cross   the core for three Cortex-M: text, static data, state
qemu    the same tests, with the same vectors, on a Cortex-M3; stack by painting
bugs    one planted bug after the other, each of which must fail the tests
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import firmware_sizes
import firmware_vectors
from firmware_bugs import Bug, read_bugs
from firmware_coverage import counts, read_report, uncovered

T = TypeVar("T")
R = TypeVar("R")
ROOT: Final = Path(__file__).resolve().parent.parent
CORE: Final = ROOT / "firmware" / "core"
BUILD: Final = ROOT / "build" / "firmware"
PAGE: Final = ROOT / "docs" / "firmware-core.md"
SOURCES: Final = sorted((CORE / "src").glob("*.c"))
PORTABLE_TESTS: Final = sorted(path for path in (CORE / "tests").glob("*.c") if path.name != "port_host.c")
HOST_TESTS: Final = [*PORTABLE_TESTS, CORE / "tests" / "port_host.c"]
INCLUDES: Final = ("-I", str(CORE / "include"), "-I", str(CORE / "src"), "-I", str(CORE / "tests"))
STRICT: Final = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow")
SANITIZERS: Final = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# The emulator has no Cortex-M0+ with room for the tests; a Cortex-M3 executes all of its instructions.
MACHINES: Final = {"cortex-m0plus": "mps2-an385", "cortex-m3": "mps2-an385", "cortex-m4": "mps2-an386"}
PROCESSORS: Final = tuple(MACHINES)
CROSS: Final = ("-Os", "-mthumb", "-ffunction-sections", "-fdata-sections", "-fstack-usage")
STRUCTS: Final = ("updraft_package", "updraft_patch", "updraft_image", "updraft_update")
TOOLS: Final = (
    "gcc",
    "gcov",
    "clang",
    "arm-none-eabi-gcc",
    "arm-none-eabi-size",
    "arm-none-eabi-nm",
    "qemu-system-arm",
)
FUZZ_SECONDS: Final = 10
TIMEOUT_SECONDS: Final = 300
BUG_TIMEOUT_SECONDS: Final = 20


class NotProvedError(Exception):
    """Something does not hold; the text says what and shows the output."""


def run(*command: str, folder: Path = BUILD, timeout: float = TIMEOUT_SECONDS) -> str:
    """Output of a command; NotProvedError with all of it when it fails or takes too long."""
    try:
        done = subprocess.run(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NotProvedError(f"{command[0]} took more than {timeout:.0f} s") from error
    output = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        raise NotProvedError(f"{' '.join(command[:3])} ... ended with {done.returncode}\n{output}")
    return output


def each(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """`work` on each item, as many at once as there are processors."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(work, items))


def compiled(name: str, compiler: str, flags: tuple[str, ...], sources: Iterable[Path]) -> list[Path]:
    """Object files of the sources, in a folder of that name."""
    folder = BUILD / name
    folder.mkdir()

    def one(source: Path) -> Path:
        target = folder / f"{source.stem}.o"
        run(compiler, *flags, *INCLUDES, "-c", str(source), "-o", str(target))
        return target

    return each(one, sources)


def linked(name: str, compiler: str, flags: tuple[str, ...], objects: Iterable[Path]) -> str:
    """Path of the program."""
    program = BUILD / name / "program"
    run(compiler, *flags, *map(str, objects), "-o", str(program))
    return str(program)


def last_line(output: str) -> str:
    return output.strip().splitlines()[-1]


def host() -> str:
    """The C tests with sanitizers."""
    objects = compiled("host", "gcc", (*STRICT, *SANITIZERS), [*SOURCES, *HOST_TESTS])
    return last_line(run(linked("host", "gcc", SANITIZERS, objects)))


def cover() -> str:
    """The C tests with every branch counted."""
    objects = compiled("cover", "gcc", (*STRICT, "-O0", "--coverage"), [*SOURCES, *HOST_TESTS])
    run(linked("cover", "gcc", ("--coverage",), objects))
    lines = branches = 0
    missing: list[str] = []
    for source in SOURCES:
        run("gcov", "--json-format", "--branch-probabilities", f"{source.stem}.gcda", folder=BUILD / "cover")
        report = read_report(BUILD / "cover" / f"{source.stem}.gcov.json.gz")
        more_lines, more_branches = counts(report, "src")
        lines, branches = lines + more_lines, branches + more_branches
        missing += uncovered(report, "src")
    if missing or not branches:
        raise NotProvedError("not everything is covered:\n" + "\n".join(missing))
    return f"{lines} lines and {branches} branches, all taken"


def clang() -> str:
    """Another compiler, and its fuzzer."""
    flags = ("-g", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")
    model = CORE / "tests" / "flash_model.c"
    objects = compiled("clang", "clang", (*STRICT, *flags), [*SOURCES, model, CORE / "tests" / "fuzz" / "fuzz.c"])
    corpus = BUILD / "clang" / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(firmware_vectors.seeds()):
        (corpus / str(number)).write_bytes(seed)
    output = run(
        linked("clang", "clang", flags, objects),
        f"-max_total_time={FUZZ_SECONDS}",
        "-max_len=2000",
        "-seed=1",
        str(corpus),
        folder=BUILD / "clang",
    )
    return next(line for line in reversed(output.splitlines()) if line.startswith("Done "))


def cross() -> tuple[dict[str, dict[str, int]], int, dict[str, int]]:
    """Text by module and processor, static data, and the size of each struct."""
    text: dict[str, dict[str, int]] = {source.name: {} for source in SOURCES}
    ram = 0
    for processor in PROCESSORS:
        flags = (*STRICT, *CROSS, f"-mcpu={processor}")
        for source, target in zip(SOURCES, compiled(processor, "arm-none-eabi-gcc", flags, SOURCES), strict=True):
            text_bytes, data, bss = map(int, last_line(run("arm-none-eabi-size", str(target))).split()[:3])
            text[source.name][processor] = text_bytes
            ram += data + bss
    probe = BUILD / "structs.c"
    lines = [f"char size_of_{name}[sizeof(struct {name})];" for name in STRUCTS]
    probe.write_text("\n".join(['#include "updraft/package.h"', '#include "updraft/update.h"', *lines, ""]))
    (target,) = compiled("structs", "arm-none-eabi-gcc", ("-std=c99", "-mthumb", "-mcpu=cortex-m3"), [probe])
    state = {}
    for line in run("arm-none-eabi-nm", "-S", str(target)).splitlines():
        _, size, _, name = line.split()
        state[name.removeprefix("size_of_")] = int(size, 16)
    return text, ram, {name: state[name] for name in STRUCTS}


def frames() -> tuple[str, int]:
    """The largest stack frame that the compiler made, and whose; all must be of a fixed size."""
    lines = [line.split("\t") for path in BUILD.glob("cortex-m*/*.su") for line in path.read_text().splitlines()]
    if loose := [where for where, _, kind in lines if kind != "static"]:
        raise NotProvedError("stack that depends on data: " + ", ".join(loose))
    used, name = max((int(size), where.split(":")[-1]) for where, size, _ in lines)
    return name, used


def emulated(processor: str) -> tuple[str, dict[str, int]]:
    """The tests compiled for one processor and run on a machine that executes its code; stack in bytes by call."""
    board = CORE / "tests" / "qemu"
    name = f"qemu-{processor}"
    flags = ("-Os", "-mthumb", f"-mcpu={processor}", "-ffunction-sections", "-fdata-sections")
    strict = ("-std=c99", "-Wall", "-Wextra", "-Werror")
    sources = [*SOURCES, *PORTABLE_TESTS, board / "port_qemu.c"]
    objects = compiled(name, "arm-none-eabi-gcc", (*strict, *flags), sources)
    script = ("-nostartfiles", "-T", str(board / "mps2_an385.ld"), "-Wl,--gc-sections")
    program = linked(name, "arm-none-eabi-gcc", (*flags, *script), objects)
    semihosting = ("-semihosting-config", "enable=on,target=native")
    machine = ("-M", MACHINES[processor], "-nographic", "-monitor", "none")
    output = run("qemu-system-arm", *machine, *semihosting, "-kernel", program)
    stack: dict[str, int] = {}
    for line in output.splitlines():
        if line.startswith("stack "):
            _, call, used = line.split()
            call = "updraft_package_" + call.split("/")[-1]
            stack[call] = max(stack.get(call, 0), int(used))
    if not stack:
        raise NotProvedError("no stack was measured:\n" + output)
    return last_line(output), stack


def qemu() -> tuple[str, dict[str, int]]:
    """The tests on each emulated processor; the most stack that any of them took."""
    results = each(emulated, PROCESSORS)
    stack = {call: max(used[call] for _, used in results) for call in results[0][1]}
    if len({tests for tests, _ in results}) != 1:
        raise NotProvedError("processors differ: " + "; ".join(tests for tests, _ in results))
    return f"{results[0][0]}, on each of {', '.join(PROCESSORS)}", stack


def bugs() -> str:
    """Each planted bug fails the tests, and the core without one does not."""
    flags = ("-std=c99", "-O1", "-DFAIL_FAST")
    objects = compiled("bugs", "gcc", flags, [*SOURCES, *HOST_TESTS])
    run(linked("bugs", "gcc", (), objects))
    planted = read_bugs((CORE / "tests" / "bugs.txt").read_text())

    def survives(numbered: tuple[int, Bug]) -> str | None:
        number, bug = numbered
        folder = BUILD / f"bug-{number}"
        folder.mkdir()
        source = folder / bug.file
        source.write_text(bug.planted((CORE / "src" / bug.file).read_text()))
        sound = [path for path in objects if path.name != f"{source.stem}.o"]
        run("gcc", *flags, *INCLUDES, str(source), *map(str, sound), "-o", str(folder / "program"))
        try:
            run(str(folder / "program"), timeout=BUG_TIMEOUT_SECONDS)
        except NotProvedError:
            return None
        return bug.name

    survivors = [name for name in each(survives, enumerate(planted)) if name]
    if survivors or not planted:
        raise NotProvedError("no test notices a device that\n" + "\n".join(f"  {name}" for name in survivors))
    return f"{len(planted)} planted, {len(planted)} caught"


def prove(*, publish: bool) -> None:
    """All of it; NotProvedError for the first thing that does not hold."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise NotProvedError(f"{', '.join(missing)} missing: run .ci/install-firmware")
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    began = time.monotonic()

    def tell(step: str, text: str) -> None:
        sys.stdout.write(f"{step:8} {text}  ({time.monotonic() - began:.0f} s)\n")
        sys.stdout.flush()

    tell("vectors", f"{firmware_vectors.write(BUILD / 'vectors.bin')} records")
    tell("host", host())
    tell("cover", cover())
    tell("clang", clang())
    text, ram, state = cross()
    largest, frame = frames()
    tests, stack = qemu()
    tell("qemu", tests)
    tell("bugs", bugs())
    sizes = firmware_sizes.Sizes(text, ram, state, stack | {f"largest frame, {largest}": frame})
    sys.stdout.write(firmware_sizes.table(sizes) + "\n")
    if over := firmware_sizes.over_budget(sizes):
        raise NotProvedError("larger than promised:\n" + "\n".join(over))
    if publish:
        firmware_sizes.publish(PAGE, sizes)
    elif wrong := firmware_sizes.stale(PAGE.read_text(), sizes):
        raise NotProvedError(f"{PAGE.name}: {wrong}; run make firmware PUBLISH=1")


def main() -> int:
    """Prove it; 1 when something does not hold."""
    try:
        prove(publish="--publish" in sys.argv[1:])
    except NotProvedError as error:
        sys.stderr.write(f"firmware: {error}\n")
        return 1
    sys.stdout.write("firmware: good\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
