/* One run of the device, from power on to power off: the application's main, then what the test tells it, line by line.
 *
 *     board FOLDER PRIMARY-SECTORS SECONDARY-SECTORS WRITE-UNIT BROKEN-PART   (or the word nothing)
 *
 * Every line on standard output is something the device did; the process ends with status 0 when the power goes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zephyr/shell/shell.h>

#include "board.h"

int application_main(void);
extern const struct shell_static_entry shell_root_updraft;
static const char *broken_part;

bool board_broken(const char *part) {
    return strcmp(broken_part, part) == 0;
}

bool updraft_self_test(void) {
    return !board_broken("self-test");
}

void board_off(const char *why) {
    printf("off: %s\n", why);
    flash_save();
    exit(0);
}

static void download(const char *path, size_t announced, enum delivery delivery) {
    static uint8_t package[1u << 20];
    FILE *file = fopen(path, "rb");
    size_t length = file == NULL ? 0 : fread(package, 1, sizeof(package), file);
    if (length == 0) {
        board_off("no package");
    }
    fclose(file);
    engine_download(package, length, announced, delivery);
}

static void shell(char *line) {
    char *words[8] = {0};
    size_t count = 0;
    for (char *word = strtok(line, " "); word != NULL && count < 8; word = strtok(NULL, " ")) {
        words[count++] = word;
    }
    for (const struct shell_static_entry *entry = shell_root_updraft.subcmd->entry; entry->syntax != NULL; entry++) {
        if (strcmp(entry->syntax, words[0]) == 0 && entry->args.mandatory == count) {
            entry->handler(NULL, count, words);
            return;
        }
    }
    printf("no such command\n");
}

static void obey(char *line) {
    char word[600];
    unsigned number;
    if (sscanf(line, "wait %u", &number) == 1) {
        clock_advance(number, false);
    } else if (sscanf(line, "hang %u", &number) == 1) {
        clock_advance(number, true);
    } else if (strcmp(line, "registered") == 0) {
        engine_registered();
    } else if (strcmp(line, "network error") == 0) {
        engine_network_error();
    } else if (sscanf(line, "download %599s announced %u", word, &number) == 2) {
        download(word, number, WHOLE);
    } else if (sscanf(line, "lose %599s", word) == 1) {
        download(word, 0, CUT_SHORT);
    } else if (sscanf(line, "skip %599s", word) == 1) {
        download(word, 0, GAP);
    } else if (sscanf(line, "download %599s", word) == 1) {
        download(word, 0, WHOLE);
    } else if (strcmp(line, "execute") == 0) {
        engine_execute();
    } else if (strcmp(line, "cancel") == 0) {
        engine_cancel();
    } else if (sscanf(line, "read 26250/0/%u", &number) == 1) {
        engine_print(26250, number);
    } else if (strncmp(line, "updraft ", 8) == 0) {
        shell(line + 8);
    } else {
        board_off("no such line");
    }
}

int main(int count, char **words) {
    char line[1024];
    setvbuf(stdout, NULL, _IONBF, 0);
    if (count != 6) {
        return 64;
    }
    broken_part = words[5];
    flash_load(words[1], (unsigned)atoi(words[2]), (unsigned)atoi(words[3]), (unsigned)atoi(words[4]));
    settings_use(words[1]);
    application_main();
    while (fgets(line, sizeof(line), stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        obey(line);
    }
    board_off("power");
}
