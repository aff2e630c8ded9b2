/* Object 5 of a device: the moves as a table, the record across a reboot, and the rule for confirming.
 *
 * A download ends in Downloaded or back in Idle. Execute has the bootloader try the new image, which begins its life on
 * trial: it is confirmed when it has passed its self-test AND has reached the server, and not before, for an image that
 * cannot reach the server cannot be replaced by it either. When the deadline passes, a reboot lets the bootloader put
 * the old image back. What happened is known by hash: the record says which image was to be installed.
 */
#include "updraft/update.h"

#include <string.h>

#include "bytes.h"

#define RECORD_MAGIC 0x31524455u /* "UDR1": changes with the layout */

enum {
    KEEP = 0xff, /* the Result stays */
    AT_RESULT = 4,
    AT_INSTALLING = 5,
    AT_TARGET = 8,
    AT_CRC = 44,
};

struct move {
    uint8_t to;     /* State */
    uint8_t result; /* Result */
    uint8_t actions;
};

#define REFUSED(state) {state, KEEP, UPDRAFT_REFUSE}
#define IGNORED(state) {state, KEEP, 0}
#define TOLD (UPDRAFT_STORE_RECORD | UPDRAFT_NOTIFY)

/* In any but Idle Zephyr answers 2.04 to a URI and does nothing (lwm2m_obj_firmware.c). */
static const struct move MOVES[4][UPDRAFT_EVENTS] = {
    [UPDRAFT_IDLE] =
        {
            [UPDRAFT_URI_WRITTEN] = {UPDRAFT_DOWNLOADING, UPDRAFT_GOOD, TOLD | UPDRAFT_START_DOWNLOAD},
            [UPDRAFT_PUSH_STARTED] = {UPDRAFT_DOWNLOADING, UPDRAFT_GOOD, TOLD | UPDRAFT_START_DOWNLOAD},
            [UPDRAFT_RESET] = {UPDRAFT_IDLE, UPDRAFT_GOOD, TOLD | UPDRAFT_STOP_DOWNLOAD},
            [UPDRAFT_PACKAGE_GOOD] = REFUSED(UPDRAFT_IDLE),
            [UPDRAFT_PACKAGE_BAD] = REFUSED(UPDRAFT_IDLE),
            [UPDRAFT_EXECUTE] = REFUSED(UPDRAFT_IDLE),
            [UPDRAFT_REQUEST_REFUSED] = REFUSED(UPDRAFT_IDLE),
            [UPDRAFT_CANCEL] = REFUSED(UPDRAFT_IDLE),
        },
    [UPDRAFT_DOWNLOADING] =
        {
            [UPDRAFT_URI_WRITTEN] = IGNORED(UPDRAFT_DOWNLOADING),
            [UPDRAFT_PUSH_STARTED] = IGNORED(UPDRAFT_DOWNLOADING),
            [UPDRAFT_RESET] = {UPDRAFT_IDLE, UPDRAFT_GOOD, TOLD | UPDRAFT_STOP_DOWNLOAD},
            [UPDRAFT_PACKAGE_GOOD] = {UPDRAFT_DOWNLOADED, KEEP, TOLD | UPDRAFT_STOP_DOWNLOAD},
            [UPDRAFT_PACKAGE_BAD] = {UPDRAFT_IDLE, KEEP, TOLD}, /* the Result and the rest: updraft_update_failed */
            [UPDRAFT_EXECUTE] = REFUSED(UPDRAFT_DOWNLOADING),
            [UPDRAFT_REQUEST_REFUSED] = REFUSED(UPDRAFT_DOWNLOADING),
            [UPDRAFT_CANCEL] = {UPDRAFT_IDLE, UPDRAFT_CANCELLED, TOLD | UPDRAFT_STOP_DOWNLOAD},
        },
    [UPDRAFT_DOWNLOADED] =
        {
            [UPDRAFT_URI_WRITTEN] = IGNORED(UPDRAFT_DOWNLOADED),
            [UPDRAFT_PUSH_STARTED] = REFUSED(UPDRAFT_DOWNLOADED),
            [UPDRAFT_RESET] = {UPDRAFT_IDLE, UPDRAFT_GOOD, TOLD},
            [UPDRAFT_PACKAGE_GOOD] = REFUSED(UPDRAFT_DOWNLOADED),
            [UPDRAFT_PACKAGE_BAD] = REFUSED(UPDRAFT_DOWNLOADED),
            [UPDRAFT_EXECUTE] = {UPDRAFT_UPDATING, KEEP, TOLD | UPDRAFT_INSTALL},
            [UPDRAFT_REQUEST_REFUSED] = REFUSED(UPDRAFT_DOWNLOADED),
            [UPDRAFT_CANCEL] = {UPDRAFT_IDLE, UPDRAFT_CANCELLED, TOLD},
        },
    [UPDRAFT_UPDATING] =
        {
            [UPDRAFT_URI_WRITTEN] = REFUSED(UPDRAFT_UPDATING),
            [UPDRAFT_PUSH_STARTED] = REFUSED(UPDRAFT_UPDATING),
            [UPDRAFT_RESET] = REFUSED(UPDRAFT_UPDATING),
            [UPDRAFT_PACKAGE_GOOD] = REFUSED(UPDRAFT_UPDATING),
            [UPDRAFT_PACKAGE_BAD] = REFUSED(UPDRAFT_UPDATING),
            [UPDRAFT_EXECUTE] = REFUSED(UPDRAFT_UPDATING),
            [UPDRAFT_REQUEST_REFUSED] = {UPDRAFT_DOWNLOADED, UPDRAFT_FAILED, TOLD},
            [UPDRAFT_CANCEL] = REFUSED(UPDRAFT_UPDATING),
        },
};

unsigned updraft_update_step(struct updraft_update *update, enum updraft_event event) {
    const struct move *move = &MOVES[update->state][event];
    /* On trial, the old image in secondary is the way back: it is not given up for a download, and the record waits for
     * the end of the trial. */
    if (update->trial.on) {
        return move->actions & (UPDRAFT_REFUSE | UPDRAFT_START_DOWNLOAD) ? UPDRAFT_REFUSE : 0;
    }
    update->state = move->to;
    if (move->result != KEEP) {
        update->record.result = move->result;
    }
    if (move->actions & UPDRAFT_STORE_RECORD) {
        update->record.installing = update->state == UPDRAFT_UPDATING;
    }
    return move->actions;
}

unsigned updraft_update_downloaded(struct updraft_update *update, const uint8_t target[UPDRAFT_SHA256_BYTES]) {
    unsigned actions = updraft_update_step(update, UPDRAFT_PACKAGE_GOOD);
    if (!(actions & UPDRAFT_REFUSE)) {
        memcpy(update->record.target, target, UPDRAFT_SHA256_BYTES);
    }
    return actions;
}

unsigned updraft_update_failed(struct updraft_update *update, enum updraft_result result) {
    unsigned actions = updraft_update_step(update, UPDRAFT_PACKAGE_BAD);
    if (actions & UPDRAFT_REFUSE) {
        return actions;
    }
    update->record.result = result;
    /* After a lost connection the checkpoint is good: the next try goes on where this one stood. */
    return result == UPDRAFT_CONNECTION_LOST ? actions : actions | UPDRAFT_STOP_DOWNLOAD;
}

unsigned updraft_update_boot(struct updraft_update *update, const struct updraft_record *record,
                             const uint8_t running[UPDRAFT_SHA256_BYTES], bool confirmed, uint32_t confirm_seconds) {
    memset(update, 0, sizeof *update);
    update->record = *record;
    update->trial.on = !confirmed;
    update->trial.deadline_seconds = confirm_seconds;
    if (!record->installing) {
        return 0;
    }
    bool arrived = memcmp(running, record->target, UPDRAFT_SHA256_BYTES) == 0;
    if (arrived && !confirmed) {
        return 0; /* not over: Result 1 comes with the confirmation */
    }
    /* Another image than the target runs: it was refused by the bootloader, or it ran and was reverted. */
    update->record.result = arrived ? UPDRAFT_SUCCESS : UPDRAFT_FAILED;
    update->record.installing = false;
    return UPDRAFT_STORE_RECORD;
}

enum updraft_trial_action updraft_trial_step(const struct updraft_trial *trial, uint32_t now_seconds) {
    if (!trial->on) {
        return UPDRAFT_WAIT;
    }
    if (trial->self_test_passed && trial->server_reached) {
        return UPDRAFT_CONFIRM;
    }
    return now_seconds >= trial->deadline_seconds ? UPDRAFT_REBOOT : UPDRAFT_WAIT;
}

unsigned updraft_update_confirmed(struct updraft_update *update) {
    if (!update->trial.on) {
        return 0; /* confirmed long ago: an update that is being installed has not arrived by that */
    }
    update->trial.on = false;
    if (!update->record.installing) {
        return 0; /* an image that came by another way than an update */
    }
    update->record.installing = false;
    update->record.result = UPDRAFT_SUCCESS;
    return TOLD;
}

void updraft_record_encode(const struct updraft_record *record, uint8_t bytes[UPDRAFT_RECORD_BYTES]) {
    memset(bytes, 0, UPDRAFT_RECORD_BYTES);
    updraft_put32(bytes, RECORD_MAGIC);
    bytes[AT_RESULT] = (uint8_t)record->result;
    bytes[AT_INSTALLING] = record->installing;
    memcpy(bytes + AT_TARGET, record->target, UPDRAFT_SHA256_BYTES);
    updraft_put32(bytes + AT_CRC, updraft_crc32(bytes, AT_CRC));
}

bool updraft_record_decode(const uint8_t bytes[UPDRAFT_RECORD_BYTES], struct updraft_record *record) {
    memset(record, 0, sizeof *record);
    if (updraft_get32(bytes) != RECORD_MAGIC || updraft_get32(bytes + AT_CRC) != updraft_crc32(bytes, AT_CRC)) {
        return false;
    }
    record->result = bytes[AT_RESULT];
    record->installing = bytes[AT_INSTALLING] == 1;
    memcpy(record->target, bytes + AT_TARGET, UPDRAFT_SHA256_BYTES);
    return true;
}
