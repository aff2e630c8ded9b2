/* The decoder: what a patch gives, in any pieces, and that nothing a patch says makes it leave its bounds. */
#include "updraft/patch.h"

#include <string.h>

#include "build.h"
#include "check.h"
#include "flash_model.h"

static struct built base, target, stream, delta, result;
static enum updraft_result sink_says;

static enum updraft_result collect(void *context, const uint8_t *data, size_t length) {
    (void)context;
    /* A decoder never gives more than the header says. */
    CHECK(length <= target.size - result.size);
    put(&result, data, (uint32_t)length);
    return sink_says;
}

static const struct updraft_sink sink = {collect, NULL};

static void pair(void) {
    image_good(&base, 900, 0);
    image_good(&target, 900, 1);
    sink_says = UPDRAFT_GOOD;
}

/* Apply `delta` in pieces of `step` bytes, through dump and restore after each when `by_dump`. */
static enum updraft_result applied(uint32_t step, bool by_dump) {
    /* Longer than the delta's base: nothing behind that may be read. */
    const struct updraft_source source = memory_source(base.data, base.size + 100);
    struct updraft_delta header;
    struct updraft_patch patch;
    enum updraft_result said = updraft_delta_decode(delta.data, &header);
    result.size = 0;
    updraft_patch_begin(&patch, &header);
    for (uint32_t at = UPDRAFT_DELTA_HEADER_BYTES; said == UPDRAFT_GOOD && at < delta.size; at += step) {
        uint32_t length = delta.size - at < step ? delta.size - at : step;
        said = updraft_patch_feed(&patch, &source, &sink, delta.data + at, length);
        if (by_dump && said == UPDRAFT_GOOD) {
            uint8_t dump[UPDRAFT_PATCH_DUMP_BYTES];
            updraft_patch_dump(&patch, dump);
            memset(&patch, 0xaa, sizeof patch);
            said = updraft_patch_restore(&patch, &header, dump);
        }
    }
    return said == UPDRAFT_GOOD ? updraft_patch_finish(&patch) : said;
}

static bool is_target(void) {
    return result.size == target.size && memcmp(result.data, target.data, target.size) == 0;
}

static void a_patch_gives_the_target_however_it_is_cut_and_after_any_dump(void) {
    pair();
    for (int compression = UPDRAFT_CRLE; compression <= UPDRAFT_HEATSHRINK; compression++) {
        stream_plain(&stream, &target, 64);
        delta_of(&delta, (enum updraft_compression)compression, &base, &target, &stream);
        for (uint32_t step = 1; step < 200; step = step * 2 + 1) {
            CHECK_EQUAL(applied(step, step < 16), UPDRAFT_GOOD);
            CHECK(is_target());
        }
    }
}

static void a_patch_may_move_back_and_forth_in_the_base(void) {
    pair();
    target.size = 0;
    put(&target, base.data + 500, 100);
    put(&target, "new", 3);
    put(&target, base.data + 10, 80);
    stream.size = 0;
    put_number(&stream, 0);
    put_number(&stream, 0);
    put_number(&stream, 0);
    put_number(&stream, 500);
    put_number(&stream, 100);
    memset(stream.data + stream.size, 0, 100);
    stream.size += 100;
    put_number(&stream, 3);
    put(&stream, "new", 3);
    put_number(&stream, -590);
    put_number(&stream, 80);
    memset(stream.data + stream.size, 0, 80);
    stream.size += 80;
    put_number(&stream, 0);
    put_number(&stream, 0);
    delta_of(&delta, UPDRAFT_CRLE, &base, &target, &stream);
    CHECK_EQUAL(applied(7, true), UPDRAFT_GOOD);
    CHECK(is_target());
}

/* Streams of numbers and fills, each breaking one rule; base and target have 100 bytes. */
static void a_stream_that_breaks_a_rule_is_refused(void) {
    static const struct {
        long numbers[12]; /* a number, then as many bytes where the stream has them; 9999 ends */
        enum updraft_result result;
    } rows[] = {
        {{0, 100, 0, 0, 9999}, UPDRAFT_GOOD},
        {{0, 0, 100, 100, 9999}, UPDRAFT_GOOD},
        {{1, 100, 0, 0, 9999}, UPDRAFT_INTEGRITY},    /* a data format */
        {{0, 101, 0, 0, 9999}, UPDRAFT_INTEGRITY},    /* a diff longer than the result */
        {{0, -100, 0, 0, 9999}, UPDRAFT_INTEGRITY},   /* a diff of less than nothing */
        {{0, 0, -1, 0, 9999}, UPDRAFT_INTEGRITY},     /* an extra of less than nothing */
        {{0, 99, 2, 0, 9999}, UPDRAFT_INTEGRITY},     /* an extra longer than the result */
        {{0, 100, 0, 1, 9999}, UPDRAFT_INTEGRITY},    /* a move behind the base */
        {{0, 100, 0, -101, 9999}, UPDRAFT_INTEGRITY}, /* a move before the base */
        {{0, 100, 0, -100, 9999}, UPDRAFT_GOOD},
        {{0, 0, 0, 1, 100, 0, 0, 9999}, UPDRAFT_INTEGRITY}, /* a diff that leaves the base */
        {{0, 0, 0, 1, 99, 1, 0, 9999}, UPDRAFT_GOOD},
        {{0, 0, 0, 0, 100, 0, 0, 9999}, UPDRAFT_INTEGRITY}, /* a chunk of nothing */
        {{0, 99, 0, 0, 9999}, UPDRAFT_INTEGRITY},           /* a byte short */
        {{0, 100, 0, 0, 0, 9999}, UPDRAFT_INTEGRITY},       /* a number too many */
    };
    image_begin(&base, 32, 68, 0, 0);
    for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
        for (int compression = UPDRAFT_CRLE; compression <= UPDRAFT_HEATSHRINK; compression++) {
            stream.size = 0;
            target = base;
            for (int at = 0; rows[row].numbers[at] != 9999; at++) {
                long number = rows[row].numbers[at];
                put_number(&stream, number);
                bool has_bytes = at > 0 && at % 3 != 0 && number > 0;
                memset(stream.data + stream.size, 0, has_bytes ? (size_t)number : 0);
                stream.size += has_bytes ? (uint32_t)number : 0;
            }
            delta_of(&delta, (enum updraft_compression)compression, &base, &target, &stream);
            CHECK_EQUAL(applied(1000, false), rows[row].result);
            CHECK_EQUAL(applied(1, true), rows[row].result);
        }
    }
}

/* Numbers in a spelling that no encoder writes, as first bytes of the stream. */
static void a_number_has_one_spelling(void) {
    static const struct {
        uint8_t bytes[7];
        uint8_t length;
    } rows[] = {
        {{0x40}, 1},                               /* minus zero */
        {{0x80, 0x00}, 2},                         /* an idle last byte */
        {{0xbf, 0xff, 0xff, 0xff, 0xff, 0x01}, 6}, /* six bytes */
        {{0xbf, 0xff, 0xff, 0xff, 0x7f}, 5},       /* more than 32 bits */
        {{0x80, 0x80, 0x80, 0x80, 0x80, 0x01}, 6},
    };
    pair();
    for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
        stream.size = 0;
        put_number(&stream, 0);
        put(&stream, rows[row].bytes, rows[row].length);
        delta_of(&delta, UPDRAFT_CRLE, &base, &target, &stream);
        CHECK_EQUAL(applied(1, false), UPDRAFT_INTEGRITY);
    }
}

static void a_number_that_is_right_but_for_its_33rd_bit_is_refused(void) {
    static const uint8_t zero_and_two_to_the_32nd[] = {0x80, 0x80, 0x80, 0x80, 0x20};
    pair();
    stream.size = 0;
    put_number(&stream, 0);
    put(&stream, zero_and_two_to_the_32nd, sizeof zero_and_two_to_the_32nd);
    put_number(&stream, (long)target.size);
    put(&stream, target.data, target.size);
    put_number(&stream, 0);
    delta_of(&delta, UPDRAFT_CRLE, &base, &target, &stream);
    CHECK_EQUAL(applied(1000, false), UPDRAFT_INTEGRITY);
}

/* Patches of crle after the prefix, for a target of the ten bytes 'a'. */
static void segments_of_crle_are_taken_as_they_are_told(void) {
    static const struct {
        uint8_t bytes[24];
        uint8_t length;
        enum updraft_result result;
    } rows[] = {
        {{0, 3, 0, 0, 10, 1, 10, 'a', 0, 1, 0}, 11, UPDRAFT_GOOD},
        {{1, 2, 0, 0, 1, 10, 1, 10, 'a', 0, 1, 0}, 12, UPDRAFT_GOOD},
        {{0, 3, 0, 0, 10, 1, 11, 'a', 0, 1, 0}, 11, UPDRAFT_INTEGRITY}, /* too many of one byte */
        {{0, 3, 0, 0, 10, 1, 9, 'a', 0, 2, 'a', 0}, 12, UPDRAFT_GOOD},
        {{2, 3, 0, 0, 10, 1, 10, 'a', 0, 1, 0}, 11, UPDRAFT_INTEGRITY},       /* a kind that is none */
        {{0, 3, 0, 0, 10, 1, 10, 'a', 0, 2, 0}, 11, UPDRAFT_INTEGRITY},       /* ends inside a segment */
        {{0, 3, 0, 0, 10, 1, 10, 'a', 0, 0, 0, 1, 0}, 13, UPDRAFT_INTEGRITY}, /* a segment of nothing */
        {{0, 3, 0, 0, 10, 1, 10, 'a', 0, 1, 0, 1, 0, 0}, 14, UPDRAFT_INTEGRITY},
        {{0, 3, 0, 0, 10, 1, 10, 'a', 0, 1, 0, 0}, 12, UPDRAFT_INTEGRITY}, /* the kind of one more segment */
        {{0, 0x80, 0x80, 0x80, 0x80, 0x80, 1}, 7, UPDRAFT_INTEGRITY},      /* a size of six bytes */
        {{0, 0x83, 0}, 3, UPDRAFT_INTEGRITY},                              /* a size with an idle byte */
        {{1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0}, 7, UPDRAFT_INTEGRITY},      /* four thousand million zeros */
        {{1, 0xff, 0xff, 0xff, 0xff, 0x10, 0}, 7, UPDRAFT_INTEGRITY},      /* and one more bit */
    };
    image_good(&base, 10, 0);
    for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
        memset(&target, 'a', sizeof target);
        target.size = 10;
        stream.size = 0;
        delta_of(&delta, UPDRAFT_CRLE, &base, &target, &stream);
        delta.size = UPDRAFT_DELTA_HEADER_BYTES + 2;
        put(&delta, rows[row].bytes, rows[row].length);
        delta.data[16] = (uint8_t)(2 + rows[row].length);
        CHECK_EQUAL(applied(1, true), rows[row].result);
        CHECK_EQUAL(applied(100, false), rows[row].result);
        CHECK(rows[row].result != UPDRAFT_GOOD || is_target());
    }
}

/* Tokens of heatshrink, most significant bit first, for a target of ten zeros made by copies from the empty window. */
static void tokens_of_heatshrink_are_taken_as_they_are_told(void) {
    static const struct {
        uint8_t bytes[8];
        uint8_t length;
        enum updraft_result result;
    } rows[] = {
        /* 1 00000000 | 1 00000000 | 1 00001010, then a copy, and five bits left */
        {{0x80, 0x40, 0x21, 0x40, 0xf1, 0x40}, 6, UPDRAFT_GOOD},      /* eleven zeros: the target and the adjustment */
        {{0x80, 0x40, 0x21, 0x4f, 0xf1, 0x40}, 6, UPDRAFT_GOOD},      /* from as far back as a copy can reach */
        {{0x80, 0x40, 0x21, 0x40, 0xf1, 0x60}, 6, UPDRAFT_INTEGRITY}, /* of twelve: surplus */
        {{0x80, 0x40, 0x21, 0x40, 0xf1, 0x20}, 6, UPDRAFT_INTEGRITY}, /* of ten: the adjustment is missing */
        {{0x80, 0x40, 0x21, 0x40, 0xf1, 0x41}, 6, UPDRAFT_INTEGRITY}, /* a one among the bits left */
        {{0x80, 0x40, 0x21, 0x40, 0xf1, 0x40, 0x00}, 7, UPDRAFT_INTEGRITY}, /* a whole byte left */
    };
    image_good(&base, 10, 0);
    for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
        memset(&target, 0, sizeof target);
        target.size = 10;
        stream.size = 0;
        delta_of(&delta, UPDRAFT_HEATSHRINK, &base, &target, &stream);
        delta.size = UPDRAFT_DELTA_HEADER_BYTES + 3;
        put(&delta, rows[row].bytes, rows[row].length);
        delta.data[16] = (uint8_t)(3 + rows[row].length);
        CHECK_EQUAL(applied(1, true), rows[row].result);
        CHECK_EQUAL(applied(100, false), rows[row].result);
        CHECK(rows[row].result != UPDRAFT_GOOD || is_target());
    }
}

static void a_copy_reaches_back_as_far_as_it_says(void) {
    /* "abc" as extra, then copies of three from three back: the window is more than one value. */
    image_good(&base, 10, 0);
    memset(&target, 0, sizeof target);
    put(&target, "abcabcabca", 10);
    stream.size = 0;
    delta_of(&delta, UPDRAFT_HEATSHRINK, &base, &target, &stream);
    delta.size = UPDRAFT_DELTA_HEADER_BYTES + 3;
    /* 1 00000000 | 1 00000000 | 1 00001010 | 1 'a' | 1 'b' | 1 'c' | 0 00000010 0000110 | 1 00000000 */
    unsigned long bits = 0;
    unsigned count = 0;
    static const struct {
        unsigned value, width;
    } parts[] = {{0x100, 9}, {0x100, 9}, {0x10a, 9},         {0x161, 9},
                 {0x162, 9}, {0x163, 9}, {2u << 7 | 6u, 16}, {0x100, 9}};
    for (size_t at = 0; at < sizeof parts / sizeof parts[0]; at++) {
        bits = (bits << parts[at].width | parts[at].value) & 0xffffff;
        for (count += parts[at].width; count >= 8; count -= 8) {
            const uint8_t byte = (uint8_t)(bits >> (count - 8));
            put(&delta, &byte, 1);
        }
    }
    const uint8_t last = (uint8_t)(bits << (8 - count));
    put(&delta, &last, 1);
    delta.data[16] = (uint8_t)(delta.size - UPDRAFT_DELTA_HEADER_BYTES);
    CHECK_EQUAL(applied(1, true), UPDRAFT_GOOD);
    CHECK(is_target());
}

static void an_empty_result_has_a_prefix_and_no_stream(void) {
    image_good(&base, 10, 0);
    for (int compression = UPDRAFT_CRLE; compression <= UPDRAFT_HEATSHRINK; compression++) {
        target.size = 0;
        stream.size = 0;
        delta_of(&delta, (enum updraft_compression)compression, &base, &target, &stream);
        delta.size = UPDRAFT_DELTA_HEADER_BYTES + 2;
        delta.data[16] = 2;
        CHECK_EQUAL(applied(1, true), UPDRAFT_GOOD);
        delta.data[16] = 1;
        delta.size--;
        CHECK_EQUAL(applied(1, false), UPDRAFT_INTEGRITY);
    }
}

static void a_patch_must_begin_as_its_container_says(void) {
    pair();
    stream_plain(&stream, &target, 64);
    for (int compression = UPDRAFT_CRLE; compression <= UPDRAFT_HEATSHRINK; compression++) {
        delta_of(&delta, (enum updraft_compression)compression, &base, &target, &stream);
        for (unsigned at = 0; at < (compression == UPDRAFT_CRLE ? 3u : 4u); at++) {
            delta.data[UPDRAFT_DELTA_HEADER_BYTES + at] ^= 0x20;
            CHECK_EQUAL(applied(1000, false), UPDRAFT_INTEGRITY);
            delta.data[UPDRAFT_DELTA_HEADER_BYTES + at] ^= 0x20;
        }
    }
}

static void what_was_refused_once_is_refused_for_ever(void) {
    const struct updraft_source source = memory_source(base.data, base.size);
    struct updraft_delta header;
    struct updraft_patch patch;
    pair();
    stream_plain(&stream, &target, 64);
    delta_of(&delta, UPDRAFT_CRLE, &base, &target, &stream);
    CHECK_EQUAL(updraft_delta_decode(delta.data, &header), UPDRAFT_GOOD);
    result.size = 0;
    updraft_patch_begin(&patch, &header);
    const uint8_t *first = delta.data + UPDRAFT_DELTA_HEADER_BYTES;
    CHECK_EQUAL(updraft_patch_feed(&patch, &source, &sink, first + 1, 1), UPDRAFT_INTEGRITY);
    CHECK_EQUAL(updraft_patch_feed(&patch, &source, &sink, first, 1), UPDRAFT_INTEGRITY);
    CHECK_EQUAL(updraft_patch_finish(&patch), UPDRAFT_INTEGRITY);
    updraft_patch_begin(&patch, &header);
    delta.data[delta.size] = 0; /* what could begin another segment */
    CHECK_EQUAL(updraft_patch_feed(&patch, &source, &sink, first, header.patch_size + 1), UPDRAFT_INTEGRITY);
    CHECK_EQUAL(updraft_patch_feed(&patch, &source, &sink, first, header.patch_size), UPDRAFT_INTEGRITY);
}

static void a_sink_or_a_base_that_fails_ends_the_patch(void) {
    static struct flash_model model;
    struct updraft_delta header;
    struct updraft_patch patch;
    pair();
    stream_plain(&stream, &target, 64);
    delta_of(&delta, UPDRAFT_HEATSHRINK, &base, &target, &stream);
    sink_says = UPDRAFT_NOT_ENOUGH_FLASH;
    CHECK_EQUAL(applied(1000, false), UPDRAFT_NOT_ENOUGH_FLASH);
    sink_says = UPDRAFT_GOOD;
    CHECK_EQUAL(updraft_delta_decode(delta.data, &header), UPDRAFT_GOOD);
    model_begin(&model, 0, base.size, 4096, 4, 0xff);
    model.fail_read_at = 1;
    result.size = 0;
    updraft_patch_begin(&patch, &header);
    CHECK_EQUAL(
        updraft_patch_feed(&patch, &model.slot.area, &sink, delta.data + UPDRAFT_DELTA_HEADER_BYTES, header.patch_size),
        UPDRAFT_FAILED);
}

/* A dump from the middle of a diff, with one field made to say what cannot be. */
static void a_dump_that_cannot_be_is_refused(void) {
    enum { WORDS = 32 };
    static const struct {
        unsigned at;
        uint8_t value;
    } rows[] = {
        {3, 0x80},       /* more patch to come than there is */
        {7, 0x80},       /* more out than the result */
        {11, 0x80},      /* outside of the base */
        {17, 0x80},      /* a diff longer than the result's rest */
        {18, 1},         /* and, later on, extra bytes */
        {16, 0},         /* in a diff of which nothing is left */
        {9, 0x03},       /* a diff that leaves the base, for the base ends */
        {WORDS + 2, 7},  /* a part that is none */
        {WORDS + 2, 1},  /* bytes left of a number */
        {WORDS + 0, 16}, /* more bits than a token */
        {31, 1},         /* bits that are not counted */
        {WORDS + 1, 0},  /* in the prefix: */
    };
    struct updraft_delta header;
    struct updraft_patch patch;
    uint8_t dump[UPDRAFT_PATCH_DUMP_BYTES];
    pair();
    const struct updraft_source source = memory_source(base.data, base.size);
    stream_plain(&stream, &target, 700);
    delta_of(&delta, UPDRAFT_HEATSHRINK, &base, &target, &stream);
    CHECK_EQUAL(updraft_delta_decode(delta.data, &header), UPDRAFT_GOOD);
    for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
        const size_t fed = rows[row].at == 18 ? 900 : 560;
        result.size = 0;
        updraft_patch_begin(&patch, &header);
        CHECK_EQUAL(updraft_patch_feed(&patch, &source, &sink, delta.data + UPDRAFT_DELTA_HEADER_BYTES, fed),
                    UPDRAFT_GOOD);
        updraft_patch_dump(&patch, dump);
        CHECK_EQUAL(updraft_patch_restore(&patch, &header, dump), UPDRAFT_GOOD);
        dump[rows[row].at] = rows[row].value;
        if (rows[row].at == 9) {
            dump[8] = (uint8_t)(base.size - 100);
            dump[9] = (uint8_t)((base.size - 100) >> 8);
        }
        if (rows[row].at == 16) {
            dump[17] = 0;
        }
        if (rows[row].at == WORDS + 1) {
            dump[WORDS + 3] = 4; /* as many bytes of it as there are */
        }
        CHECK_EQUAL(updraft_patch_restore(&patch, &header, dump), UPDRAFT_INTEGRITY);
    }
}

void test_patch(void) {
    RUN(a_patch_gives_the_target_however_it_is_cut_and_after_any_dump);
    RUN(a_patch_may_move_back_and_forth_in_the_base);
    RUN(a_stream_that_breaks_a_rule_is_refused);
    RUN(a_number_has_one_spelling);
    RUN(a_number_that_is_right_but_for_its_33rd_bit_is_refused);
    RUN(segments_of_crle_are_taken_as_they_are_told);
    RUN(tokens_of_heatshrink_are_taken_as_they_are_told);
    RUN(a_copy_reaches_back_as_far_as_it_says);
    RUN(an_empty_result_has_a_prefix_and_no_stream);
    RUN(a_patch_must_begin_as_its_container_says);
    RUN(what_was_refused_once_is_refused_for_ever);
    RUN(a_sink_or_a_base_that_fails_ends_the_patch);
    RUN(a_dump_that_cannot_be_is_refused);
}
