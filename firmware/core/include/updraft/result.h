/* What object 5 (Firmware Update) shows as State and Result, and how Zephyr is told. */
#ifndef UPDRAFT_RESULT_H
#define UPDRAFT_RESULT_H

/* Resource 5/0/3 (OMA object 5, 1.1). */
enum updraft_state {
    UPDRAFT_IDLE = 0,
    UPDRAFT_DOWNLOADING = 1,
    UPDRAFT_DOWNLOADED = 2,
    UPDRAFT_UPDATING = 3,
};

/* Resource 5/0/5. Functions of this library answer with the Result that the server should see; UPDRAFT_GOOD, which is
 * object 5's "initial value", means: nothing to object to. */
enum updraft_result {
    UPDRAFT_GOOD = 0,
    UPDRAFT_SUCCESS = 1,
    UPDRAFT_NOT_ENOUGH_FLASH = 2,
    UPDRAFT_OUT_OF_RAM = 3,
    UPDRAFT_CONNECTION_LOST = 4,
    UPDRAFT_INTEGRITY = 5,
    UPDRAFT_UNSUPPORTED_PACKAGE = 6,
    UPDRAFT_INVALID_URI = 7,
    UPDRAFT_FAILED = 8,
    UPDRAFT_UNSUPPORTED_PROTOCOL = 9,
    UPDRAFT_CANCELLED = 10,
    UPDRAFT_DEFERRED = 11,
};

/* What Zephyr's firmware write callback has to return so that object 5 shows `result`: 0 or a negative errno value
 * (subsys/net/lib/lwm2m/lwm2m_obj_firmware.c: -ENOMEM 3, -ENOSPC 2, -EFAULT 5, -ENOMSG 6, any other 8). */
int updraft_errno(enum updraft_result result);

#endif
