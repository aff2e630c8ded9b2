/* Images as they should be, and everything that makes one refused. */
#include "updraft/image.h"

#include <string.h>

#include "build.h"
#include "check.h"
#include "flash_model.h"

static struct built image;

static enum updraft_result parsed(struct updraft_image *facts) {
    const struct updraft_source source = memory_source(image.data, image.size);
    return updraft_image_parse(&source, facts);
}

static enum updraft_result checked(void) {
    struct updraft_image facts;
    const struct updraft_source source = memory_source(image.data, image.size);
    return updraft_image_check(&source, image.size, &facts);
}

static void a_good_image_is_read_whole(void) {
    struct updraft_image facts;
    uint8_t key_hash[32];
    memset(key_hash, 0xcc, sizeof key_hash);
    image_good(&image, 500, 0);
    CHECK_EQUAL(parsed(&facts), UPDRAFT_GOOD);
    CHECK_EQUAL(facts.version.major, 1);
    CHECK_EQUAL(facts.version.minor, 2);
    CHECK_EQUAL(facts.version.revision, 3);
    CHECK_EQUAL(facts.version.build, 4);
    CHECK_EQUAL(facts.load_address, 0x20000);
    CHECK_EQUAL(facts.flags, 0x10);
    CHECK_EQUAL(facts.header_size, 64);
    CHECK_EQUAL(facts.image_size, 500);
    CHECK_EQUAL(facts.hashed_size, 64 + 500 + 38);
    CHECK_EQUAL(facts.total_size, image.size);
    CHECK_EQUAL(facts.has, 0x3f);
    CHECK_EQUAL(facts.security_counter, 0x11111111);
    CHECK_EQUAL(facts.dependency.image, 1);
    CHECK_EQUAL(facts.dependency.at_least.major, 5);
    CHECK_EQUAL(facts.dependency.at_least.minor, 6);
    CHECK_EQUAL(facts.dependency.at_least.revision, 7);
    CHECK_EQUAL(facts.dependency.at_least.build, 8);
    CHECK_EQUAL(facts.vendor_size, 6);
    CHECK(memcmp(image.data + facts.vendor_offset, "nnnnnn", 6) == 0);
    CHECK(memcmp(facts.key_hash, key_hash, 32) == 0);
    CHECK_EQUAL(checked(), UPDRAFT_GOOD);
}

static void an_image_without_protected_entries_has_none_of_what_they_say(void) {
    struct updraft_image facts;
    image_begin(&image, 32, 100, 0, 0);
    image_seal(&image);
    CHECK_EQUAL(parsed(&facts), UPDRAFT_GOOD);
    CHECK_EQUAL(facts.has, UPDRAFT_HAS_HASH | UPDRAFT_HAS_KEY_HASH | UPDRAFT_HAS_SIGNATURE);
    CHECK_EQUAL(checked(), UPDRAFT_GOOD);
}

static void every_cut_of_an_image_is_refused(void) {
    struct updraft_image facts;
    image_good(&image, 100, 0);
    for (uint32_t size = 0; size < image.size; size++) {
        const struct updraft_source source = memory_source(image.data, size);
        CHECK_EQUAL(updraft_image_parse(&source, &facts), UPDRAFT_INTEGRITY);
        CHECK_EQUAL(updraft_image_check(&source, size, &facts), UPDRAFT_INTEGRITY);
    }
    const struct updraft_source longer = memory_source(image.data, image.size + 1);
    CHECK_EQUAL(updraft_image_check(&longer, image.size + 1, &facts), UPDRAFT_INTEGRITY);
}

static void every_read_of_an_image_may_fail(void) {
    static struct flash_model model;
    struct updraft_image facts;
    unsigned long reads = 0;
    image_good(&image, 100, 0);
    do {
        model_begin(&model, 0xff, image.size, 4096, 4, 0xff);
        memcpy(model.data, image.data, image.size);
        model.fail_read_at = ++reads;
        const enum updraft_result result = updraft_image_check(&model.slot.area, image.size, &facts);
        CHECK_EQUAL(result, model.reads < reads ? UPDRAFT_GOOD : UPDRAFT_FAILED);
    } while (model.reads >= reads);
    CHECK(reads > 10);
    CHECK_EQUAL(model.violations, 0);
}

/* A good image, 100 bytes of body, with one number in it changed. */
static void an_image_that_contradicts_itself_is_refused(void) {
    enum { PROTECTED = 64 + 100, PLAIN = PROTECTED + 38 };
    static const struct {
        uint32_t at;
        uint16_t value;
        enum updraft_result result;
    } rows[] = {
        {0, 0, UPDRAFT_UNSUPPORTED_PACKAGE}, /* magic */
        {8, 31, UPDRAFT_INTEGRITY},          /* header smaller than a header */
        {8, 65, UPDRAFT_INTEGRITY},          /* body and TLVs a byte later */
        {10, 0, UPDRAFT_INTEGRITY},          /* no protected area announced, and there is one */
        {10, 37, UPDRAFT_INTEGRITY},         /* protected size and area differ */
        {10, 60000, UPDRAFT_INTEGRITY},      /* begins before the image */
        {14, 0xffff, UPDRAFT_INTEGRITY},     /* image size that overflows with the rest */
        {14, 0x7fff, UPDRAFT_INTEGRITY},     /* larger than the source */
        {PROTECTED, 0x6907, UPDRAFT_INTEGRITY},
        {PROTECTED + 2, 3, UPDRAFT_INTEGRITY},  /* an area smaller than its own head */
        {PROTECTED + 2, 37, UPDRAFT_INTEGRITY}, /* ends within the last value */
        {PROTECTED + 2, 31, UPDRAFT_INTEGRITY}, /* ends within the head of an entry */
        {PROTECTED + 6, 11, UPDRAFT_INTEGRITY}, /* a dependency of another length */
        {PROTECTED + 22, 5, UPDRAFT_INTEGRITY}, /* a counter of another length */
        {PLAIN, 0x6908, UPDRAFT_INTEGRITY},
        {PLAIN + 2, 65535, UPDRAFT_INTEGRITY}, /* longer than the source */
        {PLAIN + 6, 31, UPDRAFT_INTEGRITY},    /* a hash of another length */
        {PLAIN + 4, 0x50, UPDRAFT_INTEGRITY},  /* what must be protected stands outside */
        {PLAIN + 4, 0xa0, UPDRAFT_INTEGRITY},
        {PLAIN + 4, 0x75, UPDRAFT_INTEGRITY},
        {PLAIN + 4, 0x11, UPDRAFT_UNSUPPORTED_PACKAGE}, /* SHA-384: a hash this library cannot check */
        {PLAIN + 76, 0x7777, UPDRAFT_INTEGRITY},        /* no signature */
        {PLAIN + 10, 0, UPDRAFT_INTEGRITY},             /* another hash */
        {70, 0, UPDRAFT_INTEGRITY},                     /* another body */
    };
    for (size_t at = 0; at < sizeof rows / sizeof rows[0]; at++) {
        image_good(&image, 100, 0);
        image.data[rows[at].at] = (uint8_t)rows[at].value;
        image.data[rows[at].at + 1] = (uint8_t)(rows[at].value >> 8);
        CHECK_EQUAL(checked(), rows[at].result);
    }
}

static void sizes_that_come_around_to_something_plausible_are_refused(void) {
    image_begin(&image, 40, 0, 0, 0);
    image.data[8] = 64; /* and an image of 2^32 - 24 bytes: 40 in all, where the TLVs are */
    memcpy(image.data + 12, "\xe8\xff\xff\xff", 4);
    image_seal(&image);
    CHECK_EQUAL(checked(), UPDRAFT_INTEGRITY);
}

static void the_largest_sizes_still_add_up(void) {
    struct updraft_image facts;
    image_good(&image, 100, 0);
    memset(image.data + 8, 0xff, 4); /* header and protected TLVs: 65535 bytes each */
    memcpy(image.data + 12, "\x01\x00\xfe\xff", 4);
    CHECK_EQUAL(updraft_image_header(image.data, &facts), UPDRAFT_GOOD);
    CHECK(facts.hashed_size == UINT32_MAX);
    image.data[12]++;
    CHECK_EQUAL(updraft_image_header(image.data, &facts), UPDRAFT_INTEGRITY);
}

static void a_protected_area_that_is_well_formed_and_not_as_long_as_the_header_says_is_refused(void) {
    struct updraft_image facts;
    image_good(&image, 100, 0);
    image.data[64 + 100 + 2] = 28; /* the vendor's entry is left out, and would be in neither area */
    CHECK_EQUAL(parsed(&facts), UPDRAFT_INTEGRITY);
}

static void the_first_entry_of_a_type_counts(void) {
    struct updraft_image facts;
    image_begin(&image, 32, 10, 4 + 8 + 8, 0);
    put16(&image, 0x6908);
    put16(&image, 4 + 8 + 8);
    tlv(&image, 0x50, 4, 0x01);
    tlv(&image, 0x50, 4, 0x02);
    image_seal(&image);
    CHECK_EQUAL(parsed(&facts), UPDRAFT_GOOD);
    CHECK_EQUAL(facts.security_counter, 0x01010101);
}

static void entries_nobody_knows_are_passed_over(void) {
    struct updraft_image facts;
    image_begin(&image, 32, 10, 4 + 4 + 9, 0);
    put16(&image, 0x6908);
    put16(&image, 4 + 4 + 9);
    tlv(&image, 0xabcd, 0, 0);
    tlv(&image, 0x60, 5, 0);
    image_seal(&image);
    CHECK_EQUAL(parsed(&facts), UPDRAFT_GOOD);
    CHECK_EQUAL(checked(), UPDRAFT_GOOD);
}

static void a_key_hash_of_another_size_is_left_to_the_bootloader(void) {
    struct updraft_image facts;
    image_begin(&image, 32, 10, 0, 0);
    put16(&image, 0x6907);
    put16(&image, 4 + 52 + 8);
    tlv(&image, 0x01, 48, 0xcc);
    tlv(&image, 0x22, 4, 0);
    CHECK_EQUAL(parsed(&facts), UPDRAFT_GOOD);
    CHECK_EQUAL(facts.has, UPDRAFT_HAS_SIGNATURE);
}

static void versions_are_compared_field_by_field(void) {
    static const struct {
        struct updraft_version one, other;
        int order;
    } rows[] = {
        {{1, 2, 3, 4}, {1, 2, 3, 4}, 0},     {{2, 0, 0, 0}, {1, 9, 9, 9}, 1},  {{1, 2, 0, 0}, {1, 3, 0, 0}, -1},
        {{1, 2, 300, 0}, {1, 2, 299, 9}, 1}, {{1, 2, 3, 4}, {1, 2, 3, 5}, -1},
    };
    for (size_t at = 0; at < sizeof rows / sizeof rows[0]; at++) {
        CHECK_EQUAL(updraft_version_compare(&rows[at].one, &rows[at].other), rows[at].order);
        CHECK_EQUAL(updraft_version_compare(&rows[at].other, &rows[at].one), -rows[at].order);
    }
}

void test_image(void) {
    RUN(a_good_image_is_read_whole);
    RUN(an_image_without_protected_entries_has_none_of_what_they_say);
    RUN(every_cut_of_an_image_is_refused);
    RUN(every_read_of_an_image_may_fail);
    RUN(an_image_that_contradicts_itself_is_refused);
    RUN(sizes_that_come_around_to_something_plausible_are_refused);
    RUN(the_largest_sizes_still_add_up);
    RUN(a_protected_area_that_is_well_formed_and_not_as_long_as_the_header_says_is_refused);
    RUN(the_first_entry_of_a_type_counts);
    RUN(entries_nobody_knows_are_passed_over);
    RUN(a_key_hash_of_another_size_is_left_to_the_bootloader);
    RUN(versions_are_compared_field_by_field);
}
