/* What a virtual device sends and expects: shared by load.c (plain) and load_dtls.c. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { MAX_OPTIONS = 200, TOKEN = 8, MAX_DATAGRAM = 2048, BUCKETS = 40000 };
static const double BUCKET_SECONDS = 50e-6;

struct device {
  uint8_t before[MAX_OPTIONS], after[MAX_OPTIONS]; /* options up to Uri-Path, and behind Size2 */
  size_t length, more;
  uint32_t block, answers, waits; /* waits: repeats of the request under way */
  uint32_t asked;                 /* message ids used */
  uint16_t mid;
  uint8_t finished, refused;
  double began, due, last; /* of the request under way; of the last answer */
};

static struct device *devices;
static unsigned count, szx = 6;
static uint8_t *body;
static size_t size;
static uint32_t blocks, latencies[BUCKETS];
static int whole; /* the body in one answer, without Block2 */
static unsigned long got, repeats, wrong;
static unsigned first_wrong;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void token_of(unsigned i, uint8_t *token) {
  uint32_t number = i, mid = devices[i].mid * 2654435761u;
  memcpy(token, &number, 4);
  memcpy(token + 4, &mid, 4);
}

/* Write a device's request; returns its length, at most 4 + TOKEN + 2 * MAX_OPTIONS + 6. */
static size_t request(unsigned i, uint8_t *p) {
  struct device *d = &devices[i];
  uint8_t *start = p;
  *p++ = 0x40 | TOKEN;
  *p++ = 1;
  *p++ = d->mid >> 8;
  *p++ = d->mid & 255;
  token_of(i, p);
  memcpy(p + TOKEN, d->before, d->length);
  p += TOKEN + d->length;
  if (!whole) {
    uint32_t value = d->block << 4 | szx;
    unsigned n = value > 0xFFFF ? 3 : value > 0xFF ? 2 : value ? 1 : 0;
    *p++ = (uint8_t)((d->length ? 0xC0 : 0xD0) | n); /* 23 - 11, or 23 - 0 */
    if (!d->length) *p++ = 23 - 13;
    for (unsigned k = n; k--;) *p++ = value >> (8 * k) & 255;
    *p++ = 0x50; /* Size2 = 0 */
    memcpy(p, d->after, d->more);
    p += d->more;
  }
  return (size_t)(p - start);
}

/* Is it a 2.05 with the block asked for, byte by byte? Its token was looked at before. */
static int right(const struct device *d, const uint8_t *data, size_t n) {
  size_t at = 4 + TOKEN;
  unsigned number = 0;
  uint32_t block = UINT32_MAX;
  while (at < n && data[at] != 0xFF) {
    unsigned delta = data[at] >> 4, length = data[at] & 15;
    at++;
    if (delta == 13 && at < n) delta = 13 + data[at++];
    if (length == 13 && at < n) length = 13 + data[at++];
    if (delta > 268 || length > 268 || at + length > n) return 0;
    number += delta;
    if (number == 23)
      for (block = 0; length; length--) block = block << 8 | data[at++];
    else
      at += length;
  }
  at++;
  size_t offset = whole ? 0 : (size_t)d->block << (szx + 4), wanted = whole ? size : (size_t)16 << szx;
  if (offset + wanted > size) wanted = size - offset;
  uint32_t expected = d->block << 4 | (offset + wanted < size) << 3 | szx;
  return data[1] == 0x45 && (whole || block == expected) && n >= at && n - at == wanted &&
         !memcmp(data + at, body + offset, wanted);
}

/* Note a right answer; the next request is for the next block. */
static void note(struct device *d, double at) {
  size_t bucket = (size_t)((at - d->began) / BUCKET_SECONDS);
  latencies[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
  got++;
  d->answers++;
  d->last = at;
  d->block = (d->block + 1) % blocks;
}

static void *whole_file(const char *path, size_t *length) {
  FILE *file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END)) exit(2);
  *length = (size_t)ftell(file);
  rewind(file);
  char *data = malloc(*length + 1);
  if (!data || fread(data, 1, *length, file) != *length) exit(2);
  fclose(file);
  data[*length] = 0;
  return data;
}

static size_t bytes_of(const char *word, uint8_t *into) {
  size_t length = *word == '-' ? 0 : strlen(word) / 2;
  if (length > MAX_OPTIONS) exit(2);
  for (size_t k = 0; k < length; k++)
    if (sscanf(word + 2 * k, "%2hhx", &into[k]) != 1) exit(2);
  return length;
}

/* One device for each line of a file: two words of hex, `-` for none. */
static void read_devices(const char *path, const char *file, uint16_t mid) {
  size_t length;
  char *text = whole_file(path, &length);
  for (char *p = text; *p; p++) count += *p == '\n';
  devices = calloc(count + 1, sizeof *devices);
  if (!devices || !count) exit(2);
  char *word = strtok(text, " \n");
  for (unsigned i = 0; i < count; i++) {
    struct device *d = &devices[i];
    if (word) d->length = bytes_of(word, d->before), word = strtok(NULL, " \n");
    if (word) d->more = bytes_of(word, d->after), word = strtok(NULL, " \n");
    d->mid = mid;
  }
  free(text);
  body = whole_file(file, &size);
  blocks = whole ? 1 : (uint32_t)((size + (16u << szx) - 1) >> (szx + 4));
}

static double percentile(double share) {
  unsigned long seen = 0, wanted = (unsigned long)(share * (double)got);
  for (unsigned k = 0; k < BUCKETS; k++)
    if ((seen += latencies[k]) > wanted) return (k + 1) * BUCKET_SECONDS * 1e3;
  return 0;
}

/* The result as one JSON object; `unfinished` devices had not all they wanted, `handshakes` came about each second. */
static void tell(double began, double ended, unsigned long unfinished, double handshakes) {
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
  double last = began;
  uint32_t mids = 0;
  for (unsigned i = 0; i < count; i++) {
    if (devices[i].last > last) last = devices[i].last;
    if (devices[i].asked > mids) mids = devices[i].asked;
  }
  printf("{\"answers\": %lu, \"seconds\": %.4f, \"repeats\": %lu, \"wrong\": %lu, \"first_wrong\": %u, "
         "\"unfinished\": %lu, \"mids\": %u, \"last_answer\": %.4f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
         "\"own_cpu\": %.4f, \"handshakes_per_second\": %.1f}\n",
         got, ended - began, repeats, wrong, first_wrong, unfinished, mids, last - began, percentile(0.5),
         percentile(0.99), cpu, handshakes);
}
