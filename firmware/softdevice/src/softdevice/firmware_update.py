"""Object 5 of a running device: takes a Package URI, pulls the image into secondary, installs it on Execute.

State and Result live in RAM as in Zephyr: after the reboot they are Idle and 0, whatever happened.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import replace

from coap_wire import Code
from lwm2m.firmware import PACKAGE, PACKAGE_URI, RESULT, STATE, UPDATE, Result, State
from lwm2m.paths import Path
from softdevice.board import AlreadyProgrammed, Board
from softdevice.coap_endpoint import Address, CoapEndpoint, Unanswered, WasReset
from softdevice.download import ContentChanged, Download, DownloadFailed, Piece, Progress, TryAgain, parse_uri
from softdevice.flash import FlashError
from softdevice.ledger import Ledger
from softdevice.management import Execute, Write
from softdevice.options import DeviceOptions, Misbehaviour
from softdevice.package import Checkpoint, Package, PackageRefused
from softdevice.resources import PACKAGE_VERSION, Resources, ResourceValue
from softdevice.trailer import TrailerError

_LOGGER = logging.getLogger("softdevice")
_MAX_PAUSE_SECONDS = 4.0
_MAX_RESTARTS = 3
_ATTEMPT_TIMEOUTS = 8


async def resolve(host: str, port: int) -> Address:
    """IPv4 address of a host name or literal; raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, family=socket.AF_INET, type=socket.SOCK_DGRAM)
    address = found[0][4]
    return str(address[0]), int(address[1])


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
        self._endpoint = endpoint
        self._options = options
        self._changed = changed
        self._reboot = reboot
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> State:
        """Resource 3."""
        return State(int(str(self._resources[STATE])))

    def refusal(self, effect: Write | Execute) -> int | None:
        """The code a Write or Execute on object 5 is refused with, or None."""
        if effect.path == UPDATE:
            return None if self.state == State.DOWNLOADED else Code.METHOD_NOT_ALLOWED
        if not isinstance(effect, Write):
            return None
        if effect.path == PACKAGE:
            # Delivery is pull only; a single NUL is the other way to reset (OMA object 5, resource 0).
            return None if effect.value in (b"\0", b"") else Code.METHOD_NOT_ALLOWED
        if effect.path == PACKAGE_URI:
            if not isinstance(effect.value, str) or len(effect.value.encode()) > 255:
                return Code.BAD_REQUEST
            # On trial the old image in secondary is the way back: it is not given up for a download.
            on_trial = bool(effect.value) and not self._board.confirmed
            if on_trial or self.state == State.UPDATING:
                return Code.METHOD_NOT_ALLOWED
        return None

    def write(self, effect: Write) -> None:
        """Package or Package URI was written and not refused."""
        text = effect.value if effect.path == PACKAGE_URI and isinstance(effect.value, str) else ""
        if not text:
            self._reset()
        elif self.state == State.IDLE:
            self._set(PACKAGE_URI, text)
            self._set(RESULT, int(Result.INITIAL))
            self._set(STATE, int(State.DOWNLOADING))
            self._task = asyncio.create_task(self._pull(text))
        # In any other state Zephyr answers 2.04 and does nothing.

    def execute(self) -> None:
        """Update: the reply has been sent; now have secondary tried at the reboot."""
        if self.state != State.DOWNLOADED:
            return
        self._set(STATE, int(State.UPDATING))
        try:
            self._board.request_test()
        except TrailerError as error:
            self._log(f"the update cannot be requested: {error}", logging.ERROR)
            self._end(State.DOWNLOADED, Result.UPDATE_FAILED)
            return
        self._log(f"updating to {self._board.secondary_version()}, rebooting")
        self._reboot("update", self._options.reboot_seconds)

    async def stop(self) -> None:
        """End a download under way; its progress stays in the ledger."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def _reset(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self.state == State.DOWNLOADED:
            self._ledger.forget_download()
        self._set(PACKAGE_URI, "")
        self._set(PACKAGE_VERSION, "")
        self._end(State.IDLE, Result.INITIAL)

    async def _pull(self, text: str) -> None:
        try:
            size = await self._fetch_all(text)
        except (DownloadFailed, PackageRefused) as failure:
            if failure.result != Result.CONNECTION_LOST:
                self._ledger.forget_download()
            self._log(f"download failed, result {int(failure.result)}: {failure}", logging.WARNING)
            self._end(State.IDLE, failure.result)
            return
        except FlashError as error:
            self._ledger.forget_download()
            self._log(f"download could not be written: {error}", logging.ERROR)
            self._end(State.IDLE, Result.UPDATE_FAILED)
            return
        version = str(self._board.secondary_version())
        self._log(f"downloaded {version}, {size} bytes")
        self._set(PACKAGE_VERSION, version)
        self._set(STATE, int(State.DOWNLOADED))

    async def _fetch_all(self, text: str) -> int:
        """Size in bytes of the image that is in secondary now, whole and good."""
        uri = parse_uri(text)
        try:
            peer = await resolve(uri.host, uri.port)
        except OSError as error:
            raise DownloadFailed(Result.INVALID_URI, f"host {uri.host} cannot be resolved") from error
        package = Package(self._board, self._options.delta_formats, self._checkpoint())
        download = Download(uri, **self._block_options(), progress=self._resumable(package.offset))
        self._begin(download)
        restarts = 0
        while True:
            try:
                piece = await self._fetch(download, peer)
                package.feed(self._spoilt(piece.data) if package.is_delta else piece.data)
            except (ContentChanged, AlreadyProgrammed):
                restarts += 1
                if restarts > _MAX_RESTARTS:
                    raise DownloadFailed(Result.CONNECTION_LOST, "the file changes faster than it is read") from None
                self._log("the server has another file now, starting from block 0")
                download.restart()
                package = Package(self._board, self._options.delta_formats)
                self._begin(download)
                continue
            download.advance(piece)
            self._ledger.blocks += 1
            if piece.last:
                # The checkpoint before this block stays: until the swap a power cut then costs one block.
                self._ledger.downloads += 1
                self._ledger.save()
                return package.finish()
            self._ledger.progress = download.progress(package.offset)
            self._ledger.checkpoint = package.checkpoint
            self._ledger.save()
            self._misbehave(download)

    def _block_options(self) -> dict[str, int]:
        block_size = self._options.block_size or self._options.profile.block_size
        return {"block_size": block_size, "limit": self._board.max_image_bytes}

    def _checkpoint(self) -> Checkpoint | None:
        return self._ledger.checkpoint if self._options.resumes and self._options.profile.resumes else None

    def _resumable(self, offset: int) -> Progress | None:
        progress = self._ledger.progress
        return progress and replace(progress, offset=offset)

    def _begin(self, download: Download) -> None:
        # The path holds the ticket for the file; a log has no business with it.
        file = f"{download.uri.segments[-1]} from {download.uri.host}:{download.uri.port}"
        if download.offset:
            self._log(f"downloads {file}, going on at byte {download.offset}")
            return
        if self._ledger.progress is not None and self._ledger.progress.offset:
            self._ledger.restarts += 1
        self._ledger.forget_download()
        self._log(f"downloads {file}")

    async def _fetch(self, download: Download, peer: Address) -> Piece:
        """The next block; keeps asking while `patience_seconds` last, whatever the network does."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._options.patience_seconds
        timeout = self._options.transmission.ack_timeout_seconds
        pause = timeout / 2
        while (left := deadline - loop.time()) > 0:
            try:
                # A new request after three or four transmissions: the back-off of one that is kept up would still be
                # waiting half a minute after the server is back.
                wait = min(left, timeout * _ATTEMPT_TIMEOUTS)
                answer = await self._endpoint.request(peer, Code.GET, download.options(), within_seconds=wait)
                return download.receive(answer)
            except Unanswered:
                self._log(f"no answer for byte {download.offset}, asking again", logging.WARNING)
            except (TryAgain, WasReset):
                await asyncio.sleep(min(pause, left))
                pause = min(pause * 2, _MAX_PAUSE_SECONDS)
        raise DownloadFailed(Result.CONNECTION_LOST, f"no answer for byte {download.offset}")

    def _spoilt(self, data: bytes) -> bytes:
        if Misbehaviour.CORRUPTS_DELTAS not in self._options.misbehaviours:
            return data
        return data[:-1] + bytes([data[-1] ^ 0xFF])

    def _misbehave(self, download: Download) -> None:
        if Misbehaviour.REBOOTS_MID_DOWNLOAD not in self._options.misbehaviours or self._ledger.rebooted_mid_download:
            return
        if download.size is None or download.offset * 2 >= download.size:
            self._ledger.rebooted_mid_download = True
            self._ledger.save()
            self._reboot("mid-download, as told to", 0.0)

    def _end(self, state: State, result: Result) -> None:
        # Zephyr's order: State, then Result (lwm2m_firmware_set_update_result).
        self._set(STATE, int(state))
        self._set(RESULT, int(result))

    def _set(self, path: Path, value: ResourceValue) -> None:
        if self._resources.set(path, value):
            self._changed(path)

    def _log(self, text: str, level: int = logging.INFO) -> None:
        _LOGGER.log(level, text, extra={"endpoint": self._ledger.endpoint})
