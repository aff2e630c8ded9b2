/* The vectors that Python and C share, packed into one file by tools/firmware_vectors.py, which says how. */
#include <string.h>

#include "../src/bytes.h"
#include "check.h"
#include "flash_model.h"
#include "updraft/package.h"
#include "updraft/update.h"

enum { IMAGE = 1, DELTA, IMAGE_FLIPS, DELTA_FLIPS, PACKAGE, MOVES };

struct record {
    uint8_t kind;
    uint8_t verdict;
    const char *name;
    struct {
        uint8_t *data;
        uint32_t size;
    } part[3];
};

static uint8_t vectors[2500000];
static uint8_t result[MODEL_BYTES];
static uint32_t result_size;

static enum updraft_result collect(void *context, const uint8_t *data, size_t length) {
    const struct updraft_delta *delta = context;
    CHECK(length <= delta->to_size - result_size);
    memcpy(result + result_size, data, length);
    result_size += (uint32_t)length;
    return UPDRAFT_GOOD;
}

/* Header, base, patch, result: what a device does, in its order. */
static enum updraft_result applied(const struct updraft_source *base, const uint8_t *data, uint32_t size,
                                   uint32_t step) {
    struct updraft_delta delta;
    struct updraft_patch patch;
    uint8_t digest[UPDRAFT_SHA256_BYTES];
    if (size < UPDRAFT_DELTA_HEADER_BYTES) {
        return UPDRAFT_INTEGRITY;
    }
    enum updraft_result said = updraft_delta_decode(data, &delta);
    said = said == UPDRAFT_GOOD ? updraft_delta_admit(&delta, base, sizeof result) : said;
    if (said != UPDRAFT_GOOD) {
        return said;
    }
    const struct updraft_sink sink = {collect, &delta};
    result_size = 0;
    updraft_patch_begin(&patch, &delta);
    for (uint32_t at = UPDRAFT_DELTA_HEADER_BYTES; said == UPDRAFT_GOOD && at < size; at += step) {
        said = updraft_patch_feed(&patch, base, &sink, data + at, size - at < step ? size - at : step);
    }
    said = said == UPDRAFT_GOOD ? updraft_patch_finish(&patch) : said;
    if (said == UPDRAFT_GOOD) {
        const struct updraft_source whole = memory_source(result, result_size);
        said = updraft_sha256_of(&whole, result_size, digest);
    }
    return said == UPDRAFT_GOOD && memcmp(digest, delta.to_sha256, sizeof digest) != 0 ? UPDRAFT_INTEGRITY : said;
}

static void put_fact(uint8_t **at, uint32_t value) {
    updraft_put32(*at, value);
    *at += 4;
}

/* Whether the facts are those that Python's parser found. */
static bool has_facts(const struct updraft_image *image, const uint8_t *expected, uint32_t size) {
    uint8_t facts[80];
    uint8_t *at = facts;
    put_fact(&at, image->version.major);
    put_fact(&at, image->version.minor);
    put_fact(&at, image->version.revision);
    put_fact(&at, image->version.build);
    put_fact(&at, image->header_size);
    put_fact(&at, image->image_size);
    put_fact(&at, image->hashed_size);
    put_fact(&at, image->total_size);
    put_fact(&at, image->flags);
    put_fact(&at, image->security_counter);
    put_fact(&at, image->has);
    memcpy(at, image->key_hash, sizeof image->key_hash);
    at += sizeof image->key_hash;
    return size == (size_t)(at - facts) && memcmp(facts, expected, size) == 0;
}

static void image(const struct record *record) {
    struct updraft_image found;
    const struct updraft_source source = memory_source(record->part[0].data, record->part[0].size);
    const enum updraft_result said = updraft_image_check(&source, source.size, &found);
    CHECK_EQUAL(said == UPDRAFT_GOOD, record->verdict == UPDRAFT_GOOD);
    CHECK(said != UPDRAFT_GOOD || has_facts(&found, record->part[1].data, record->part[1].size));
}

static void delta(const struct record *record) {
    const struct updraft_source base = memory_source(record->part[0].data, record->part[0].size);
    static const uint32_t steps[] = {1, 37, 100000};
    for (size_t at = 0; at < sizeof steps / sizeof steps[0]; at++) {
        CHECK_EQUAL(applied(&base, record->part[1].data, record->part[1].size, steps[at]), record->verdict);
        CHECK(record->verdict != UPDRAFT_GOOD ||
              (result_size == record->part[2].size && memcmp(result, record->part[2].data, result_size) == 0));
    }
}

/* Every bit of part `which` turned around: part `which` + 1 has a verdict for each. */
static void flips(const struct record *record, unsigned which) {
    const struct updraft_source base = memory_source(record->part[0].data, record->part[0].size);
    uint8_t *data = record->part[which].data;
    for (uint32_t bit = 0; bit < record->part[which].size * 8; bit++) {
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct updraft_image found;
        if (which == 0) {
            const enum updraft_result said = updraft_image_check(&base, base.size, &found);
            CHECK_EQUAL(said == UPDRAFT_GOOD, record->part[1].data[bit] == UPDRAFT_GOOD);
        } else {
            CHECK_EQUAL(applied(&base, data, record->part[1].size, 100000), record->part[2].data[bit]);
        }
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

struct journey {
    const struct record *record;
    struct updraft_source running;
    struct updraft_package package;
    struct updraft_image found;
    uint8_t sha256[UPDRAFT_SHA256_BYTES];
    enum updraft_result said;
};

static struct flash_model model;
static struct journey journey;

static void feed_all(void *context) {
    struct journey *self = context;
    const uint32_t size = self->record->part[1].size;
    for (uint32_t at = 0; self->said == UPDRAFT_GOOD && at < size; at += 512) {
        self->said =
            updraft_package_feed(&self->package, self->record->part[1].data + at, size - at < 512 ? size - at : 512);
    }
}

static void finish(void *context) {
    struct journey *self = context;
    if (self->said == UPDRAFT_GOOD) {
        self->said = updraft_package_finish(&self->package, &self->found, self->sha256);
    }
}

static void tell_stack(const char *name, const char *what, size_t bytes) {
    if (bytes > 0) {
        port_say("stack ");
        port_say(name);
        port_say(what);
        say_number(" ", (long)bytes);
        port_say("\n");
    }
}

static void package(const struct record *record) {
    memset(&journey, 0, sizeof journey);
    model_begin(&model, 0x5a, MODEL_BYTES, 4096, 8, 0xff);
    journey.record = record;
    journey.running = memory_source(record->part[0].data, record->part[0].size);
    updraft_package_begin(&journey.package, &journey.running, &model.slot);
    tell_stack(record->name, "/feed", port_stack_of(feed_all, &journey));
    tell_stack(record->name, "/finish", port_stack_of(finish, &journey));
    CHECK_EQUAL(journey.said, record->verdict);
    CHECK_EQUAL(model.violations, 0);
    CHECK(journey.said != UPDRAFT_GOOD || memcmp(model.data, record->part[2].data, record->part[2].size) == 0);
}

/* Each move that an event or a boot makes is one that the server expects, and the other way around. */
static void moves(const struct record *record) {
    enum { STATES = 4 };
    static const struct updraft_record installing = {.installing = true};
    uint8_t made[STATES * STATES] = {0};
    struct updraft_update update;
    for (int from = 0; from < STATES; from++) {
        for (int event = 0; event < UPDRAFT_EVENTS; event++) {
            memset(&update, 0, sizeof update);
            update.state = (enum updraft_state)from;
            updraft_update_step(&update, (enum updraft_event)event);
            made[from * STATES + (int)update.state] |= (int)update.state != from;
        }
    }
    updraft_update_boot(&update, &installing, installing.target, true, 600);
    made[UPDRAFT_UPDATING * STATES + (int)update.state] = 1;
    CHECK_EQUAL(record->part[0].size, sizeof made);
    CHECK(memcmp(record->part[0].data, made, sizeof made) == 0);
}

static long counts[MOVES + 1];

static void python_and_c_give_the_same_verdicts(void) {
    const size_t size = port_load("vectors.bin", vectors, sizeof vectors);
    CHECK(size > 8 && size < sizeof vectors);
    uint32_t records = size > 8 ? updraft_get32(vectors) : 0;
    uint8_t *at = vectors + 4;
    CHECK(records > 100);
    while (records-- > 0) {
        struct record record = {.kind = at[0], .verdict = at[1], .name = (const char *)at + 16};
        uint8_t *data = at + 16 + updraft_get16(at + 2);
        for (int part = 0; part < 3; part++) {
            record.part[part].data = data;
            record.part[part].size = updraft_get32(at + 4 + 4 * part);
            data += record.part[part].size;
        }
        at = data;
        switch (record.kind) {
        case IMAGE:
            image(&record);
            break;
        case DELTA:
            delta(&record);
            break;
        case PACKAGE:
            package(&record);
            break;
        case MOVES:
            moves(&record);
            break;
        default:
            flips(&record, record.kind - IMAGE_FLIPS);
            break;
        }
        counts[record.kind]++;
    }
    CHECK_EQUAL(counts[MOVES], 1);
    CHECK(at == vectors + size);
    say_number("vectors: images ", counts[IMAGE]);
    say_number(", deltas ", counts[DELTA]);
    say_number(", flipped bit by bit ", counts[IMAGE_FLIPS] + counts[DELTA_FLIPS]);
    say_number(", packages ", counts[PACKAGE]);
    port_say("\n");
}

void test_vectors(void) {
    RUN(python_and_c_give_the_same_verdicts);
}
