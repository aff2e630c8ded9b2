/* A small harness: tests are functions with a sentence for a name, a failed check is told and counted. */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHECK(condition) check_that(condition, __FILE__, __LINE__, #condition)
#define CHECK_EQUAL(found, expected) check_equal((long)(found), (long)(expected), __FILE__, __LINE__, #found)
#define RUN(test) run_test(test, #test)

void check_that(bool good, const char *file, int line, const char *what);
void check_equal(long found, long expected, const char *file, int line, const char *what);
void run_test(void (*test)(void), const char *name);

/* Each file of tests. */
void test_bytes(void);
void test_image(void);
void test_delta(void);
void test_patch(void);
void test_package(void);
void test_update(void);
void test_vectors(void);

/* What the machine gives: see port_host.c and port_qemu.c. */
void port_say(const char *text);
void port_leave(int status);
size_t port_load(const char *name, uint8_t *data, size_t room); /* bytes of the file; 0 when it cannot be read */
/* Bytes of stack that the call took; 0 where that cannot be told. */
size_t port_stack_of(void (*call)(void *), void *argument);

void say_number(const char *label, long number);

#endif
