/* Decoder of detools sequential patches, fed as the bytes come (compressions: crle, heatshrink with window 8 and
 * lookahead 7). Its theory is in patch.c. */
#ifndef UPDRAFT_PATCH_H
#define UPDRAFT_PATCH_H

#include <stdbool.h>

#include "updraft/delta.h"

#define UPDRAFT_WINDOW_BYTES 256u

/* Between two calls of `updraft_patch_feed` this is all there is to know: it holds no pointer and no pending output.
 * The fields are for patch.c alone. */
struct updraft_patch {
    uint32_t from_size;
    uint32_t to_size;
    uint32_t patch_left; /* patch bytes still to come */
    uint32_t to_at;      /* bytes of the result that are out */
    uint32_t from_at;    /* where the next diff byte's base byte lies */
    uint32_t chunk_at;   /* where in the result the present chunk began */
    uint32_t part_left;  /* bytes left of the present diff or extra part */
    uint32_t number;     /* the number being read */
    uint32_t run_left;   /* crle: bytes left of the present segment */
    uint32_t bits;       /* heatshrink: bits of a token not yet complete */
    uint8_t bit_count;
    uint8_t compression;
    uint8_t frame;     /* what the next patch byte is */
    uint8_t part;      /* what the next decompressed byte is */
    uint8_t shift;     /* bits of `number` that are in; in the prefix: bytes that are in */
    uint8_t negative;  /* whether `number` is */
    uint8_t run_shift; /* bits of `run_left` that are in while it is being read */
    uint8_t window_at;
    uint8_t window[UPDRAFT_WINDOW_BYTES];
};

/* Where the result goes: `write` is called in order, without gaps, and returns UPDRAFT_GOOD or what is wrong. */
struct updraft_sink {
    enum updraft_result (*write)(void *context, const uint8_t *data, size_t length);
    void *context;
};

void updraft_patch_begin(struct updraft_patch *patch, const struct updraft_delta *delta);

/* Take the next bytes of the patch. Never writes more than the header's to_size, never reads outside the header's
 * from_size bytes of `base`, and does work bounded by to_size whatever the patch says. UPDRAFT_INTEGRITY when the patch
 * is broken or has surplus bytes, UPDRAFT_FAILED when `base` cannot be read, or what `sink` said; the decoder is of no
 * use then. */
enum updraft_result updraft_patch_feed(struct updraft_patch *patch, const struct updraft_source *base,
                                       const struct updraft_sink *sink, const uint8_t *data, size_t length);

/* UPDRAFT_INTEGRITY unless patch and result are complete. */
enum updraft_result updraft_patch_finish(const struct updraft_patch *patch);

/* The state as bytes, to be kept across a power cut with a check of their own (updraft/package.h does so).
 * `restore` answers UPDRAFT_INTEGRITY for what cannot be a state of this delta's decoder. */
#define UPDRAFT_PATCH_DUMP_BYTES 295u
void updraft_patch_dump(const struct updraft_patch *patch, uint8_t dump[UPDRAFT_PATCH_DUMP_BYTES]);
enum updraft_result updraft_patch_restore(struct updraft_patch *patch, const struct updraft_delta *delta,
                                          const uint8_t dump[UPDRAFT_PATCH_DUMP_BYTES]);

#endif
