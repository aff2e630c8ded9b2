/* Packages on their way into a strict flash: what is refused, when the slot is touched, and every power cut. */
#include "updraft/package.h"

#include <string.h>

#include "../src/bytes.h"
#include "build.h"
#include "check.h"
#include "flash_model.h"

enum { SECTOR = 512, SLOT = 4096 };

static struct built base, target, stream, delta;
static struct flash_model model;
static struct updraft_package package;
static struct updraft_image facts;
static uint8_t sha256[UPDRAFT_SHA256_BYTES];

static void pair_of(uint32_t body_bytes, enum updraft_compression compression) {
    image_good(&base, body_bytes, 0);
    image_good(&target, body_bytes, 1);
    stream_plain(&stream, &target, 64);
    delta_of(&delta, compression, &base, &target, &stream);
}

static void pair(enum updraft_compression compression) {
    pair_of(1500, compression);
}

static void slot(uint8_t content) {
    model_begin(&model, content, SLOT, SECTOR, 8, 0xff);
}

/* The whole of `bytes`, in blocks of `step`. */
static enum updraft_result brought(const struct built *bytes, uint32_t step) {
    const struct updraft_source running = memory_source(base.data, base.size);
    enum updraft_result result = UPDRAFT_GOOD;
    updraft_package_begin(&package, &running, &model.slot);
    for (uint32_t at = 0; result == UPDRAFT_GOOD && at < bytes->size; at += step) {
        uint32_t length = bytes->size - at < step ? bytes->size - at : step;
        result = updraft_package_feed(&package, bytes->data + at, length);
    }
    return result == UPDRAFT_GOOD ? updraft_package_finish(&package, &facts, sha256) : result;
}

static bool is_target_in_flash(void) {
    return memcmp(model.data, target.data, target.size) == 0 && model.violations == 0;
}

static void an_image_and_both_deltas_give_the_target_in_any_blocks(void) {
    static const uint32_t steps[] = {1, 3, 16, 64, 512, 8192};
    static const struct built *packages[] = {&target, &delta};
    for (int compression = UPDRAFT_CRLE; compression <= UPDRAFT_HEATSHRINK; compression++) {
        pair((enum updraft_compression)compression);
        for (size_t which = 0; which < 2; which++) {
            for (size_t at = 0; at < sizeof steps / sizeof steps[0]; at++) {
                slot(0x5a);
                CHECK_EQUAL(brought(packages[which], steps[at]), UPDRAFT_GOOD);
                CHECK_EQUAL(package.kind, which == 0 ? UPDRAFT_PACKAGE_IMAGE : UPDRAFT_PACKAGE_DELTA);
                CHECK_EQUAL(package.offset, packages[which]->size);
                CHECK(is_target_in_flash());
                CHECK_EQUAL(facts.total_size, target.size);
                CHECK(memcmp(sha256, delta.data + 56, sizeof sha256) == 0);
            }
        }
    }
}

static void only_the_sectors_that_are_needed_are_erased_and_no_blank_one(void) {
    pair(UPDRAFT_CRLE);
    slot(0x5a);
    CHECK_EQUAL(brought(&target, 100), UPDRAFT_GOOD);
    CHECK_EQUAL(model.erases, (target.size + SECTOR - 1) / SECTOR);
    CHECK_EQUAL(model.data[SLOT - 1], 0x5a);
    slot(0xff);
    CHECK_EQUAL(brought(&target, 100), UPDRAFT_GOOD);
    CHECK_EQUAL(model.erases, 0);
    model_begin(&model, 0x5a, SLOT, SECTOR, 4, 0x00);
    CHECK_EQUAL(brought(&target, 100), UPDRAFT_GOOD);
    CHECK(is_target_in_flash());
}

/* `at` in the delta (first half of the rows) or in the image is changed. */
static void what_the_head_gives_away_is_refused_before_the_slot_is_touched(void) {
    static const struct {
        bool in_delta;
        uint32_t at;
        uint8_t value;
        enum updraft_result result;
    } rows[] = {
        {true, 0, 'X', UPDRAFT_UNSUPPORTED_PACKAGE}, /* neither image nor delta */
        {true, 4, 2, UPDRAFT_UNSUPPORTED_PACKAGE},   /* version */
        {true, 21, 9, UPDRAFT_UNSUPPORTED_PACKAGE},  /* window */
        {true, 8, 1, UPDRAFT_INTEGRITY},             /* size of the base */
        {true, 24, 0, UPDRAFT_INTEGRITY},            /* hash of the base */
        {true, 13, 0xff, UPDRAFT_NOT_ENOUGH_FLASH},  /* size of the result */
        {true, 88, 0, UPDRAFT_INTEGRITY},            /* first byte of the patch */
        {false, 0, 0, UPDRAFT_UNSUPPORTED_PACKAGE},
        {false, 8, 1, UPDRAFT_INTEGRITY},            /* size of the header */
        {false, 13, 0x10, UPDRAFT_NOT_ENOUGH_FLASH}, /* size of the body */
    };
    for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
        pair(UPDRAFT_HEATSHRINK);
        slot(0x5a);
        struct built *bytes = rows[row].in_delta ? &delta : &target;
        bytes->data[rows[row].at] = rows[row].value;
        CHECK_EQUAL(brought(bytes, 100), rows[row].result);
        CHECK_EQUAL(model.operations, 0);
        /* and for ever after */
        CHECK_EQUAL(updraft_package_feed(&package, target.data, target.size), rows[row].result);
        CHECK_EQUAL(updraft_package_finish(&package, &facts, sha256), rows[row].result);
        CHECK_EQUAL(model.operations, 0);
    }
}

static void what_only_the_whole_gives_away_is_refused_at_the_end(void) {
    pair(UPDRAFT_CRLE);
    slot(0x5a);
    target.data[target.size - 120] ^= 1; /* in the hash */
    CHECK_EQUAL(brought(&target, 100), UPDRAFT_INTEGRITY);
    pair(UPDRAFT_CRLE);
    target.size--;
    CHECK_EQUAL(brought(&target, 100), UPDRAFT_INTEGRITY);
    target.size = 31;
    CHECK_EQUAL(brought(&target, 100), UPDRAFT_INTEGRITY);
    target.size = 3;
    CHECK_EQUAL(brought(&target, 100), UPDRAFT_INTEGRITY);
    pair(UPDRAFT_CRLE);
    put(&target, "x", 1);
    CHECK_EQUAL(brought(&target, 100), UPDRAFT_INTEGRITY);
    pair(UPDRAFT_CRLE);
    delta.size--;
    CHECK_EQUAL(brought(&delta, 100), UPDRAFT_INTEGRITY);
    delta.size = 87;
    CHECK_EQUAL(brought(&delta, 100), UPDRAFT_INTEGRITY);
    pair(UPDRAFT_CRLE);
    put(&delta, "x", 1);
    CHECK_EQUAL(brought(&delta, 100), UPDRAFT_INTEGRITY);
    pair(UPDRAFT_CRLE);
    delta.data[60] ^= 1; /* in the hash of the result: a good image, and not the one that was promised */
    CHECK_EQUAL(brought(&delta, 100), UPDRAFT_INTEGRITY);
    pair(UPDRAFT_CRLE);
    delta.data[delta.size - 400] ^= 1; /* in the patch */
    CHECK_EQUAL(brought(&delta, 100), UPDRAFT_INTEGRITY);
}

static void a_result_that_is_no_image_is_not_good(void) {
    pair(UPDRAFT_CRLE);
    target.data[0] ^= 1;
    stream_plain(&stream, &target, 0);
    delta_of(&delta, UPDRAFT_CRLE, &base, &target, &stream);
    slot(0x5a);
    CHECK_EQUAL(brought(&delta, 100), UPDRAFT_UNSUPPORTED_PACKAGE);
}

static void an_image_may_fill_the_slot_to_its_last_byte_and_no_more(void) {
    pair(UPDRAFT_CRLE);
    image_good(&target, SLOT - (target.size - 1500), 1);
    CHECK_EQUAL(target.size, SLOT);
    slot(0x5a);
    CHECK_EQUAL(brought(&target, 100), UPDRAFT_GOOD);
    CHECK_EQUAL(model.highest, SLOT);
    put(&target, "x", 1);
    slot(0x5a);
    CHECK_EQUAL(brought(&target, 100), UPDRAFT_NOT_ENOUGH_FLASH);
    CHECK_EQUAL(model.violations, 0);
    /* The trailer begins within the last sector: the area ends before it. */
    image_good(&target, target.size - 1 - 64 - 188 - 200, 1);
    model_begin(&model, 0x5a, target.size + 8 - target.size % 8, SECTOR, 8, 0xff);
    CHECK_EQUAL(brought(&target, 100), UPDRAFT_GOOD);
    CHECK(is_target_in_flash());
    model_begin(&model, 0xff, model.slot.area.size, SECTOR, 8, 0xff);
    CHECK_EQUAL(brought(&target, 100), UPDRAFT_GOOD);
    CHECK_EQUAL(model.erases, 0);
    CHECK_EQUAL(model.violations, 0);
}

static void an_image_that_is_a_byte_too_long_is_refused_by_its_header(void) {
    const struct updraft_source running = memory_source(base.data, base.size);
    for (uint32_t more = 0; more < 2; more++) {
        image_begin(&target, 32, SLOT - 32 + more, 0, 0);
        slot(0x5a);
        updraft_package_begin(&package, &running, &model.slot);
        CHECK_EQUAL(updraft_package_feed(&package, target.data, 32),
                    more == 0 ? UPDRAFT_GOOD : UPDRAFT_NOT_ENOUGH_FLASH);
        CHECK_EQUAL(model.operations, 0);
    }
}

static void a_block_that_begins_as_erased_flash_looks_is_written_in_whole_units(void) {
    const struct updraft_source running = memory_source(base.data, base.size);
    image_good(&target, 500, 0);
    memset(target.data + UPDRAFT_BLOCK_BYTES, 0xff, 9);
    model_begin(&model, 0xff, SLOT, SECTOR, 16, 0xff);
    updraft_package_begin(&package, &running, &model.slot);
    CHECK_EQUAL(updraft_package_feed(&package, target.data, 2 * UPDRAFT_BLOCK_BYTES), UPDRAFT_GOOD);
    CHECK(memcmp(model.data, target.data, 2 * UPDRAFT_BLOCK_BYTES) == 0);
    CHECK_EQUAL(model.violations, 0);
}

static void a_flash_that_fails_ends_the_package(void) {
    pair(UPDRAFT_CRLE);
    slot(0x5a);
    CHECK_EQUAL(brought(&target, 100), UPDRAFT_GOOD);
    const unsigned long operations = model.operations;
    const unsigned long reads = model.reads;
    for (unsigned long cut = 1; cut <= operations; cut++) {
        slot(0x5a);
        model.cut_at = cut;
        CHECK_EQUAL(brought(&target, 100), UPDRAFT_FAILED);
    }
    for (unsigned long read = 1; read <= reads; read++) {
        slot(0x5a);
        model.fail_read_at = read;
        CHECK_EQUAL(brought(&target, 100), UPDRAFT_FAILED);
    }
    CHECK_EQUAL(model.violations, 0);
}

static void a_package_goes_on_from_a_checkpoint_at_every_byte(void) {
    static const struct built *packages[] = {&target, &delta, &delta};
    uint8_t checkpoint[UPDRAFT_CHECKPOINT_BYTES];
    for (size_t which = 0; which < 3; which++) {
        pair_of(500, which == 1 ? UPDRAFT_CRLE : UPDRAFT_HEATSHRINK);
        const struct updraft_source running = memory_source(base.data, base.size);
        const struct built *bytes = packages[which];
        for (uint32_t at = 0; at <= bytes->size; at++) {
            slot(0x5a);
            updraft_package_begin(&package, &running, &model.slot);
            CHECK_EQUAL(updraft_package_feed(&package, bytes->data, at), UPDRAFT_GOOD);
            updraft_package_checkpoint(&package, checkpoint);
            /* What came after the checkpoint is lost, but not what it did to the flash. */
            uint32_t more = bytes->size - at < 400 ? bytes->size - at : 400;
            CHECK_EQUAL(updraft_package_feed(&package, bytes->data + at, more), UPDRAFT_GOOD);
            memset(&package, 0xaa, sizeof package);
            CHECK_EQUAL(updraft_package_resume(&package, &running, &model.slot, checkpoint), UPDRAFT_GOOD);
            CHECK_EQUAL(package.offset, at);
            CHECK_EQUAL(updraft_package_feed(&package, bytes->data + at, bytes->size - at), UPDRAFT_GOOD);
            CHECK_EQUAL(updraft_package_finish(&package, &facts, sha256), UPDRAFT_GOOD);
            CHECK(is_target_in_flash());
        }
    }
}

/* One life between two power cuts: go on from the checkpoint or begin anew, and store a checkpoint after every fourth
 * block. UPDRAFT_FAILED when the power failed. */
static enum updraft_result lived(const struct built *bytes, uint8_t *checkpoint) {
    enum { BLOCK = 48 };
    const struct updraft_source running = memory_source(base.data, base.size);
    if (updraft_package_resume(&package, &running, &model.slot, checkpoint) != UPDRAFT_GOOD) {
        updraft_package_begin(&package, &running, &model.slot);
    }
    enum updraft_result result = UPDRAFT_GOOD;
    while (result == UPDRAFT_GOOD && package.offset < bytes->size) {
        const uint32_t at = package.offset;
        result = updraft_package_feed(&package, bytes->data + at, bytes->size - at < BLOCK ? bytes->size - at : BLOCK);
        if (result == UPDRAFT_GOOD && at / BLOCK % 4 == 3) {
            updraft_package_checkpoint(&package, checkpoint);
        }
    }
    return result == UPDRAFT_GOOD ? updraft_package_finish(&package, &facts, sha256) : result;
}

/* The power fails in each flash operation, and then again in every second of those that follow: the package goes on
 * from the last checkpoint, the target is there in the end, and no unit was programmed twice. */
static void after_power_cuts_at_every_operation_the_target_arrives(void) {
    static const struct built *packages[] = {&target, &delta};
    unsigned long cuts = 0;
    for (size_t which = 0; which < 2; which++) {
        pair(UPDRAFT_HEATSHRINK);
        const struct built *bytes = packages[which];
        slot(0x5a);
        CHECK_EQUAL(brought(bytes, 48), UPDRAFT_GOOD);
        const unsigned long operations = model.operations;
        for (unsigned long first = 1; first <= operations; first++) {
            bool again = true;
            for (unsigned long second = first % 2; again; second += 2) {
                uint8_t checkpoint[UPDRAFT_CHECKPOINT_BYTES] = {0};
                slot(0x5a);
                model.cut_at = first;
                CHECK_EQUAL(lived(bytes, checkpoint), UPDRAFT_FAILED);
                model_power_on(&model);
                model.cut_at = second; /* 0: not again */
                enum updraft_result result = lived(bytes, checkpoint);
                again = second == 0 || result == UPDRAFT_FAILED;
                if (result == UPDRAFT_FAILED) {
                    model_power_on(&model);
                    result = lived(bytes, checkpoint);
                }
                CHECK_EQUAL(result, UPDRAFT_GOOD);
                CHECK(is_target_in_flash());
                cuts++;
            }
        }
    }
    CHECK(cuts > 300);
}

static void seal(uint8_t *checkpoint) {
    updraft_put32(checkpoint + UPDRAFT_CHECKPOINT_BYTES - 4, updraft_crc32(checkpoint, UPDRAFT_CHECKPOINT_BYTES - 4));
}

/* A checkpoint of a delta in its patch, or of an image, changed as the row says and sealed again. */
static void a_checkpoint_that_cannot_be_is_refused(void) {
    enum { OFFSET = 4, WRITTEN = 8, BLOCK_AT = 12, HEAD = 80, PATCH = 168 };
    static const struct {
        bool of_delta;
        uint32_t at;
        uint8_t value;
        enum updraft_result result;
    } rows[] = {
        {true, 0, 0, UPDRAFT_INTEGRITY},                  /* magic */
        {true, OFFSET, 0, UPDRAFT_INTEGRITY},             /* offset and patch disagree */
        {true, WRITTEN, 1, UPDRAFT_INTEGRITY},            /* not at a block */
        {true, WRITTEN + 1, 2, UPDRAFT_INTEGRITY},        /* more in flash than came out */
        {true, WRITTEN + 3, 0x80, UPDRAFT_INTEGRITY},     /* outside of the slot */
        {true, BLOCK_AT, 64, UPDRAFT_INTEGRITY},          /* more than a block waiting */
        {true, HEAD, 0, UPDRAFT_UNSUPPORTED_PACKAGE},     /* of neither kind */
        {true, HEAD + 4, 0, UPDRAFT_UNSUPPORTED_PACKAGE}, /* of another version */
        {true, HEAD + 24, 0, UPDRAFT_INTEGRITY},          /* of another base */
        {true, PATCH + 34, 99, UPDRAFT_INTEGRITY},        /* a state of the decoder that cannot be */
        {false, OFFSET, 0xff, UPDRAFT_INTEGRITY},
        {false, HEAD + 8, 0, UPDRAFT_INTEGRITY},
        {false, HEAD + 13, 0xff, UPDRAFT_NOT_ENOUGH_FLASH},
    };
    uint8_t checkpoint[UPDRAFT_CHECKPOINT_BYTES];
    pair(UPDRAFT_CRLE);
    const struct updraft_source running = memory_source(base.data, base.size);
    for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
        slot(0xff);
        updraft_package_begin(&package, &running, &model.slot);
        CHECK_EQUAL(updraft_package_feed(&package, rows[row].of_delta ? delta.data : target.data, 300), UPDRAFT_GOOD);
        updraft_package_checkpoint(&package, checkpoint);
        checkpoint[rows[row].at] = rows[row].value;
        seal(checkpoint);
        CHECK_EQUAL(updraft_package_resume(&package, &running, &model.slot, checkpoint), rows[row].result);
    }
    checkpoint[100] ^= 1;
    CHECK_EQUAL(updraft_package_resume(&package, &running, &model.slot, checkpoint), UPDRAFT_INTEGRITY);
    /* Written and waiting add up to more than the slot has. */
    slot(0xff);
    image_good(&target, SLOT - (target.size - 1500), 1);
    updraft_package_begin(&package, &running, &model.slot);
    CHECK_EQUAL(updraft_package_feed(&package, target.data, SLOT), UPDRAFT_GOOD);
    updraft_package_checkpoint(&package, checkpoint);
    checkpoint[BLOCK_AT] = 1;
    checkpoint[OFFSET] = 1;
    seal(checkpoint);
    CHECK_EQUAL(updraft_package_resume(&package, &running, &model.slot, checkpoint), UPDRAFT_INTEGRITY);
    /* A whole block waits, which would have been programmed. */
    checkpoint[OFFSET] = 0;
    checkpoint[BLOCK_AT] = UPDRAFT_BLOCK_BYTES;
    updraft_put32(checkpoint + WRITTEN, SLOT - UPDRAFT_BLOCK_BYTES);
    seal(checkpoint);
    CHECK_EQUAL(updraft_package_resume(&package, &running, &model.slot, checkpoint), UPDRAFT_INTEGRITY);
}

static void another_block_in_flash_than_comes_again_ends_the_package(void) {
    uint8_t checkpoint[UPDRAFT_CHECKPOINT_BYTES];
    pair(UPDRAFT_CRLE);
    const struct updraft_source running = memory_source(base.data, base.size);
    slot(0x5a);
    updraft_package_begin(&package, &running, &model.slot);
    CHECK_EQUAL(updraft_package_feed(&package, target.data, 600), UPDRAFT_GOOD);
    updraft_package_checkpoint(&package, checkpoint);
    model.data[700] = 0x11;
    CHECK_EQUAL(updraft_package_resume(&package, &running, &model.slot, checkpoint), UPDRAFT_GOOD);
    CHECK_EQUAL(updraft_package_feed(&package, target.data + 600, target.size - 600), UPDRAFT_FAILED);
    CHECK_EQUAL(model.violations, 0);
    CHECK_EQUAL(brought(&target, 100), UPDRAFT_GOOD);
    CHECK(is_target_in_flash());
}

void test_package(void) {
    RUN(an_image_and_both_deltas_give_the_target_in_any_blocks);
    RUN(only_the_sectors_that_are_needed_are_erased_and_no_blank_one);
    RUN(what_the_head_gives_away_is_refused_before_the_slot_is_touched);
    RUN(what_only_the_whole_gives_away_is_refused_at_the_end);
    RUN(a_result_that_is_no_image_is_not_good);
    RUN(an_image_may_fill_the_slot_to_its_last_byte_and_no_more);
    RUN(an_image_that_is_a_byte_too_long_is_refused_by_its_header);
    RUN(a_block_that_begins_as_erased_flash_looks_is_written_in_whole_units);
    RUN(a_flash_that_fails_ends_the_package);
    RUN(a_package_goes_on_from_a_checkpoint_at_every_byte);
    RUN(after_power_cuts_at_every_operation_the_target_arrives);
    RUN(a_checkpoint_that_cannot_be_is_refused);
    RUN(another_block_in_flash_than_comes_again_ends_the_package);
}
