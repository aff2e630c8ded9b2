/* The bytes of a package into the secondary slot: told apart, checked before anything is erased, programmed in blocks.
 *
 * A block is programmed when it is full. Before the first block of a sector the sector is erased, unless it is blank.
 * After a power cut the same bytes come again from the checkpoint on: write units that are in flash already are left
 * alone, and where there is anything else (a torn unit) the package ends, for flash is not programmed twice.
 */
#include "updraft/package.h"

#include <string.h>

#include "bytes.h"

#define CHECKPOINT_MAGIC 0x31434455u /* "UDC1": changes with the layout */

enum {
    MAGIC_BYTES = 4,
    /* Where things lie in a checkpoint. */
    AT_OFFSET = 4,
    AT_WRITTEN = 8,
    AT_BLOCK_AT = 12,
    AT_BLOCK = 16,
    AT_HEAD = AT_BLOCK + UPDRAFT_BLOCK_BYTES,
    AT_PATCH = AT_HEAD + UPDRAFT_DELTA_HEADER_BYTES,
    AT_CRC = AT_PATCH + UPDRAFT_PATCH_DUMP_BYTES,
};

/* How many bytes of the package are its header. */
static uint32_t head_bytes(const struct updraft_package *package) {
    return package->kind == UPDRAFT_PACKAGE_DELTA ? UPDRAFT_DELTA_HEADER_BYTES : UPDRAFT_IMAGE_HEADER_BYTES;
}

static bool is_erased(const struct updraft_slot *slot, const uint8_t *data, uint32_t length) {
    uint32_t at = 0;
    while (at < length && data[at] == slot->erased_value) {
        at++;
    }
    return at == length;
}

static enum updraft_result is_blank(const struct updraft_slot *slot, uint32_t offset, uint32_t length, bool *blank) {
    uint8_t piece[UPDRAFT_BLOCK_BYTES];
    *blank = true;
    for (uint32_t at = 0; at < length && *blank; at += UPDRAFT_BLOCK_BYTES) {
        uint32_t size = length - at < UPDRAFT_BLOCK_BYTES ? length - at : UPDRAFT_BLOCK_BYTES;
        enum updraft_result result = updraft_read(&slot->area, offset + at, piece, size);
        if (result != UPDRAFT_GOOD) {
            return result;
        }
        *blank = is_erased(slot, piece, size);
    }
    return UPDRAFT_GOOD;
}

/* The bytes of the sector at `offset` that belong to the area; the trailer may share its last sector. */
static uint32_t sector_bytes(const struct updraft_slot *slot, uint32_t offset) {
    uint32_t left = slot->area.size - offset;
    return left < slot->sector_bytes ? left : slot->sector_bytes;
}

/* Program what waits in `block`, filled up to whole write units. */
static enum updraft_result program(struct updraft_package *package) {
    const struct updraft_slot *slot = package->slot;
    uint32_t length = (package->block_at + slot->write_unit - 1u) / slot->write_unit * slot->write_unit;
    uint8_t present[UPDRAFT_BLOCK_BYTES];
    if (length == 0) {
        return UPDRAFT_GOOD;
    }
    if (package->written % slot->sector_bytes == 0) {
        bool blank;
        enum updraft_result result = is_blank(slot, package->written, sector_bytes(slot, package->written), &blank);
        if (result != UPDRAFT_GOOD) {
            return result;
        }
        if (!blank && slot->erase(slot->area.context, package->written, slot->sector_bytes) != 0) {
            return UPDRAFT_FAILED;
        }
    }
    memset(package->block + package->block_at, slot->erased_value, length - package->block_at);
    enum updraft_result result = updraft_read(&slot->area, package->written, present, length);
    if (result != UPDRAFT_GOOD) {
        return result;
    }
    uint32_t there = 0;
    while (there < length && present[there] == package->block[there]) {
        there++;
    }
    there -= there % slot->write_unit;
    if (!is_erased(slot, present + there, length - there)) {
        return UPDRAFT_FAILED;
    }
    if (there < length &&
        slot->write(slot->area.context, package->written + there, package->block + there, length - there) != 0) {
        return UPDRAFT_FAILED;
    }
    package->written += package->block_at;
    package->block_at = 0;
    return UPDRAFT_GOOD;
}

static enum updraft_result store(void *context, const uint8_t *data, size_t length) {
    struct updraft_package *package = context;
    enum updraft_result result = UPDRAFT_GOOD;
    if (length > package->slot->area.size - package->written - package->block_at) {
        return UPDRAFT_NOT_ENOUGH_FLASH;
    }
    while (result == UPDRAFT_GOOD && length > 0) {
        size_t room = UPDRAFT_BLOCK_BYTES - package->block_at;
        size_t piece = length < room ? length : room;
        memcpy(package->block + package->block_at, data, piece);
        package->block_at = (uint8_t)(package->block_at + piece);
        data += piece;
        length -= piece;
        if (package->block_at == UPDRAFT_BLOCK_BYTES) {
            result = program(package);
        }
    }
    return result;
}

/* The header of the package is complete: everything that can be refused before the slot is touched. */
static enum updraft_result admit(struct updraft_package *package) {
    const struct updraft_slot *slot = package->slot;
    if (package->kind == UPDRAFT_PACKAGE_DELTA) {
        enum updraft_result result = updraft_delta_decode(package->head, &package->delta);
        return result != UPDRAFT_GOOD ? result
                                      : updraft_delta_admit(&package->delta, package->running, slot->area.size);
    }
    struct updraft_image image;
    enum updraft_result result = updraft_image_header(package->head, &image);
    if (result == UPDRAFT_GOOD && image.hashed_size > slot->area.size) {
        return UPDRAFT_NOT_ENOUGH_FLASH;
    }
    return result;
}

static enum updraft_result begin(struct updraft_package *package) {
    enum updraft_result result = admit(package);
    if (result != UPDRAFT_GOOD) {
        return result;
    }
    if (package->kind == UPDRAFT_PACKAGE_DELTA) {
        updraft_patch_begin(&package->patch, &package->delta);
        return UPDRAFT_GOOD;
    }
    return store(package, package->head, UPDRAFT_IMAGE_HEADER_BYTES);
}

/* What the first four bytes say. */
static enum updraft_result tell(struct updraft_package *package) {
    switch (updraft_get32(package->head)) {
    case UPDRAFT_IMAGE_MAGIC:
        package->kind = UPDRAFT_PACKAGE_IMAGE;
        return UPDRAFT_GOOD;
    case UPDRAFT_DELTA_MAGIC:
        package->kind = UPDRAFT_PACKAGE_DELTA;
        return UPDRAFT_GOOD;
    default:
        return UPDRAFT_UNSUPPORTED_PACKAGE;
    }
}

/* One byte of the package's header. */
static enum updraft_result head(struct updraft_package *package, uint8_t byte) {
    package->head[package->offset++] = byte;
    if (package->offset == MAGIC_BYTES) {
        return tell(package);
    }
    return package->offset == head_bytes(package) ? begin(package) : UPDRAFT_GOOD;
}

static enum updraft_result feed(struct updraft_package *package, const uint8_t *data, size_t length) {
    while (length > 0 && package->offset < head_bytes(package)) {
        enum updraft_result result = head(package, *data);
        if (result != UPDRAFT_GOOD) {
            return result;
        }
        data++;
        length--;
    }
    package->offset += (uint32_t)length;
    if (package->kind == UPDRAFT_PACKAGE_DELTA) {
        const struct updraft_sink sink = {store, package};
        return updraft_patch_feed(&package->patch, package->running, &sink, data, length);
    }
    return store(package, data, length);
}

void updraft_package_begin(struct updraft_package *package, const struct updraft_source *running,
                           const struct updraft_slot *slot) {
    memset(package, 0, sizeof *package);
    package->running = running;
    package->slot = slot;
}

enum updraft_result updraft_package_feed(struct updraft_package *package, const uint8_t *data, size_t length) {
    if (package->refused == UPDRAFT_GOOD) {
        package->refused = feed(package, data, length);
    }
    return package->refused;
}

enum updraft_result updraft_package_finish(struct updraft_package *package, struct updraft_image *image,
                                           uint8_t sha256[UPDRAFT_SHA256_BYTES]) {
    enum updraft_result result = package->refused;
    if (result == UPDRAFT_GOOD && package->offset < head_bytes(package)) {
        return UPDRAFT_INTEGRITY;
    }
    if (result == UPDRAFT_GOOD && package->kind == UPDRAFT_PACKAGE_DELTA) {
        result = updraft_patch_finish(&package->patch);
    }
    if (result == UPDRAFT_GOOD) {
        result = program(package);
    }
    if (result == UPDRAFT_GOOD) {
        result = updraft_sha256_of(&package->slot->area, package->written, sha256);
    }
    if (result == UPDRAFT_GOOD && package->kind == UPDRAFT_PACKAGE_DELTA &&
        memcmp(sha256, package->delta.to_sha256, UPDRAFT_SHA256_BYTES) != 0) {
        return UPDRAFT_INTEGRITY;
    }
    return result != UPDRAFT_GOOD ? result : updraft_image_check(&package->slot->area, package->written, image);
}

void updraft_package_checkpoint(const struct updraft_package *package, uint8_t checkpoint[UPDRAFT_CHECKPOINT_BYTES]) {
    memset(checkpoint, 0, UPDRAFT_CHECKPOINT_BYTES);
    updraft_put32(checkpoint, CHECKPOINT_MAGIC);
    updraft_put32(checkpoint + AT_OFFSET, package->offset);
    updraft_put32(checkpoint + AT_WRITTEN, package->written);
    checkpoint[AT_BLOCK_AT] = package->block_at;
    memcpy(checkpoint + AT_BLOCK, package->block, UPDRAFT_BLOCK_BYTES);
    memcpy(checkpoint + AT_HEAD, package->head, UPDRAFT_DELTA_HEADER_BYTES);
    updraft_patch_dump(&package->patch, checkpoint + AT_PATCH);
    updraft_put32(checkpoint + AT_CRC, updraft_crc32(checkpoint, AT_CRC));
}

enum updraft_result updraft_package_resume(struct updraft_package *package, const struct updraft_source *running,
                                           const struct updraft_slot *slot,
                                           const uint8_t checkpoint[UPDRAFT_CHECKPOINT_BYTES]) {
    updraft_package_begin(package, running, slot);
    if (updraft_get32(checkpoint) != CHECKPOINT_MAGIC ||
        updraft_get32(checkpoint + AT_CRC) != updraft_crc32(checkpoint, AT_CRC)) {
        return UPDRAFT_INTEGRITY;
    }
    package->offset = updraft_get32(checkpoint + AT_OFFSET);
    package->written = updraft_get32(checkpoint + AT_WRITTEN);
    package->block_at = checkpoint[AT_BLOCK_AT];
    memcpy(package->block, checkpoint + AT_BLOCK, UPDRAFT_BLOCK_BYTES);
    memcpy(package->head, checkpoint + AT_HEAD, UPDRAFT_DELTA_HEADER_BYTES);
    enum updraft_result result = package->offset >= MAGIC_BYTES ? tell(package) : UPDRAFT_GOOD;
    if (result == UPDRAFT_GOOD && package->offset >= head_bytes(package)) {
        result = admit(package);
    }
    if (result != UPDRAFT_GOOD) {
        return result;
    }
    /* How much of the image is out must agree with how much of the package was taken. The sum cannot come around: what
     * is written is whole blocks, what waits is less than one. */
    uint32_t out = package->written + package->block_at;
    uint32_t taken = package->offset < head_bytes(package) ? 0 : package->offset;
    if (taken > 0 && package->kind == UPDRAFT_PACKAGE_DELTA) {
        result = updraft_patch_restore(&package->patch, &package->delta, checkpoint + AT_PATCH);
        if (taken != UPDRAFT_DELTA_HEADER_BYTES + package->delta.patch_size - package->patch.patch_left) {
            result = UPDRAFT_INTEGRITY;
        }
        taken = package->patch.to_at;
    }
    bool fits = package->written % UPDRAFT_BLOCK_BYTES == 0 && package->block_at < UPDRAFT_BLOCK_BYTES &&
                out <= slot->area.size && out == taken;
    return fits ? result : UPDRAFT_INTEGRITY;
}
