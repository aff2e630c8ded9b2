/* The tests on a Cortex-M without anything under them: start-up, Arm semihosting, stack painting.
 *
 * Semihosting (Arm IHI 0061): operation in r0, argument or pointer to arguments in r1, breakpoint 0xAB, answer in r0.
 */
#include <stdint.h>
#include <string.h>

#include "../check.h"

enum {
    SYS_OPEN = 0x01,
    SYS_CLOSE = 0x02,
    SYS_WRITE0 = 0x04,
    SYS_READ = 0x06,
    SYS_EXIT_EXTENDED = 0x20,
    MODE_RB = 1,
    APPLICATION_EXIT = 0x20026,
    PAINT = 0xa5,
    /* Below the stack pointer, for the frame of the painter itself. */
    PAINT_GAP = 64,
};

int main(void);
void reset(void);

extern uint8_t stack_begin[], stack_end[], bss_begin[], bss_end[];

static intptr_t semihosting(int operation, const void *argument) {
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void port_say(const char *text) {
    semihosting(SYS_WRITE0, text);
}

size_t port_load(const char *name, uint8_t *data, size_t room) {
    const struct {
        const char *name;
        int mode;
        size_t length;
    } open = {name, MODE_RB, strlen(name)};
    const intptr_t file = semihosting(SYS_OPEN, &open);
    if (file < 0) {
        return 0;
    }
    const struct {
        intptr_t file;
        uint8_t *data;
        size_t room;
    } read = {file, data, room};
    const size_t missing = (size_t)semihosting(SYS_READ, &read);
    semihosting(SYS_CLOSE, &file);
    return room - missing;
}

size_t __attribute__((noinline)) port_stack_of(void (*call)(void *), void *argument) {
    uint8_t *here = __builtin_frame_address(0);
    uint8_t *painted_end = here - PAINT_GAP;
    for (volatile uint8_t *at = stack_begin; at < painted_end; at++) {
        *at = PAINT;
    }
    call(argument);
    const volatile uint8_t *at = stack_begin;
    while (at < painted_end && *at == PAINT) {
        at++;
    }
    return (size_t)(here - at);
}

void port_leave(int status) {
    const struct {
        uint32_t reason, status;
    } exit = {APPLICATION_EXIT, (uint32_t)status};
    semihosting(SYS_EXIT_EXTENDED, &exit);
}

void reset(void) {
    memset(bss_begin, 0, (size_t)(bss_end - bss_begin));
    port_leave(main());
}

static void fault(void) {
    port_say("FAULT\n");
    port_leave(2);
}

__attribute__((section(".vectors"), used)) static const void *const vectors[] = {
    stack_end,           (const void *)reset, (const void *)fault, (const void *)fault,
    (const void *)fault, (const void *)fault, (const void *)fault,
};
