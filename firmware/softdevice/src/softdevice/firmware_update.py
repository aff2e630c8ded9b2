"""Object 5 of a running device: takes a package by pull or push, installs it on Execute, puts it off, cancels it.

What each client refuses, shows after a reset and still knows then is decided in firmware_rules; the bytes of a package
are pull's and push's business.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from dataclasses import replace

from coap_wire import Code, Message
from coap_wire.options import SIZE1
from lwm2m.firmware import PACKAGE_URI, PUSH_ONLY, RESULT, STATE, UPDATE, Result, State
from lwm2m.paths import Path
from softdevice.board import AlreadyProgrammed, Board
from softdevice.coap_endpoint import CoapEndpoint
from softdevice.download import DownloadFailed
from softdevice.firmware_rules import (
    MAX_SEVERITY,
    Kept,
    Verdict,
    after_boot,
    cancel_refusal,
    package_refusal,
    uri_refusal,
    verdict,
)
from softdevice.flash import FlashError, PowerCut
from softdevice.ledger import Ledger
from softdevice.management import Execute, Write
from softdevice.options import DeviceOptions, Misbehaviour
from softdevice.package import Package, PackageRefused
from softdevice.profiles import Memory
from softdevice.pull import Pull
from softdevice.push import Piece as PushedPiece
from softdevice.push import Push, Refused
from softdevice.reply import Reply
from softdevice.resources import (
    BATTERY_LEVEL,
    CANCEL,
    LAST_STATE_CHANGE,
    MAX_DEFER_PERIOD,
    PACKAGE_VERSION,
    SEVERITY,
    Resources,
    ResourceValue,
)
from softdevice.trailer import TrailerError

_LOGGER = logging.getLogger("softdevice")
_RESETS = (b"", b"\0")


class FirmwareUpdate:
    """Object 5 of one boot. `changed` is called after a resource has changed, `reboot` with why and after how long."""

    def __init__(
        self,
        board: Board,
        ledger: Ledger,
        resources: Resources,
        endpoint: CoapEndpoint,
        options: DeviceOptions,
        *,
        changed: Callable[[Path], None],
        reboot: Callable[[str, float], None],
    ) -> None:
        self._board = board
        self._ledger = ledger
        self._resources = resources
        self._options = options
        self._profile = options.profile
        self._changed = changed
        self._reboot = reboot
        self._pull = Pull(board, ledger, endpoint, options, reboot)
        self._push = Push(options.profile, board.max_image_bytes)
        self._package: Package | None = None
        self._pushed_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._ordered_at: float | None = None  # when an Execute came that is put off
        self._timer: asyncio.TimerHandle | None = None

    @property
    def state(self) -> State:
        """Resource 3."""
        return State(int(str(self._resources[STATE])))

    @property
    def _on_trial(self) -> bool:
        return not self._board.confirmed

    def _remember(self) -> None:
        """State and Result at the start of a boot."""
        kept = self._ledger.kept
        waiting = kept.state == State.DOWNLOADED and self._board.secondary_image() is not None
        running = self._board.running
        state, result, now_kept = after_boot(
            self._profile,
            kept,
            on_trial=self._on_trial,
            waiting=waiting,
            running=running.sha256.hex() if running else "",
        )
        self._resources.set(STATE, int(state))
        self._resources.set(RESULT, int(result))
        self._resources.set(PACKAGE_URI, now_kept.uri)
        if state == State.DOWNLOADED:
            self._resources.set(PACKAGE_VERSION, str(self._board.secondary_version()))
        if now_kept != kept:
            self._keep(now_kept)

    def start(self) -> None:
        """Recall what the client still knows, and go on with a download that was begun before the reset."""
        self._remember()
        if self.state == State.DOWNLOADING:
            self._task = asyncio.create_task(self._download(str(self._resources[PACKAGE_URI])))

    def confirmed(self) -> None:
        """The running image stays: an update that was installed with it has succeeded."""
        if self._ledger.kept.target:
            self._keep(replace(self._ledger.kept, target=""))
            self._set(RESULT, int(Result.SUCCESS))

    def refusal(self, effect: Write | Execute) -> int | None:
        """The code a Write or Execute on object 5 is refused with, or None."""
        if effect.path == UPDATE:
            return None if self.state == State.DOWNLOADED else self._profile.not_downloaded
        if effect.path == CANCEL:
            return cancel_refusal(self.state)
        if not isinstance(effect, Write):
            return None
        if effect.path == SEVERITY:
            return _integer_refusal(effect.value, MAX_SEVERITY)
        if effect.path == MAX_DEFER_PERIOD:
            return _integer_refusal(effect.value, (1 << 32) - 1)
        refused = uri_refusal(self._profile, self.state, effect.value, on_trial=self._on_trial)
        if refused is not None and refused.result is not None:
            self._set(RESULT, int(refused.result))
        return None if refused is None else refused.code

    def write(self, effect: Write) -> None:
        """A resource was written and not refused."""
        if effect.path != PACKAGE_URI:
            self._set(effect.path, effect.value)
            self.reconsider()
        elif self._profile.delivery != PUSH_ONLY:  # Wakaama's example takes a URI and does nothing with it.
            self._uri_written(str(effect.value))

    def _uri_written(self, uri: str) -> None:
        # Zephyr's engine has stored it before object 5 looks at it.
        self._set(PACKAGE_URI, uri)
        if uri and self.state == State.IDLE:
            self._set(RESULT, int(Result.INITIAL))
            self._enter(State.DOWNLOADING)
            self._task = asyncio.create_task(self._download(uri))
        elif not uri and self.state in self._profile.empty_uri_resets:
            self._reset(Result.INITIAL)

    def execute(self, path: Path) -> None:
        """Update or Cancel: the reply has been sent."""
        if path == CANCEL and cancel_refusal(self.state) is None:
            self._log("cancelled by the server")
            self._reset(Result.CANCELLED)
        elif path == UPDATE and self.state == State.DOWNLOADED and self._ordered_at is None:
            self._ordered_at = asyncio.get_running_loop().time()
            self.reconsider()

    def reconsider(self) -> None:
        """Install what was ordered, or put it off: called when the battery, the severity or the time has changed."""
        if self._ordered_at is None or self.state != State.DOWNLOADED:
            return
        loop = asyncio.get_running_loop()
        period = int(str(self._resources[MAX_DEFER_PERIOD]))
        waited = loop.time() - self._ordered_at
        match verdict(
            self._profile,
            battery=int(str(self._resources[BATTERY_LEVEL])),
            user_waits=Misbehaviour.USER_DEFERS in self._options.misbehaviours,
            severity=int(str(self._resources[SEVERITY])),
            max_defer_seconds=period,
            waited_seconds=waited,
        ):
            case Verdict.INSTALL:
                self._forget_order()
                self._install()
            case Verdict.DEFER:
                if self._set(RESULT, int(Result.DEFERRED)):
                    self._log("puts the update off")
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = loop.call_later(period - waited, self.reconsider) if waited < period else None
            case Verdict.FAIL:
                self._log("cannot update now, and cannot say so otherwise", logging.WARNING)
                self._forget_order()
                self._set(RESULT, int(Result.UPDATE_FAILED))

    def _forget_order(self) -> None:
        self._ordered_at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _install(self) -> None:
        self._set(RESULT, int(Result.INITIAL))
        self._enter(State.UPDATING)
        kept = self._ledger.kept
        if self._profile.memory == Memory.COUNTERS:
            self._keep(replace(kept, update=kept.current + 1))
        elif self._profile.memory == Memory.RECORD and (image := self._board.secondary_image()) is not None:
            self._keep(replace(kept, target=hashlib.sha256(image.data[: image.total_size]).hexdigest()))
        try:
            self._board.request_test()
        except TrailerError as error:
            self._log(f"the update cannot be requested: {error}", logging.ERROR)
            self._keep(replace(self._ledger.kept, target=""))
            self._end(State.DOWNLOADED, Result.UPDATE_FAILED)
            return
        except PowerCut:
            return  # in the midst of it, and nobody is told: the reset is on its way
        self._log(f"updating to {self._board.secondary_version()}, rebooting")
        self._reboot("update", self._options.reboot_seconds)

    async def stop(self) -> None:
        """End a download under way; its progress stays in the ledger."""
        self._forget_order()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def _reset(self, result: Result) -> None:
        self._forget_order()
        self._push.end()
        self._package = None
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self.state == State.DOWNLOADED:
            self._ledger.forget_download()
        self._set(PACKAGE_URI, "")
        self._set(PACKAGE_VERSION, "")
        self._end(State.IDLE, result)

    # The package comes: pulled,

    async def _download(self, text: str) -> None:
        try:
            size = await self._pull.fetch(text)
        except (DownloadFailed, PackageRefused, FlashError) as error:
            self._failed(error)
        else:
            self._downloaded(size)
        self._task = None

    # or pushed.

    def push(self, request: Message) -> Reply:
        """A PUT to Package (5/0/0): the answer to it, after its bytes are in flash."""
        try:
            piece = self._push.receive(request, asyncio.get_running_loop().time())
        except Refused as refused:
            if self.state == State.IDLE and any(number == SIZE1 for number, _ in refused.reply.options):
                self._set(RESULT, int(Result.NOT_ENOUGH_FLASH))
            return refused.reply
        if piece.repeated:
            return piece.reply
        if piece.first and (reply := self._begin_push(piece)) is not None:
            return reply
        return self._take(piece)

    def _begin_push(self, piece: PushedPiece) -> Reply | None:
        whole = piece.data if piece.last else b"more"
        refusal = package_refusal(self._profile, self.state, whole, on_trial=self._on_trial)
        if refusal is None and whole in _RESETS:
            self._reset(Result.INITIAL)
            return piece.reply
        if refusal is not None or self._task is not None:
            self._push.end()
            return Reply(Code.METHOD_NOT_ALLOWED if refusal is None else refusal)
        self._ledger.forget_download()
        spoils = Misbehaviour.CORRUPTS_DELTAS in self._options.misbehaviours
        self._package = Package(self._board, self._options.delta_formats, spoils_deltas=spoils)
        self._pushed_bytes = 0
        self._set(RESULT, int(Result.INITIAL))
        self._enter(State.DOWNLOADING)
        return None

    def _take(self, piece: PushedPiece) -> Reply:
        if self._package is None:
            self._push.end()
            return Reply(Code.REQUEST_ENTITY_INCOMPLETE)
        self._pushed_bytes += len(piece.data)
        try:
            self._package.feed(piece.data)
            if piece.last:
                if piece.size is not None and piece.size != self._pushed_bytes:
                    raise PackageRefused(Result.INTEGRITY_CHECK_FAILED, f"{self._pushed_bytes} of {piece.size} bytes")
                size = self._package.finish()
                self._package = None
                self._ledger.downloads += 1
                self._ledger.save()
                self._downloaded(size)
        except (PackageRefused, AlreadyProgrammed, FlashError) as error:
            self._push.end()
            self._package = None
            result = self._failed(error)
            too_large = result == Result.NOT_ENOUGH_FLASH
            return Reply(Code.REQUEST_ENTITY_TOO_LARGE if too_large else Code.INTERNAL_SERVER_ERROR)
        return piece.reply

    # Either way it ends here.

    def _downloaded(self, size: int) -> None:
        version = str(self._board.secondary_version())
        self._log(f"downloaded {version}, {size} bytes")
        self._set(PACKAGE_VERSION, version)
        self._enter(State.DOWNLOADED)

    def _failed(self, error: Exception) -> Result:
        result = error.result if isinstance(error, DownloadFailed | PackageRefused) else Result.UPDATE_FAILED
        if result != Result.CONNECTION_LOST:
            self._ledger.forget_download()
        self._log(f"the package is not there, result {int(result)}: {error}", logging.WARNING)
        self._end(State.IDLE, result)
        return result

    def _end(self, state: State, result: Result) -> None:
        # Zephyr's order: State, then Result (lwm2m_firmware_set_update_result).
        self._enter(state)
        self._set(RESULT, int(result))

    def _enter(self, state: State) -> None:
        if self.state == state:
            return
        self._set(LAST_STATE_CHANGE, int(self._options.wall_clock()))
        if self._profile.memory == Memory.ALL:
            self._keep(replace(self._ledger.kept, state=state, uri=str(self._resources[PACKAGE_URI])))
        self._set(STATE, int(state))

    def _keep(self, kept: Kept) -> None:
        self._ledger.kept = kept
        self._ledger.save()

    def _set(self, path: Path, value: ResourceValue) -> bool:
        changed = self._resources.set(path, value)
        if changed and path == RESULT and value != Result.DEFERRED and self._profile.memory == Memory.RECORD:
            self._keep(replace(self._ledger.kept, result=Result(int(str(value)))))
        if changed:
            self._changed(path)
        return changed

    def _log(self, text: str, level: int = logging.INFO) -> None:
        _LOGGER.log(level, text, extra={"endpoint": self._ledger.endpoint})


def _integer_refusal(value: object, largest: int) -> int | None:
    # 1.0 and true are equal to 1, and no integers.
    return None if type(value) is int and 0 <= value <= largest else Code.BAD_REQUEST
