/* How Zephyr's object 5 is told a Result: by the error number of the write callback. */
#include <errno.h>

#include "updraft/result.h"

int updraft_errno(enum updraft_result result) {
    switch (result) {
    case UPDRAFT_GOOD:
        return 0;
    case UPDRAFT_NOT_ENOUGH_FLASH:
        return -ENOSPC;
    case UPDRAFT_OUT_OF_RAM:
        return -ENOMEM;
    case UPDRAFT_INTEGRITY:
        return -EFAULT;
    case UPDRAFT_UNSUPPORTED_PACKAGE:
        return -ENOMSG;
    default:
        return -EIO;
    }
}
