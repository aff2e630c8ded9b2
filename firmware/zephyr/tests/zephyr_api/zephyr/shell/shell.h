/* include/zephyr/shell/shell.h, 013c135025b4; commands are symbols here, not entries of a section. */
#ifndef ZEPHYR_API_SHELL_H
#define ZEPHYR_API_SHELL_H

#include <stddef.h>
#include <stdint.h>

struct shell;
typedef int (*shell_cmd_handler)(const struct shell *shell, size_t argc, char **argv);
struct shell_static_entry;
union shell_cmd_entry {
    const struct shell_static_entry *entry;
};
struct shell_static_entry {
    const char *syntax;
    const char *help;
    const union shell_cmd_entry *subcmd;
    shell_cmd_handler handler;
    struct {
        uint8_t mandatory;
        uint8_t optional;
    } args;
};
#define SHELL_CMD_ARG(_syntax, _subcmd, _help, _handler, _mand, _opt)                                                  \
    {                                                                                                                  \
        #_syntax, _help, _subcmd, _handler, {                                                                          \
            _mand, _opt                                                                                                \
        }                                                                                                              \
    }
#define SHELL_SUBCMD_SET_END {NULL, NULL, NULL, NULL, {0, 0}}
#define SHELL_STATIC_SUBCMD_SET_CREATE(name, ...)                                                                      \
    static const struct shell_static_entry shell_##name[] = {__VA_ARGS__};                                             \
    static const union shell_cmd_entry name = {.entry = shell_##name}
#define SHELL_CMD_REGISTER(_syntax, _subcmd, _help, _handler)                                                          \
    const struct shell_static_entry shell_root_##_syntax = {#_syntax, _help, _subcmd, _handler, {0, 0}}

__attribute__((format(printf, 2, 3))) void shell_print(const struct shell *shell, const char *format, ...);
__attribute__((format(printf, 2, 3))) void shell_error(const struct shell *shell, const char *format, ...);

#endif
