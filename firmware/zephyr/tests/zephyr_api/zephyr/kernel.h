/* Declarations of Zephyr that the application uses, and no more. include/zephyr/kernel.h, 56bf8e8aa519; the k_work
 * calls as in Zephyr's documentation of workqueues. */
#ifndef ZEPHYR_API_KERNEL_H
#define ZEPHYR_API_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <zephyr/sys/util.h>

#define MSEC_PER_SEC 1000
#define __weak __attribute__((weak))
#define BUILD_ASSERT(condition, message) _Static_assert(condition, message)

typedef struct {
    int64_t ticks;
} k_timeout_t;
#define K_MSEC(ms) ((k_timeout_t){(ms)})
#define K_SECONDS(s) K_MSEC((s) * MSEC_PER_SEC)
#define K_NO_WAIT K_MSEC(0)
#define K_FOREVER K_MSEC(-1)

struct k_mutex {
    int held;
};
#define K_MUTEX_DEFINE(name) struct k_mutex name = {0}
int k_mutex_lock(struct k_mutex *mutex, k_timeout_t timeout);
int k_mutex_unlock(struct k_mutex *mutex);

struct k_work;
typedef void (*k_work_handler_t)(struct k_work *work);
struct k_work {
    k_work_handler_t handler;
};
struct k_work_delayable {
    struct k_work work;
    int64_t due;
};
#define K_WORK_DELAYABLE_DEFINE(name, function)                                                                        \
    struct k_work_delayable name = {.work = {.handler = function}, .due = -1}
int k_work_schedule(struct k_work_delayable *work, k_timeout_t delay);
int k_work_reschedule(struct k_work_delayable *work, k_timeout_t delay);
struct k_work_delayable *k_work_delayable_from_work(struct k_work *work);
int64_t k_uptime_get(void);

#endif
