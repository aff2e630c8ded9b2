/* The header of a delta, and whether it may be applied here. */
#include <string.h>

#include "build.h"
#include "check.h"
#include "flash_model.h"

static struct built base, target, stream, delta;

static void right_one(void) {
    image_good(&base, 300, 0);
    image_good(&target, 320, 1);
    stream_plain(&stream, &target, 30);
    delta_of(&delta, UPDRAFT_HEATSHRINK, &base, &target, &stream);
}

static void a_header_is_read_whole(void) {
    struct updraft_delta header;
    right_one();
    CHECK_EQUAL(updraft_delta_decode(delta.data, &header), UPDRAFT_GOOD);
    CHECK_EQUAL(header.from_size, base.size);
    CHECK_EQUAL(header.to_size, target.size);
    CHECK_EQUAL(header.patch_size, delta.size - UPDRAFT_DELTA_HEADER_BYTES);
    CHECK_EQUAL(header.compression, UPDRAFT_HEATSHRINK);
    CHECK(memcmp(header.from_sha256, delta.data + 24, 32) == 0);
    CHECK(memcmp(header.to_sha256, delta.data + 56, 32) == 0);
    delta_of(&delta, UPDRAFT_CRLE, &base, &target, &stream);
    CHECK_EQUAL(updraft_delta_decode(delta.data, &header), UPDRAFT_GOOD);
    CHECK_EQUAL(header.compression, UPDRAFT_CRLE);
}

static void every_other_form_is_unsupported(void) {
    static const uint8_t places[] = {0, 1, 2, 3, 4, 5, 6, 7, 20, 21, 22, 23};
    struct updraft_delta header;
    right_one();
    for (size_t at = 0; at < sizeof places; at++) {
        const uint8_t right = delta.data[places[at]];
        for (unsigned value = 0; value < 256; value++) {
            delta.data[places[at]] = (uint8_t)value;
            CHECK_EQUAL(updraft_delta_decode(delta.data, &header),
                        value == right ? UPDRAFT_GOOD : UPDRAFT_UNSUPPORTED_PACKAGE);
        }
        delta.data[places[at]] = right;
    }
}

static void only_the_running_image_is_a_base_and_the_result_must_fit(void) {
    struct updraft_delta header;
    right_one();
    CHECK_EQUAL(updraft_delta_decode(delta.data, &header), UPDRAFT_GOOD);
    struct updraft_source running = memory_source(base.data, base.size);
    CHECK_EQUAL(updraft_delta_admit(&header, &running, target.size), UPDRAFT_GOOD);
    CHECK_EQUAL(updraft_delta_admit(&header, &running, target.size - 1), UPDRAFT_NOT_ENOUGH_FLASH);
    running.size--;
    CHECK_EQUAL(updraft_delta_admit(&header, &running, target.size), UPDRAFT_INTEGRITY);
    running.size++;
    base.data[100] ^= 1;
    /* Another base is told before a result that is too large. */
    CHECK_EQUAL(updraft_delta_admit(&header, &running, 0), UPDRAFT_INTEGRITY);
}

static void a_base_that_cannot_be_read_admits_nothing(void) {
    static struct flash_model model;
    struct updraft_delta header;
    right_one();
    CHECK_EQUAL(updraft_delta_decode(delta.data, &header), UPDRAFT_GOOD);
    model_begin(&model, 0, base.size, 4096, 4, 0xff);
    model.fail_read_at = 2;
    CHECK_EQUAL(updraft_delta_admit(&header, &model.slot.area, target.size), UPDRAFT_FAILED);
}

void test_delta(void) {
    RUN(a_header_is_read_whole);
    RUN(every_other_form_is_unsupported);
    RUN(only_the_running_image_is_a_base_and_the_result_must_fit);
    RUN(a_base_that_cannot_be_read_admits_nothing);
}
