/* Any bytes at the doors of the core, for libFuzzer: nothing may be read or written outside, or take for ever.
 *
 * The first byte chooses the door, the second how the rest is cut into pieces.
 */
#include <stdlib.h>
#include <string.h>

#include "../../src/bytes.h"
#include "../flash_model.h"
#include "updraft/package.h"
#include "updraft/update.h"

enum { BASE_BYTES = 600, SLOT_BYTES = 4096, SECTOR_BYTES = 512 };

static uint8_t base[BASE_BYTES];
static struct flash_model model;
static uint32_t out;

static void must(bool holds) {
    if (!holds) {
        abort();
    }
}

static enum updraft_result counted(void *context, const uint8_t *data, size_t length) {
    const struct updraft_patch *patch = context;
    (void)data;
    out += (uint32_t)length;
    must(out <= patch->to_size);
    return UPDRAFT_GOOD;
}

static void image(const uint8_t *data, size_t size) {
    const struct updraft_source source = memory_source(data, (uint32_t)size);
    struct updraft_image found;
    if (updraft_image_check(&source, (uint32_t)size, &found) == UPDRAFT_GOOD) {
        must(found.total_size == size && found.vendor_offset + found.vendor_size <= size);
    }
}

/* A package as it came, or with the header of a delta made to fit the base; with a power cut somewhere. */
static void package(const uint8_t *data, size_t size, size_t step, bool fitted) {
    static struct updraft_package self;
    uint8_t bytes[4096];
    uint8_t checkpoint[UPDRAFT_CHECKPOINT_BYTES];
    uint8_t sha256[UPDRAFT_SHA256_BYTES];
    struct updraft_image found;
    const struct updraft_source running = memory_source(base, sizeof base);
    size = size < sizeof bytes ? size : sizeof bytes;
    memcpy(bytes, data, size);
    if (fitted && size >= UPDRAFT_DELTA_HEADER_BYTES) {
        static const uint8_t form[2][4] = {{1, 0, 0, 0}, {2, 8, 7, 0}};
        memcpy(bytes, "UDLT\1\x58\0\0", 8);
        updraft_put32(bytes + 8, sizeof base);
        updraft_put32(bytes + 12, updraft_get32(bytes + 12) % SLOT_BYTES);
        updraft_put32(bytes + 16, (uint32_t)size - UPDRAFT_DELTA_HEADER_BYTES);
        memcpy(bytes + 20, form[bytes[20] & 1], 4);
        updraft_sha256_of(&running, sizeof base, bytes + 24);
    }
    model_begin(&model, 0x5a, SLOT_BYTES, SECTOR_BYTES, 8, 0xff);
    updraft_package_begin(&self, &running, &model.slot);
    for (size_t at = 0; at < size; at += step) {
        updraft_package_feed(&self, bytes + at, size - at < step ? size - at : step);
        if (at % 3 == 0 && self.refused == UPDRAFT_GOOD) {
            updraft_package_checkpoint(&self, checkpoint);
            must(updraft_package_resume(&self, &running, &model.slot, checkpoint) == UPDRAFT_GOOD);
        }
    }
    updraft_package_finish(&self, &found, sha256);
    must(model.violations == 0);
}

/* A checkpoint and a record that nobody wrote, with the right checks. */
static void stored(const uint8_t *data, size_t size) {
    static struct updraft_package self;
    uint8_t checkpoint[UPDRAFT_CHECKPOINT_BYTES] = {0};
    const struct updraft_source running = memory_source(base, sizeof base);
    size_t rest = size > UPDRAFT_CHECKPOINT_BYTES ? size - UPDRAFT_CHECKPOINT_BYTES : 0;
    memcpy(checkpoint, data, size - rest);
    updraft_put32(checkpoint, 0x31434455u);
    updraft_put32(checkpoint + UPDRAFT_CHECKPOINT_BYTES - 4, updraft_crc32(checkpoint, UPDRAFT_CHECKPOINT_BYTES - 4));
    model_begin(&model, 0x5a, SLOT_BYTES, SECTOR_BYTES, 8, 0xff);
    if (updraft_package_resume(&self, &running, &model.slot, checkpoint) == UPDRAFT_GOOD) {
        updraft_package_feed(&self, data + size - rest, rest);
    }
    must(model.violations == 0);
}

/* A state of the decoder that may never have been, and what it does with more bytes. */
static void dumped(const uint8_t *data, size_t size) {
    struct updraft_patch patch;
    uint8_t dump[UPDRAFT_PATCH_DUMP_BYTES] = {0};
    const struct updraft_source running = memory_source(base, sizeof base);
    size_t rest = size > sizeof dump ? size - sizeof dump : 0;
    const struct updraft_delta delta = {.from_size = sizeof base,
                                        .to_size = 3000,
                                        .patch_size = 5000,
                                        .compression = size & 1 ? UPDRAFT_CRLE : UPDRAFT_HEATSHRINK};
    memcpy(dump, data, size - rest);
    if (updraft_patch_restore(&patch, &delta, dump) == UPDRAFT_GOOD) {
        const struct updraft_sink sink = {counted, &patch};
        out = patch.to_at;
        updraft_patch_feed(&patch, &running, &sink, data + size - rest, rest);
    }
}

/* A life of events, reboots and confirmations in any order. */
static void life(const uint8_t *data, size_t size) {
    static const uint8_t running[2][UPDRAFT_SHA256_BYTES] = {{1}, {2}};
    struct updraft_update update = {0};
    for (size_t at = 0; at < size; at++) {
        const struct updraft_update before = update;
        const unsigned choice = data[at] % 16u;
        unsigned actions = 0;
        if (choice < UPDRAFT_EVENTS) {
            actions = updraft_update_step(&update, (enum updraft_event)choice);
        } else if (choice < 10) {
            actions = updraft_update_downloaded(&update, running[choice % 2]);
        } else if (choice < 12) {
            actions = updraft_update_failed(&update, UPDRAFT_INTEGRITY);
        } else if (choice < 15) {
            /* Through the bytes of the record, as a reboot does. */
            uint8_t bytes[UPDRAFT_RECORD_BYTES];
            struct updraft_record record;
            updraft_record_encode(&update.record, bytes);
            must(updraft_record_decode(bytes, &record));
            updraft_update_boot(&update, &record, running[choice % 2], choice == 14, 600);
            must(update.state == UPDRAFT_IDLE && update.trial.on == (choice != 14));
            must(!update.record.installing || update.trial.on);
        } else {
            updraft_update_confirmed(&update);
            must(!update.trial.on && update.record.installing == (before.record.installing && !before.trial.on));
        }
        must(!(actions & UPDRAFT_REFUSE) || memcmp(&before, &update, sizeof update) == 0);
        must(!before.trial.on || !(actions & (UPDRAFT_START_DOWNLOAD | UPDRAFT_INSTALL | UPDRAFT_STORE_RECORD)));
        must(!(actions & UPDRAFT_INSTALL) || (before.state == UPDRAFT_DOWNLOADED && update.record.installing));
        must(update.state != UPDRAFT_UPDATING || update.record.installing);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) {
        return 0;
    }
    const size_t step = data[1] % 100u + 1u;
    switch (data[0] % 6) {
    case 0:
        image(data + 2, size - 2);
        break;
    case 1:
        package(data + 2, size - 2, step, false);
        break;
    case 2:
        package(data + 2, size - 2, step, true);
        break;
    case 3:
        stored(data + 2, size - 2);
        break;
    case 4:
        dumped(data + 2, size - 2);
        break;
    default:
        life(data + 2, size - 2);
        break;
    }
    return 0;
}
