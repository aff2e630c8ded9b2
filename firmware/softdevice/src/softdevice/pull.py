"""Pulls a package: asks for block after block, whatever the network does, and hands them to the package in secondary.

Every block is in flash and in the ledger before the next one is asked for: a power cut costs one block.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import replace

from coap_wire import Code
from lwm2m.firmware import Result
from softdevice.board import AlreadyProgrammed, Board
from softdevice.coap_endpoint import Address, CoapEndpoint, Unanswered, WasReset
from softdevice.download import ContentChanged, Download, DownloadFailed, Piece, TryAgain, parse_uri
from softdevice.ledger import Ledger
from softdevice.options import DeviceOptions, Misbehaviour
from softdevice.package import Checkpoint, Package

_LOGGER = logging.getLogger("softdevice")
_MAX_PAUSE_SECONDS = 4.0
_MAX_RESTARTS = 3
_ATTEMPT_TIMEOUTS = 8


async def resolve(host: str, port: int) -> Address:
    """IPv4 address of a host name or literal; raises OSError."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, family=socket.AF_INET, type=socket.SOCK_DGRAM)
    except ValueError as error:
        # No name at all: an empty label, one over 63 bytes, a zero byte.
        raise OSError(f"{host!r} is no host name") from error
    address = found[0][4]
    return str(address[0]), int(address[1])


class Pull:
    """Downloads of one boot; `reboot` is for a device told to reset in the middle of one."""

    def __init__(
        self,
        board: Board,
        ledger: Ledger,
        endpoint: CoapEndpoint,
        options: DeviceOptions,
        reboot: Callable[[str, float], None],
    ) -> None:
        self._board = board
        self._ledger = ledger
        self._endpoint = endpoint
        self._options = options
        self._reboot = reboot

    async def fetch(self, text: str) -> int:
        """Size in bytes of the image that is in secondary now, whole and good.

        Raises DownloadFailed, PackageRefused and FlashError.
        """
        proxy = self._options.pull_proxy if self._options.profile.proxy_paths else None
        uri = parse_uri(text, proxied=proxy is not None)
        host, port = proxy or (uri.host, uri.port)
        try:
            peer = await resolve(host, port)
        except OSError as error:
            raise DownloadFailed(Result.INVALID_URI, f"host {host} cannot be resolved") from error
        resumes = self._options.resumes and self._options.profile.resumes
        package = self._package(self._ledger.checkpoint if resumes else None)
        progress = self._ledger.progress
        download = Download(
            uri,
            block_size=self._options.block_size or self._options.profile.block_size,
            limit=self._board.max_image_bytes,
            asks_size=self._options.profile.asks_size,
            keeps_query=self._options.profile.keeps_query,
            progress=progress and replace(progress, offset=package.offset),
        )
        self._begin(download)
        restarts = 0
        while True:
            try:
                piece = await self._block(download, peer)
                package.feed(piece.data)
            except (ContentChanged, AlreadyProgrammed):
                restarts += 1
                if restarts > _MAX_RESTARTS:
                    raise DownloadFailed(Result.CONNECTION_LOST, "the file changes faster than it is read") from None
                self._log("the server has another file now, starting from block 0")
                download.restart()
                package = self._package(None)
                self._begin(download)
                continue
            download.advance(piece)
            self._ledger.blocks += 1
            if piece.last:
                # The checkpoint before this block stays: until the swap a power cut then costs one block.
                size = package.finish()
                self._ledger.downloads += 1
                self._ledger.save()
                return size
            self._ledger.progress = download.progress(package.offset)
            self._ledger.checkpoint = package.checkpoint
            self._ledger.save()
            self._misbehave(download)

    def _package(self, checkpoint: Checkpoint | None) -> Package:
        spoils = Misbehaviour.CORRUPTS_DELTAS in self._options.misbehaviours
        return Package(self._board, self._options.delta_formats, checkpoint, spoils_deltas=spoils)

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

    async def _block(self, download: Download, peer: Address) -> Piece:
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

    def _misbehave(self, download: Download) -> None:
        if Misbehaviour.REBOOTS_MID_DOWNLOAD not in self._options.misbehaviours or self._ledger.rebooted_mid_download:
            return
        if download.size is None or download.offset * 2 >= download.size:
            self._ledger.rebooted_mid_download = True
            self._ledger.save()
            self._reboot("mid-download, as told to", 0.0)

    def _log(self, text: str, level: int = logging.INFO) -> None:
        _LOGGER.log(level, text, extra={"endpoint": self._ledger.endpoint})
