/* include/zephyr/logging/log.h: the macros check their format as printf does. */
#ifndef ZEPHYR_API_LOG_H
#define ZEPHYR_API_LOG_H

__attribute__((format(printf, 2, 3))) void zephyr_log(const char *level, const char *format, ...);

#define LOG_MODULE_REGISTER(...) _Static_assert(1, "")
#define LOG_ERR(...) zephyr_log("error", __VA_ARGS__)
#define LOG_WRN(...) zephyr_log("warning", __VA_ARGS__)
#define LOG_INF(...) zephyr_log("info", __VA_ARGS__)
#define LOG_DBG(...) zephyr_log("debug", __VA_ARGS__)

#endif
