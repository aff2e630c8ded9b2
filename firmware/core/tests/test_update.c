/* Object 5: each move of the table, the record, the trial, and whole lives of a device. */
#include "updraft/update.h"

#include <string.h>

#include "../src/bytes.h"
#include "check.h"

static const uint8_t OLD[UPDRAFT_SHA256_BYTES] = {1};
static const uint8_t NEW[UPDRAFT_SHA256_BYTES] = {2};
static struct updraft_update update;

static const struct updraft_record NO_RECORD;

enum { SAY = UPDRAFT_STORE_RECORD | UPDRAFT_NOTIFY };

static void in_state(enum updraft_state state) {
    updraft_update_boot(&update, &NO_RECORD, OLD, true, 600);
    update.record.result = UPDRAFT_OUT_OF_RAM;
    update.state = state;
}

static void each_event_in_each_state_does_what_the_standard_says(void) {
    static const struct {
        enum updraft_state from;
        enum updraft_event event;
        enum updraft_state to;
        enum updraft_result result;
        unsigned actions;
    } rows[] = {
        {UPDRAFT_IDLE, UPDRAFT_URI_WRITTEN, UPDRAFT_DOWNLOADING, UPDRAFT_GOOD, SAY | UPDRAFT_START_DOWNLOAD},
        {UPDRAFT_IDLE, UPDRAFT_PUSH_STARTED, UPDRAFT_DOWNLOADING, UPDRAFT_GOOD, SAY | UPDRAFT_START_DOWNLOAD},
        {UPDRAFT_IDLE, UPDRAFT_RESET, UPDRAFT_IDLE, UPDRAFT_GOOD, SAY | UPDRAFT_STOP_DOWNLOAD},
        {UPDRAFT_DOWNLOADING, UPDRAFT_URI_WRITTEN, UPDRAFT_DOWNLOADING, UPDRAFT_OUT_OF_RAM, 0},
        {UPDRAFT_DOWNLOADING, UPDRAFT_PUSH_STARTED, UPDRAFT_DOWNLOADING, UPDRAFT_OUT_OF_RAM, 0},
        {UPDRAFT_DOWNLOADING, UPDRAFT_RESET, UPDRAFT_IDLE, UPDRAFT_GOOD, SAY | UPDRAFT_STOP_DOWNLOAD},
        {UPDRAFT_DOWNLOADING, UPDRAFT_PACKAGE_GOOD, UPDRAFT_DOWNLOADED, UPDRAFT_OUT_OF_RAM,
         SAY | UPDRAFT_STOP_DOWNLOAD},
        {UPDRAFT_DOWNLOADING, UPDRAFT_PACKAGE_BAD, UPDRAFT_IDLE, UPDRAFT_OUT_OF_RAM, SAY},
        {UPDRAFT_DOWNLOADING, UPDRAFT_CANCEL, UPDRAFT_IDLE, UPDRAFT_CANCELLED, SAY | UPDRAFT_STOP_DOWNLOAD},
        {UPDRAFT_DOWNLOADED, UPDRAFT_URI_WRITTEN, UPDRAFT_DOWNLOADED, UPDRAFT_OUT_OF_RAM, 0},
        {UPDRAFT_DOWNLOADED, UPDRAFT_RESET, UPDRAFT_IDLE, UPDRAFT_GOOD, SAY},
        {UPDRAFT_DOWNLOADED, UPDRAFT_EXECUTE, UPDRAFT_UPDATING, UPDRAFT_OUT_OF_RAM, SAY | UPDRAFT_INSTALL},
        {UPDRAFT_DOWNLOADED, UPDRAFT_CANCEL, UPDRAFT_IDLE, UPDRAFT_CANCELLED, SAY},
        {UPDRAFT_UPDATING, UPDRAFT_REQUEST_REFUSED, UPDRAFT_DOWNLOADED, UPDRAFT_FAILED, SAY},
    };
    for (int state = 0; state < 4; state++) {
        for (int event = 0; event < UPDRAFT_EVENTS; event++) {
            /* Whatever is not in the list is refused and changes nothing. */
            enum updraft_state to = (enum updraft_state)state;
            enum updraft_result result = UPDRAFT_OUT_OF_RAM;
            unsigned actions = UPDRAFT_REFUSE;
            for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
                if ((int)rows[row].from == state && (int)rows[row].event == event) {
                    to = rows[row].to;
                    result = rows[row].result;
                    actions = rows[row].actions;
                }
            }
            in_state((enum updraft_state)state);
            CHECK_EQUAL(updraft_update_step(&update, (enum updraft_event)event), actions);
            CHECK_EQUAL(update.state, to);
            CHECK_EQUAL(update.record.result, result);
            CHECK_EQUAL(update.record.installing, to == UPDRAFT_UPDATING && !(actions & UPDRAFT_REFUSE));
        }
    }
}

static void a_failed_download_shows_its_result_and_keeps_its_checkpoint_only_when_the_connection_was_lost(void) {
    in_state(UPDRAFT_DOWNLOADING);
    CHECK_EQUAL(updraft_update_failed(&update, UPDRAFT_INTEGRITY), SAY | UPDRAFT_STOP_DOWNLOAD);
    CHECK_EQUAL(update.record.result, UPDRAFT_INTEGRITY);
    in_state(UPDRAFT_DOWNLOADING);
    CHECK_EQUAL(updraft_update_failed(&update, UPDRAFT_CONNECTION_LOST), SAY);
    CHECK_EQUAL(update.record.result, UPDRAFT_CONNECTION_LOST);
    CHECK_EQUAL(update.state, UPDRAFT_IDLE);
    /* A failure that comes late, after a reset, is nobody's. */
    CHECK_EQUAL(updraft_update_failed(&update, UPDRAFT_INTEGRITY), UPDRAFT_REFUSE);
    CHECK_EQUAL(update.record.result, UPDRAFT_CONNECTION_LOST);
    CHECK_EQUAL(updraft_update_downloaded(&update, NEW), UPDRAFT_REFUSE);
    CHECK(memcmp(update.record.target, NEW, sizeof NEW) != 0);
}

/* Download, Execute, and the record through its bytes, as over a reboot. */
static struct updraft_record installed(void) {
    uint8_t bytes[UPDRAFT_RECORD_BYTES];
    struct updraft_record record;
    updraft_update_boot(&update, &NO_RECORD, OLD, true, 600);
    CHECK(updraft_update_step(&update, UPDRAFT_URI_WRITTEN) & UPDRAFT_START_DOWNLOAD);
    CHECK_EQUAL(updraft_update_downloaded(&update, NEW), SAY | UPDRAFT_STOP_DOWNLOAD);
    CHECK(updraft_update_step(&update, UPDRAFT_EXECUTE) & UPDRAFT_INSTALL);
    updraft_record_encode(&update.record, bytes);
    CHECK(updraft_record_decode(bytes, &record));
    CHECK(memcmp(&record, &update.record, sizeof record) == 0);
    return record;
}

static void a_new_image_is_confirmed_only_after_self_test_and_server(void) {
    const struct updraft_record record = installed();
    CHECK_EQUAL(updraft_update_boot(&update, &record, NEW, false, 600), 0);
    CHECK_EQUAL(update.state, UPDRAFT_IDLE);
    CHECK_EQUAL(update.record.result, UPDRAFT_GOOD);
    CHECK_EQUAL(updraft_trial_step(&update.trial, 0), UPDRAFT_WAIT);
    update.trial.self_test_passed = true;
    CHECK_EQUAL(updraft_trial_step(&update.trial, 599), UPDRAFT_WAIT);
    CHECK_EQUAL(updraft_trial_step(&update.trial, 600), UPDRAFT_REBOOT);
    update.trial.server_reached = true;
    CHECK_EQUAL(updraft_trial_step(&update.trial, 1), UPDRAFT_CONFIRM);
    update.trial.self_test_passed = false;
    CHECK_EQUAL(updraft_trial_step(&update.trial, 1), UPDRAFT_WAIT);
    CHECK_EQUAL(updraft_trial_step(&update.trial, 600), UPDRAFT_REBOOT);
    CHECK_EQUAL(updraft_update_confirmed(&update), SAY);
    CHECK_EQUAL(update.record.result, UPDRAFT_SUCCESS);
    CHECK(!update.record.installing);
    CHECK_EQUAL(updraft_trial_step(&update.trial, 1000), UPDRAFT_WAIT);
}

static void on_trial_the_way_back_is_not_given_up(void) {
    const struct updraft_record record = installed();
    updraft_update_boot(&update, &record, NEW, false, 600);
    CHECK_EQUAL(updraft_update_step(&update, UPDRAFT_URI_WRITTEN), UPDRAFT_REFUSE);
    CHECK_EQUAL(updraft_update_step(&update, UPDRAFT_PUSH_STARTED), UPDRAFT_REFUSE);
    CHECK_EQUAL(updraft_update_step(&update, UPDRAFT_EXECUTE), UPDRAFT_REFUSE);
    CHECK_EQUAL(updraft_update_step(&update, UPDRAFT_RESET), 0);
    CHECK(update.record.installing);
    updraft_update_confirmed(&update);
    CHECK_EQUAL(update.record.result, UPDRAFT_SUCCESS);
    CHECK(updraft_update_step(&update, UPDRAFT_URI_WRITTEN) & UPDRAFT_START_DOWNLOAD);
}

static void after_a_boot_the_hash_of_what_runs_says_how_the_update_ended(void) {
    static const struct {
        const uint8_t *running;
        bool confirmed;
        enum updraft_result result;
        bool installing;
    } rows[] = {
        {NEW, false, UPDRAFT_GOOD, true},    /* on trial: not over */
        {NEW, true, UPDRAFT_SUCCESS, false}, /* confirmed, and the power failed before that was recorded */
        {OLD, true, UPDRAFT_FAILED, false},  /* reverted, or refused by the bootloader */
        {OLD, false, UPDRAFT_FAILED, false},
    };
    for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
        const struct updraft_record record = installed();
        CHECK_EQUAL(updraft_update_boot(&update, &record, rows[row].running, rows[row].confirmed, 600),
                    rows[row].installing ? 0 : UPDRAFT_STORE_RECORD);
        CHECK_EQUAL(update.record.result, rows[row].result);
        CHECK_EQUAL(update.record.installing, rows[row].installing);
        CHECK_EQUAL(update.trial.on, !rows[row].confirmed);
    }
}

static void a_result_stays_until_the_next_download_begins(void) {
    struct updraft_record record = installed();
    updraft_update_boot(&update, &record, OLD, true, 600);
    record = update.record;
    CHECK_EQUAL(updraft_update_boot(&update, &record, OLD, true, 600), 0);
    CHECK_EQUAL(update.record.result, UPDRAFT_FAILED);
    updraft_update_step(&update, UPDRAFT_URI_WRITTEN);
    CHECK_EQUAL(update.record.result, UPDRAFT_GOOD);
}

static void a_confirmation_without_a_trial_is_no_success(void) {
    installed();
    CHECK_EQUAL(updraft_update_confirmed(&update), 0);
    CHECK_EQUAL(update.record.result, UPDRAFT_GOOD);
    CHECK(update.record.installing);
}

static void a_device_that_never_updated_says_nothing(void) {
    CHECK_EQUAL(updraft_update_boot(&update, &NO_RECORD, OLD, true, 600), 0);
    CHECK_EQUAL(update.record.result, UPDRAFT_GOOD);
    CHECK_EQUAL(updraft_trial_step(&update.trial, 1000), UPDRAFT_WAIT);
    /* An unconfirmed image that was put there by hand is confirmed by the same rule, and is no update. */
    updraft_update_boot(&update, &NO_RECORD, OLD, false, 600);
    CHECK_EQUAL(updraft_trial_step(&update.trial, 600), UPDRAFT_REBOOT);
    CHECK_EQUAL(updraft_update_confirmed(&update), 0);
    CHECK_EQUAL(update.record.result, UPDRAFT_GOOD);
}

static void a_record_that_was_not_written_whole_is_none(void) {
    uint8_t bytes[UPDRAFT_RECORD_BYTES];
    struct updraft_record record = installed();
    updraft_record_encode(&record, bytes);
    for (unsigned at = 0; at < UPDRAFT_RECORD_BYTES; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes[at] ^= (uint8_t)(1u << bit);
            record.installing = true;
            CHECK(!updraft_record_decode(bytes, &record));
            CHECK(!record.installing);
            bytes[at] ^= (uint8_t)(1u << bit);
        }
    }
    memset(bytes, 0xff, sizeof bytes);
    CHECK(!updraft_record_decode(bytes, &record));
    CHECK_EQUAL(record.result, UPDRAFT_GOOD);
}

static void a_record_that_says_neither_yes_nor_no_is_of_no_update(void) {
    enum { INSTALLING = 5, CRC = UPDRAFT_RECORD_BYTES - 4 };
    uint8_t bytes[UPDRAFT_RECORD_BYTES];
    struct updraft_record record = installed();
    updraft_record_encode(&record, bytes);
    bytes[INSTALLING] = 2;
    updraft_put32(bytes + CRC, updraft_crc32(bytes, CRC));
    CHECK(updraft_record_decode(bytes, &record));
    CHECK(!record.installing);
}

void test_update(void) {
    RUN(each_event_in_each_state_does_what_the_standard_says);
    RUN(a_failed_download_shows_its_result_and_keeps_its_checkpoint_only_when_the_connection_was_lost);
    RUN(a_new_image_is_confirmed_only_after_self_test_and_server);
    RUN(on_trial_the_way_back_is_not_given_up);
    RUN(after_a_boot_the_hash_of_what_runs_says_how_the_update_ended);
    RUN(a_result_stays_until_the_next_download_begins);
    RUN(a_confirmation_without_a_trial_is_no_success);
    RUN(a_device_that_never_updated_says_nothing);
    RUN(a_record_that_was_not_written_whole_is_none);
    RUN(a_record_that_says_neither_yes_nor_no_is_of_no_update);
}
