/* Runs all tests; the last line says how many held. */
#include "check.h"

static long checks;
static long failures;
static long tests;

void say_number(const char *label, long number) {
    char text[24];
    size_t at = sizeof text;
    unsigned long rest = number < 0 ? 0ul - (unsigned long)number : (unsigned long)number;
    text[--at] = '\0';
    do {
        text[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (number < 0) {
        text[--at] = '-';
    }
    port_say(label);
    port_say(text + at);
}

void check_that(bool good, const char *file, int line, const char *what) {
    checks++;
    if (!good && failures++ < 20) {
        port_say("FAILED ");
        port_say(file);
        say_number(":", line);
        port_say(" ");
        port_say(what);
        port_say("\n");
    }
#ifdef FAIL_FAST
    if (failures > 0) {
        port_leave(1);
    }
#endif
}

void check_equal(long found, long expected, const char *file, int line, const char *what) {
    check_that(found == expected, file, line, what);
    if (found != expected && failures <= 20) {
        say_number("       found ", found);
        say_number(", expected ", expected);
        port_say("\n");
    }
}

void run_test(void (*test)(void), const char *name) {
    long before = failures;
    tests++;
    test();
    if (failures > before) {
        port_say("       in ");
        port_say(name);
        port_say("\n");
    }
}

int main(void) {
    test_bytes();
    test_image();
    test_delta();
    test_patch();
    test_package();
    test_update();
    test_vectors();
    say_number("tests ", tests);
    say_number(" checks ", checks);
    say_number(" failures ", failures);
    port_say("\n");
    return failures > 0;
}
