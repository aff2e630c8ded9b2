/* Load for block servers: virtual clients fetch a body block by block, window 1, over and over, each answer checked.
 *
 *   load PORT SECONDS SZX BODY MODE PATH...
 *
 * MODE is `check` or `echo` (any answer counts). One client per PATH, each with a socket of its own; a PATH is
 * segments joined by `/`. An answer that does not come within a second is asked for again. Prints
 * `blocks seconds repeats wrong`.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CLIENTS = 1024, MAX_DATAGRAM = 2048 };

struct client {
  int fd;
  uint8_t request[512];
  size_t fixed;    /* bytes of header, token and Uri-Path */
  size_t length;   /* with Block2 and Size2 */
  uint16_t mid;
  uint32_t block;
  double sent;
};

static struct client clients[MAX_CLIENTS];
static uint8_t *body;
static size_t size;
static unsigned szx;
static uint32_t blocks;
static int check;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void prepare(struct client *c, unsigned number, const char *path) {
  static const uint8_t head[] = {0x44, 0x01, 0, 0};
  memcpy(c->request, head, 4);
  memcpy(c->request + 4, &number, 4);
  size_t at = 8;
  unsigned delta = 11;
  for (const char *p = path; *p;) {
    size_t n = strcspn(p, "/");
    if (n > 255) exit(2);
    c->request[at++] = (uint8_t)(delta << 4 | (n < 13 ? n : 13));
    if (n >= 13) c->request[at++] = (uint8_t)(n - 13);
    memcpy(c->request + at, p, n);
    at += n;
    delta = 0;
    p += n + (p[n] == '/');
  }
  c->fixed = at;
  c->mid = (uint16_t)(number * 61);
}

static void ask(struct client *c, double at, int anew) {
  if (anew) {
    c->mid++;
    c->request[2] = c->mid >> 8;
    c->request[3] = c->mid & 255;
    uint32_t value = c->block << 4 | szx;
    unsigned n = value > 0xFFFF ? 3 : value > 0xFF ? 2 : value ? 1 : 0;
    size_t p = c->fixed;
    c->request[p++] = (uint8_t)(0xC0 | n); /* 23 - 11 */
    for (unsigned i = n; i--;) c->request[p++] = value >> (8 * i) & 255;
    c->request[p++] = 0x50; /* Size2 = 0 */
    c->length = p;
  }
  c->sent = at;
  if (send(c->fd, c->request, c->length, 0) < 0 && errno != EAGAIN && errno != ECONNREFUSED) exit(3);
}

/* 1: the block asked for; 0: something older, or an empty ACK; -1: wrong. */
static int judge(struct client *c, const uint8_t *d, ssize_t n) {
  if (n < 8 || memcmp(d + 2, c->request + 2, 2)) return 0;
  if (!check) return 1;
  if (d[1] == 0) return 0;
  if ((d[0] & 0xCF) != 0x44 || memcmp(d + 4, c->request + 4, 4) || d[1] != 0x45) return -1;
  ssize_t at = 8;
  unsigned number = 0;
  uint32_t block = UINT32_MAX;
  while (at < n && d[at] != 0xFF) {
    unsigned delta = d[at] >> 4, length = d[at] & 15;
    at++;
    if (delta == 13 && at < n) delta = 13 + d[at++];
    if (length == 13 && at < n) length = 13 + d[at++];
    if (delta > 268 || length > 268 || at + length > n) return -1;
    number += delta;
    if (number == 23)
      for (block = 0; length; length--) block = block << 8 | d[at++];
    else
      at += length;
  }
  at++;
  size_t offset = (size_t)c->block << (szx + 4), wanted = (size_t)16 << szx;
  if (offset + wanted > size) wanted = size - offset;
  return block >> 4 == c->block && n - at == (ssize_t)wanted && !memcmp(d + at, body + offset, wanted) ? 1 : -1;
}

int main(int argc, char **argv) {
  if (argc < 7) return 2;
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  double seconds = atof(argv[2]);
  szx = (unsigned)atoi(argv[3]);
  FILE *file = fopen(argv[4], "rb");
  if (!file || fseek(file, 0, SEEK_END)) return 2;
  size = (size_t)ftell(file);
  rewind(file);
  body = malloc(size);
  if (!body || fread(body, 1, size, file) != size) return 2;
  fclose(file);
  blocks = (uint32_t)((size + (16u << szx) - 1) >> (szx + 4));
  check = !strcmp(argv[5], "check");
  unsigned count = (unsigned)argc - 6;
  if (count > MAX_CLIENTS) return 2;
  int poll = epoll_create1(0);
  for (unsigned i = 0; i < count; i++) {
    struct client *c = &clients[i];
    c->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to)) return 3;
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
    epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &e);
    prepare(c, i + 1, argv[6 + i]);
  }
  double began = now(), looked = began, at = began;
  unsigned long got = 0, repeats = 0, wrong = 0;
  for (unsigned i = 0; i < count; i++) ask(&clients[i], at, 1);
  while (at - began < seconds) {
    struct epoll_event ready[128];
    int n = epoll_wait(poll, ready, 128, 100);
    at = now();
    for (int i = 0; i < n; i++) {
      struct client *c = &clients[ready[i].data.u32];
      uint8_t d[MAX_DATAGRAM];
      ssize_t length = recv(c->fd, d, sizeof d, 0);
      if (length < 0) continue;
      int verdict = judge(c, d, length);
      if (verdict < 0) wrong++;
      if (verdict <= 0) continue;
      got++;
      c->block = (c->block + 1) % blocks;
      ask(c, at, 1);
    }
    if (at - looked > 0.2) {
      looked = at;
      for (unsigned i = 0; i < count; i++)
        if (at - clients[i].sent > 1.0) repeats++, ask(&clients[i], at, 0);
    }
  }
  printf("%lu %.4f %lu %lu\n", got, at - began, repeats, wrong);
  return 0;
}
