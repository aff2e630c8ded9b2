"""The planted bugs (over 400 lines because each is three texts): what it does, where, and the change that plants it.

Judged by `mutations.py`. Left out on purpose is what changes nothing that a device could show, for instance a permanent
upgrade whose image_ok is not written at its end: its status has carried image_ok since the beginning.
"""

from typing import Final, NamedTuple


class Mutant(NamedTuple):
    """In `module`, `old` (which stands there exactly once) becomes `new`."""

    title: str
    module: str
    old: str
    new: str


_TRAILER: Final = "softdevice.trailer"
_VALIDATION: Final = "softdevice.validation"
_PAIR: Final = "softdevice.bootloader.pair"
_SEQUENCE: Final = "softdevice.bootloader.sequence"
_OFFSET: Final = "softdevice.bootloader.offset"
_MOVE: Final = "softdevice.bootloader.move"
_SCRATCH: Final = "softdevice.bootloader.scratch"
_OVERWRITE: Final = "softdevice.bootloader.overwrite"
_XIP: Final = "softdevice.bootloader.direct_xip"

_REVERT_RULE: Final = 'primary_magic="good", primary_image_ok="unset", primary_copy_done="set"'

MUTANTS: Final = (
    # The trailer: where fields are, what they say, what they ask for.
    Mutant("magic is another", _TRAILER, "77c295f3", "77c295f4"),
    Mutant("magic of wide alignments is another", _TRAILER, "2de15d29", "2de15d28"),
    Mutant(
        "image_ok is not aligned",
        _TRAILER,
        "(size - MAGIC_BYTES - self.max_align) // self.max_align * self.max_align",
        "size - MAGIC_BYTES - self.max_align",
    ),
    Mutant("swap_info is one field lower", _TRAILER, "image_ok(size) - 2 *", "image_ok(size) - 3 *"),
    Mutant(
        "swap_size is one field lower without TLV sizes", _TRAILER, "keeps_tlv_sizes else 3)", "keeps_tlv_sizes else 4)"
    ),
    Mutant(
        "TLV sizes are written in the other order", _TRAILER, "for size in tlv_sizes)", "for size in tlv_sizes[::-1])"
    ),
    Mutant("swap_info forgets the image number", _TRAILER, "image << 4 | swap_type", "swap_type"),
    Mutant(
        "padding is programmed",
        _TRAILER,
        "value + bytes([self.area.flash.erased_value]) * padding",
        "value + b'Z' * padding",
    ),
    Mutant("any flag counts as set", _TRAILER, '"set" if value == SET else "bad"', '"set"'),
    Mutant("any magic counts as good", _TRAILER, '"good" if raw == self._good_magic() else "bad"', '"good"'),
    Mutant(
        "trailer of several sectors is erased in one",
        _TRAILER,
        "while at > self.offset:",
        "while at == self.area.size:",
    ),
    Mutant(
        "permanent request is a test",
        _TRAILER,
        'secondary_magic="good", secondary_image_ok="set"',
        'secondary_magic="bad"',
    ),
    Mutant("confirmed image is reverted", _TRAILER, _REVERT_RULE, 'primary_magic="good", primary_copy_done="set"'),
    Mutant(
        "image that was never swapped is reverted",
        _TRAILER,
        _REVERT_RULE,
        'primary_magic="good", primary_image_ok="unset"',
    ),
    Mutant(
        "damaged magic is enough for a revert",
        _TRAILER,
        _REVERT_RULE,
        'primary_image_ok="unset", primary_copy_done="set"',
    ),
    Mutant("announced revert is taken for a test", _TRAILER, 'secondary_copy_done="set"', 'secondary_copy_done="bad"'),
    Mutant(
        "permanent request sets no image_ok",
        _TRAILER,
        "        if permanent:\n            secondary.write_image_ok()\n",
        "",
    ),
    Mutant(
        "factory image is confirmed in flash",
        _TRAILER,
        'if state.magic == "good" and state.image_ok',
        "if state.image_ok",
    ),
    Mutant("request over a damaged magic is accepted", _TRAILER, 'if magic == "bad":', 'if magic == "unset?":'),
    Mutant(
        "status record is one unit too high",
        _TRAILER,
        "self.offset + index * self.unit",
        "self.offset + (index + 1) * self.unit",
    ),
    # What is trusted.
    Mutant(
        "hash leaves out the protected TLVs",
        "mcuboot_image.verification",
        "[: image.hashed_size]",
        "[: image.header.header_size + image.header.image_size]",
    ),
    Mutant("hash is not compared", "mcuboot_image.verification", "if digest != tlv.value:", "if False:"),
    Mutant(
        "signature is not checked",
        "mcuboot_image.verification",
        "if not _valid(signature.type, signature.value, key, name, digest):",
        "if False:",
    ),
    Mutant("image may be four bytes too large", _VALIDATION, "if size > limit or", "if size > limit + 4 or"),
    Mutant(
        "equal counter is refused", _VALIDATION, "image.security_counter >= stored", "image.security_counter > stored"
    ),
    Mutant(
        "missing counter is accepted",
        _VALIDATION,
        "image.security_counter is not None and",
        "image.security_counter is None or",
    ),
    Mutant("equal security counter is a downgrade", _VALIDATION, "candidate < running)", "candidate <= running)"),
    Mutant(
        "missing security counter is no downgrade",
        _VALIDATION,
        "candidate is None or candidate",
        "candidate is not None and candidate",
    ),
    Mutant(
        "equal version is a downgrade",
        _VALIDATION,
        "config.version_key(version) <",
        "config.version_key(version) <=",
    ),
    Mutant(
        "build number always counts",
        "softdevice.boot_config",
        'if self.downgrade_prevention == "version+build"',
        "if True",
    ),
    Mutant(
        "build number never counts",
        "softdevice.boot_config",
        'if self.downgrade_prevention == "version+build"',
        "if False",
    ),
    Mutant("image marked as not bootable boots", _VALIDATION, "and not self.fields.flags & _NON_BOOTABLE", ""),
    Mutant(
        "dependency's version is read backwards",
        _VALIDATION,
        "Version(raw[0], raw[1], revision",
        "Version(raw[1], raw[0], revision",
    ),
    # The order of a boot.
    Mutant(
        "primary is not validated",
        _SEQUENCE,
        "not header.bootable or not pair.is_valid(PRIMARY)",
        "not header.bootable",
    ),
    Mutant("dependencies are not looked at", _SEQUENCE, "if is_older(found, least, pair.config):", "if False:"),
    Mutant(
        "dependency wants a newer version than it says",
        _SEQUENCE,
        "is_older(found, least",
        "not is_older(least, found",
    ),
    Mutant(
        "unmet dependency holds back one image only",
        _SEQUENCE,
        "    for pair in pairs:\n            pair.due",
        "    for pair in pairs[:1]:\n            pair.due",
    ),
    Mutant(
        "cut between two images reverts the first",
        _SEQUENCE,
        "if pair.due == SwapType.REVERT:\n            pair.due = SwapType.NONE",
        "if pair.due == SwapType.REVERT:\n            pass",
    ),
    Mutant(
        "test may be a downgrade",
        _SEQUENCE,
        "pair.due != SwapType.REVERT and _is_downgrade",
        "pair.due == SwapType.PERMANENT and _is_downgrade",
    ),
    Mutant("refused downgrade stays in secondary", _SEQUENCE, "        pair.scramble_secondary()\n", ""),
    Mutant(
        "revert is not confirmed",
        _SEQUENCE,
        "done in (SwapType.REVERT, SwapType.PERMANENT)",
        "done == SwapType.PERMANENT",
    ),
    Mutant("test upgrade is confirmed", _SEQUENCE, "done in (SwapType.REVERT, SwapType.PERMANENT)", "done in UPGRADES"),
    Mutant("copy_done is missing", _SEQUENCE, "        pair.primary.trailer.write_copy_done()\n", "        pass\n"),
    Mutant(
        "copy_done comes before the last copy",
        _SEQUENCE,
        "    pair.upgrade()\n",
        "    if pair.swaps:\n        pair.primary.trailer.write_copy_done()\n    pair.upgrade()\n",
    ),
    Mutant(
        "counter is raised before the image is confirmed",
        _SEQUENCE,
        'state.magic != "good" or state.image_ok == "set"',
        "True",
    ),
    Mutant(
        "counter waits after a permanent upgrade",
        _SEQUENCE,
        "hw_rollback_counter and pair.due == SwapType.PERMANENT",
        "hw_rollback_counter and False",
    ),
    Mutant(
        "installed image is on test",
        _SEQUENCE,
        "        pair.due = SwapType.REVERT\n",
        "        pair.due = SwapType.TEST\n",
    ),
    Mutant(
        "headers are not read again after a swap",
        _SEQUENCE,
        "    if pair.due != SwapType.NONE:\n        pair.read_headers()",
        "    if False:\n        pair.read_headers()",
    ),
    # What all modes do alike.
    Mutant("image_ok is not kept", _PAIR, 'if image_ok == "set":', "if False:"),
    Mutant("swap_info is not kept", _PAIR, "if status.swap_type != SwapType.NONE:", "if False:"),
    Mutant(
        "swap_info is for the first image always", _PAIR, "(status.swap_type, self.number)", "(status.swap_type, 0)"
    ),
    Mutant(
        "magic comes first in a status",
        _PAIR,
        "        image_ok = self.secondary.trailer.read().image_ok\n",
        "        image_ok = self.secondary.trailer.read().image_ok\n        trailer.write_magic()\n",
    ),
    Mutant("refused image stays", _PAIR, "            erase(area, 0, area.size)\n", "            pass\n"),
    Mutant(
        "scrambled header is in the wrong sector",
        _PAIR,
        "area.erase(self.update_offset(), area.sector_size)",
        "area.erase(0, area.sector_size)",
    ),
    Mutant("swap covers the smaller image only", _PAIR, "max(old[0], new[0])", "min(old[0], new[0])"),
    Mutant(
        "copy stops a chunk early",
        _PAIR,
        "range(0, length, self.config.copy_chunk)",
        "range(0, length - 1024, self.config.copy_chunk)",
    ),
    Mutant(
        "secondary is not validated",
        _PAIR,
        "if self.misplaced(expected) or not self.is_valid(SECONDARY):",
        "if self.misplaced(expected):",
    ),
    # Swap using offset.
    Mutant(
        "offset: misplaced image is accepted",
        _OFFSET,
        "return read_header(self.secondary.area, 0).is_image",
        "return False",
    ),
    Mutant("offset: new sector is taken one too low", _OFFSET, "else (place, place + 1)", "else (place, place)"),
    Mutant("offset: revert walks up", _OFFSET, "place = last - index if down else index", "place = index"),
    Mutant("offset: primary sector is not erased", _OFFSET, "            primary.erase(place * size, size)\n", ""),
    Mutant(
        "offset: first record comes before its copy",
        _OFFSET,
        "            if keep_old:\n",
        "            records.write_record(status.index * 2, 1)\n            if keep_old:\n",
    ),
    Mutant("offset: first record has the wrong state", _OFFSET, "(status.index * 2, 1)", "(status.index * 2, 2)"),
    Mutant("offset: second record is one too far", _OFFSET, "(status.index * 2 + 1, 2)", "(status.index * 2 + 2, 2)"),
    Mutant(
        "offset: header place of the old image is wrong", _OFFSET, "and status.index < last", "and status.index <= last"
    ),
    Mutant(
        "offset: header place in a revert is wrong",
        _OFFSET,
        "return (SECONDARY, self.sector) if gone",
        "return (SECONDARY, 0) if gone",
    ),
    Mutant("offset: a swap is resumed over a new request", _OFFSET, ' or secondary.magic == "good":', ":"),
    Mutant("offset: revert is not announced", _OFFSET, "            self._announce_revert()\n", "            pass\n"),
    Mutant(
        "offset: revert leaves a header in sector 0",
        _OFFSET,
        "            erase(self.secondary.area, 0, self.sector)\n",
        "",
    ),
    Mutant(
        "offset: a sector less of the old image is kept",
        _OFFSET,
        "keep_old=place <= used[PRIMARY]",
        "keep_old=place < used[PRIMARY]",
    ),
    Mutant(
        "offset: one sector too many",
        _OFFSET,
        "-(-self.status.swap_size // self.sector) - 1",
        "self.status.swap_size // self.sector + 1",
    ),
    Mutant(
        "offset: image may fill the spare sector",
        _OFFSET,
        "min(primary, secondary - self.sector)",
        "min(primary, secondary)",
    ),
    Mutant(
        "offset: records of an erased trailer are kept", _OFFSET, "                self.primary.trailer.erase()\n", ""
    ),
    # Swap using move.
    Mutant(
        "move: sectors move up from the bottom",
        _MOVE,
        "range(count - status.index, 0, -1)",
        "range(1, count - status.index + 1)",
    ),
    Mutant(
        "move: records of phase 1 overlap",
        _MOVE,
        "self.config.max_sectors + 2 * status.index",
        "self.config.max_sectors + status.index",
    ),
    Mutant(
        "move: header place after the last move is wrong",
        _MOVE,
        "status.index >= count else 0",
        "status.index > count else 0",
    ),
    Mutant(
        "move: header place in the first sector is wrong",
        _MOVE,
        "(PRIMARY if status.state == 1 else SECONDARY), 0",
        "SECONDARY, 0",
    ),
    Mutant("move: announced revert is a test", _MOVE, "            trailer.write_image_ok()\n", ""),
    Mutant(
        "move: no sector is kept free to move into",
        _MOVE,
        "min(primary - self.sector, secondary)",
        "min(primary, secondary)",
    ),
    Mutant(
        "move: stuck revert is not given up", _MOVE, "            self.primary.trailer.erase()\n", "            pass\n"
    ),
    Mutant("move: secondary's trailer is not erased", _MOVE, "            self.secondary.trailer.erase()\n", ""),
    # Swap using scratch.
    Mutant("scratch: status of another image is taken", _SCRATCH, "scratch.image_number != image", "False"),
    Mutant(
        "scratch: status in scratch is not seen",
        _SCRATCH,
        'SourceRule("scratch", scratch_good=True)',
        'SourceRule("none", scratch_good=True)',
    ),
    Mutant(
        "scratch: borrowed trailer is erased upwards",
        _SCRATCH,
        "range(scratch.size - scratch.sector_size, -1, -scratch.sector_size)",
        "range(0, scratch.size, scratch.sector_size)",
    ),
    Mutant(
        "scratch: copy runs over the borrowed trailer",
        _SCRATCH,
        "min(primary.trailer.offset - start, self.scratch_trailer.offset)",
        "primary.trailer.offset - start",
    ),
    Mutant(
        "scratch: borrowed swap_info is not given back",
        _SCRATCH,
        "            primary.write_swap_info(state.swap_type, self.number)\n",
        "            pass\n",
    ),
    Mutant(
        "scratch: secondary keeps its trailer",
        _SCRATCH,
        "                secondary.trailer.erase()\n",
        "                pass\n",
    ),
    Mutant("scratch: resumes one step too early", _SCRATCH, "divmod(done, STATES)", "divmod(done - 1, STATES)"),
    Mutant(
        "scratch: image may leave no room for the borrowed trailer",
        _SCRATCH,
        "- max(0, self.scratch_trailer.bytes - shared)",
        "",
    ),
    Mutant(
        "scratch: record of step three is missing",
        _SCRATCH,
        "        primary.trailer.write_record(record + 2, 3)\n",
        "",
    ),
    # Overwrite.
    Mutant(
        "overwrite: copy ends with the image's last byte",
        _OVERWRITE,
        "size + unit - size % unit",
        "size + -size % unit",
    ),
    Mutant("overwrite: header stays in secondary", _OVERWRITE, "    area.erase(0, area.sector_size)\n", ""),
    Mutant(
        "overwrite: request stays in secondary",
        _OVERWRITE,
        "    area.erase(area.size - area.sector_size, area.sector_size)\n",
        "",
    ),
    Mutant("overwrite: an erased primary prevents an upgrade", _OVERWRITE, " or running.is_erased", ""),
    Mutant("overwrite: image may reach into swap_info", _OVERWRITE, "layout.swap_info(self", "layout.copy_done(self"),
    Mutant("overwrite: fast copy writes no magic", _OVERWRITE, "    pair.primary.trailer.write_magic()\n", ""),
    # Direct XIP.
    Mutant("xip: the lower version runs", _XIP, "reverse=True", "reverse=False"),
    Mutant(
        "xip: secondary wins at equal versions", _XIP, "candidates.sort(", "candidates.reverse()\n    candidates.sort("
    ),
    Mutant("xip: a try is not marked", _XIP, "        slot.trailer.write_copy_done()\n", "        pass\n"),
    Mutant(
        "xip: an unconfirmed image runs for ever",
        _XIP,
        ' or (state.copy_done == "set" and state.image_ok != "set")',
        "",
    ),
    Mutant("xip: a slot without trailer is a candidate", _XIP, 'state.magic != "good" or', "False or"),
    Mutant("xip: counter is raised before confirmation", _XIP, "and (confirmed or not revert)", ""),
    Mutant("xip: counter is not compared", _XIP, "and not counter_allows(image, flash.counters[0])", "and False"),
    Mutant(
        "xip: image linked for the other slot runs", _XIP, "if not is_built_for(slot.area, slot.header):", "if False:"
    ),
    Mutant("address of the slot is not compared", _VALIDATION, "header.fields.load_address == area.base", "True"),
    Mutant(
        "lost image of a named swap is not confirmed away",
        _SEQUENCE,
        "        if pair.swaps:\n            _confirm(pair)\n",
        "",
    ),
    Mutant("unknown swap_info is swapped", _SEQUENCE, "if pair.due not in UPGRADES:", "if False:"),
    Mutant("gap in the records is overlooked", _SCRATCH, "if not self.config.validate_primary and", "if False and"),
)
