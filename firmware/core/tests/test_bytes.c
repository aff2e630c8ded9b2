/* The small things everything stands on: numbers, CRC-32, SHA-256, error numbers. */
#include <errno.h>
#include <string.h>

#include "../src/bytes.h"
#include "check.h"
#include "flash_model.h"
#include "updraft/sha256.h"

/* FIPS 180-4's own examples, and lengths around the end of a block; digests by Python's hashlib. */
static const struct {
    const char *text;
    unsigned repeats;
    uint8_t first[4];
    uint8_t last[4];
} DIGESTS[] = {
    {"", 1, {0xe3, 0xb0, 0xc4, 0x42}, {0x78, 0x52, 0xb8, 0x55}},
    {"abc", 1, {0xba, 0x78, 0x16, 0xbf}, {0xf2, 0x00, 0x15, 0xad}},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1, {0x24, 0x8d, 0x6a, 0x61}, {0x19, 0xdb, 0x06, 0xc1}},
    {"a", 55, {0x9f, 0x43, 0x90, 0xf8}, {0x0f, 0x73, 0x43, 0x18}},
    {"a", 64, {0xff, 0xe0, 0x54, 0xfe}, {0x15, 0x46, 0x68, 0xeb}},
    {"a", 1000, {0x41, 0xed, 0xec, 0xe4}, {0xb9, 0x73, 0x7e, 0xa3}},
};

static void sha256_gives_the_digests_of_the_standard(void) {
    for (size_t at = 0; at < sizeof DIGESTS / sizeof DIGESTS[0]; at++) {
        struct updraft_sha256 hash;
        uint8_t digest[UPDRAFT_SHA256_BYTES];
        updraft_sha256_begin(&hash);
        for (unsigned repeat = 0; repeat < DIGESTS[at].repeats; repeat++) {
            updraft_sha256_add(&hash, DIGESTS[at].text, strlen(DIGESTS[at].text));
        }
        updraft_sha256_end(&hash, digest);
        CHECK(memcmp(digest, DIGESTS[at].first, 4) == 0);
        CHECK(memcmp(digest + 28, DIGESTS[at].last, 4) == 0);
    }
}

static void sha256_of_flash_is_that_of_its_bytes(void) {
    static struct flash_model model;
    uint8_t digest[UPDRAFT_SHA256_BYTES];
    model_begin(&model, 'a', 1000, 4096, 4, 0xff);
    CHECK_EQUAL(updraft_sha256_of(&model.slot.area, 1000, digest), UPDRAFT_GOOD);
    CHECK(memcmp(digest, DIGESTS[5].first, 4) == 0 && memcmp(digest + 28, DIGESTS[5].last, 4) == 0);
    CHECK_EQUAL(updraft_sha256_of(&model.slot.area, 1001, digest), UPDRAFT_INTEGRITY);
    model.fail_read_at = model.reads + 3;
    CHECK_EQUAL(updraft_sha256_of(&model.slot.area, 1000, digest), UPDRAFT_FAILED);
    CHECK_EQUAL(model.violations, 0);
}

static void numbers_are_little_endian_and_crc_is_zlibs(void) {
    uint8_t bytes[4];
    updraft_put32(bytes, 0x80f1e2d3u);
    CHECK_EQUAL(bytes[0], 0xd3);
    CHECK(updraft_get32(bytes) == 0x80f1e2d3u);
    CHECK_EQUAL(updraft_get16(bytes), 0xe2d3);
    CHECK(updraft_crc32((const uint8_t *)"123456789", 9) == 0xcbf43926u);
}

static void reads_stay_inside_of_their_source(void) {
    static const struct {
        uint32_t offset;
        size_t length;
        enum updraft_result result;
    } rows[] = {
        {0, 4, UPDRAFT_GOOD},      {4, 0, UPDRAFT_GOOD},      {1, 4, UPDRAFT_INTEGRITY},
        {5, 0, UPDRAFT_INTEGRITY}, {0, 5, UPDRAFT_INTEGRITY}, {UINT32_MAX, 2, UPDRAFT_INTEGRITY},
    };
    const uint8_t four[4] = {1, 2, 3, 4};
    const struct updraft_source source = memory_source(four, sizeof four);
    for (size_t at = 0; at < sizeof rows / sizeof rows[0]; at++) {
        uint8_t data[8];
        CHECK_EQUAL(updraft_read(&source, rows[at].offset, data, rows[at].length), rows[at].result);
    }
}

static void zephyr_is_told_each_result_by_its_error_number(void) {
    static const struct {
        enum updraft_result result;
        int number;
    } rows[] = {
        {UPDRAFT_GOOD, 0},
        {UPDRAFT_NOT_ENOUGH_FLASH, -ENOSPC},
        {UPDRAFT_OUT_OF_RAM, -ENOMEM},
        {UPDRAFT_INTEGRITY, -EFAULT},
        {UPDRAFT_UNSUPPORTED_PACKAGE, -ENOMSG},
        {UPDRAFT_FAILED, -EIO},
        {UPDRAFT_CONNECTION_LOST, -EIO},
    };
    for (size_t at = 0; at < sizeof rows / sizeof rows[0]; at++) {
        CHECK_EQUAL(updraft_errno(rows[at].result), rows[at].number);
    }
}

void test_bytes(void) {
    RUN(sha256_gives_the_digests_of_the_standard);
    RUN(sha256_of_flash_is_that_of_its_bytes);
    RUN(numbers_are_little_endian_and_crc_is_zlibs);
    RUN(reads_stay_inside_of_their_source);
    RUN(zephyr_is_told_each_result_by_its_error_number);
}
