/* Object 5 of a device, decided: states, results, what survives a reboot, and when a new image may be confirmed.
 *
 * Nothing here touches a device. Every function changes its first argument and answers what to do; the caller does it.
 *
 *     at boot:             updraft_update_boot(&update, stored record, running hash, confirmed, now)
 *     a resource written:  actions = updraft_update_step(&update, UPDRAFT_URI_WRITTEN)
 *     package judged:      actions = updraft_update_downloaded(&update, image hash) or ..._failed(&update, result)
 *     once a second or so, and after each event: action = updraft_trial_step(&update.trial, now)
 */
#ifndef UPDRAFT_UPDATE_H
#define UPDRAFT_UPDATE_H

#include <stdbool.h>

#include "updraft/sha256.h"

enum updraft_event {
    UPDRAFT_URI_WRITTEN,     /* a Package URI that is not empty (5/0/1) */
    UPDRAFT_PUSH_STARTED,    /* the first block of Package (5/0/0) */
    UPDRAFT_RESET,           /* an empty URI, or a Package of a single NUL */
    UPDRAFT_PACKAGE_GOOD,    /* used by updraft_update_downloaded */
    UPDRAFT_PACKAGE_BAD,     /* used by updraft_update_failed */
    UPDRAFT_EXECUTE,         /* Update (5/0/2) */
    UPDRAFT_REQUEST_REFUSED, /* the upgrade could not be requested from the bootloader */
    UPDRAFT_CANCEL,          /* Cancel (5/0/10, object 5 1.1) */
    UPDRAFT_EVENTS,
};

/* What the caller has to do after an event, a set of bits. In this order. */
enum {
    UPDRAFT_REFUSE = 1u << 0,         /* answer 4.05; nothing has changed */
    UPDRAFT_STOP_DOWNLOAD = 1u << 1,  /* forget the package and its checkpoint */
    UPDRAFT_STORE_RECORD = 1u << 2,   /* store `record` before anything else goes on */
    UPDRAFT_START_DOWNLOAD = 1u << 3, /* begin a package; pull it when the event was a URI */
    UPDRAFT_INSTALL = 1u << 4,        /* answer first, request a TEST upgrade, reboot a second later */
    UPDRAFT_NOTIFY = 1u << 5,         /* State or Result have changed: tell the server */
};

/* What must survive a reboot: the stored bytes say which update was on its way. */
struct updraft_record {
    enum updraft_result result;           /* shown until the next download begins (object 5, resource 5) */
    bool installing;                      /* an upgrade to `target` was requested and its end is not known yet */
    uint8_t target[UPDRAFT_SHA256_BYTES]; /* SHA-256 over the whole image that was downloaded */
};

#define UPDRAFT_RECORD_BYTES 48u
void updraft_record_encode(const struct updraft_record *record, uint8_t bytes[UPDRAFT_RECORD_BYTES]);

/* False for anything that `encode` did not write (blank, torn, of another version): `record` is empty then, and the
 * device goes on as one that never updated. */
bool updraft_record_decode(const uint8_t bytes[UPDRAFT_RECORD_BYTES], struct updraft_record *record);

/* A running image that is not confirmed yet. Seconds are counted since boot. */
struct updraft_trial {
    bool on;
    bool self_test_passed;
    bool server_reached; /* by this image, in this boot: REGISTRATION_COMPLETE */
    uint32_t deadline_seconds;
};

enum updraft_trial_action {
    UPDRAFT_WAIT = 0,
    UPDRAFT_CONFIRM = 1, /* write image_ok, then call updraft_update_confirmed */
    UPDRAFT_REBOOT = 2,  /* give the bootloader the chance to revert */
};

struct updraft_update {
    enum updraft_state state;     /* 5/0/3 */
    struct updraft_record record; /* record.result is 5/0/5 */
    struct updraft_trial trial;
};

/* The device has booted: what object 5 shows, and whether the running image is on trial. `record` as decoded (empty
 * when there was none), `running` the SHA-256 over the whole running image, `confirmed` from its trailer; on trial, the
 * image has `confirm_seconds` since boot to reach the server. Returns actions (UPDRAFT_STORE_RECORD or none). On trial
 * a URI or a push is refused, and a reset does nothing: the old image in secondary is the way back. */
unsigned updraft_update_boot(struct updraft_update *update, const struct updraft_record *record,
                             const uint8_t running[UPDRAFT_SHA256_BYTES], bool confirmed, uint32_t confirm_seconds);

/* An event from the server or the bootloader; returns actions. */
unsigned updraft_update_step(struct updraft_update *update, enum updraft_event event);

/* The package is in secondary and good: `target` is the SHA-256 over the whole new image. */
unsigned updraft_update_downloaded(struct updraft_update *update, const uint8_t target[UPDRAFT_SHA256_BYTES]);

/* The download ended with `result` (2 to 9). */
unsigned updraft_update_failed(struct updraft_update *update, enum updraft_result result);

/* What to do about the trial now. */
enum updraft_trial_action updraft_trial_step(const struct updraft_trial *trial, uint32_t now_seconds);

/* image_ok has been written: the update has succeeded. Without a trial it changes nothing. */
unsigned updraft_update_confirmed(struct updraft_update *update);

#endif
