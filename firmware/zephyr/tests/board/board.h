/* The board under the application: flash, clock, watchdog, settings and LwM2M engine, made of files and one process.
 *
 * Not Zephyr. Each function keeps what the header beside it promises (../zephyr_api) and no more; what the bootloader
 * does between two runs of the process is the business of the test, which has MCUboot's swap in Python.
 */
#ifndef BOARD_H
#define BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Flash and settings from files in a folder, and back; flash rules that are broken end the process with a message. */
void flash_load(const char *folder, unsigned primary_sectors, unsigned secondary_sectors, unsigned unit);
void flash_save(void);
void settings_use(const char *folder);

/* Advance the clock by seconds; work that is due runs unless `hung`. The watchdog looks at every second. */
void clock_advance(unsigned seconds, bool hung);

/* The engine's side of object 5 and of registration. */
void engine_registered(void);
void engine_network_error(void);
enum delivery {
    WHOLE,
    CUT_SHORT, /* the last block never comes */
    GAP,       /* the second block never comes */
};
void engine_download(const uint8_t *package, size_t length, size_t announced, enum delivery delivery);
void engine_execute(void);
void engine_cancel(void);
void engine_print(unsigned object, unsigned resource);

/* Whether this is the part of the board that is broken; one is, or none. */
bool board_broken(const char *part);

/* End this run: the power goes, or somebody rebooted. */
_Noreturn void board_off(const char *why);

#endif
