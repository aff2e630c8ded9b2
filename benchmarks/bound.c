/* What a core can do: `bound PORT BODY` answers Block2 GETs of any path with blocks of BODY, in batches.
 *
 * As little as a correct answer needs: options are stepped over until Block2, and what follows the token of each answer
 * lies ready, made once per block. No ticket, no progress, no cache. Prints `ready`.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 64, MAX_IN = 512, MAX_OUT = 1100, SIZES = 7 };

struct ready {
  uint16_t length;
  uint8_t *bytes;
};

static uint8_t *body;
static size_t size;
static struct ready *table[SIZES];
static uint8_t incoming[BATCH][MAX_IN], outgoing[BATCH][MAX_OUT];
static struct sockaddr_in peers[BATCH];
static struct iovec in_parts[BATCH], out_parts[BATCH];
static struct mmsghdr in[BATCH], out[BATCH];

static struct ready *answer(uint32_t value) {
  unsigned szx = value & 7, step = 16u << szx;
  size_t offset = (size_t)(value >> 4) * step;
  if (szx == 7 || offset >= size) return NULL;
  struct ready *r = &table[szx][value >> 4];
  if (r->bytes) return r;
  size_t length = offset + step < size ? step : size - offset;
  uint32_t block = value & ~15u | (offset + step < size) << 3 | szx;
  uint8_t *p = r->bytes = malloc(length + 24);
  if (!p) exit(1);
  memcpy(p, "\x48updraft!\x81\x2a\xb3", 12); /* ETag of 8 bytes, Content-Format 42, Block2 of 3 bytes */
  p[12] = block >> 16, p[13] = block >> 8 & 255, p[14] = block & 255;
  p[15] = 0x53; /* Size2 of 3 bytes */
  p[16] = size >> 16 & 255, p[17] = size >> 8 & 255, p[18] = size & 255;
  p[19] = 0xFF;
  memcpy(p + 20, body + offset, length);
  r->length = (uint16_t)(length + 20);
  return r;
}

static size_t reply(const uint8_t *d, size_t n, uint8_t *to) {
  size_t token = d[0] & 15, at = 4 + token;
  if (n < at || (d[0] & 0xF0) != 0x40 || d[1] != 1 || token > 8) return 0;
  unsigned number = 0;
  while (at < n && d[at] != 0xFF) {
    unsigned delta = d[at] >> 4, length = d[at] & 15;
    at++;
    if (delta == 13 && at < n) delta = 13 + d[at++];
    if (length == 13 && at < n) length = 13 + d[at++];
    if (delta > 268 || length > 268 || at + length > n) return 0;
    number += delta;
    if (number == 23) {
      uint32_t value = 0;
      for (; length; length--) value = value << 8 | d[at++];
      struct ready *r = value > 0xFFFFFF ? NULL : answer(value);
      if (!r) return 0;
      memcpy(to, d, 4 + token);
      to[0] += 0x20;
      to[1] = 0x45;
      memcpy(to + 4 + token, r->bytes, r->length);
      return 4 + token + r->length;
    }
    at += length;
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  FILE *file = fopen(argv[2], "rb");
  if (!file || fseek(file, 0, SEEK_END)) return 2;
  size = (size_t)ftell(file);
  rewind(file);
  body = malloc(size);
  if (!body || fread(body, 1, size, file) != size) return 2;
  for (unsigned szx = 0; szx < SIZES; szx++) table[szx] = calloc((size >> (szx + 4)) + 1, sizeof **table);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_DGRAM, 0), buffer = 4 << 20;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address)) return 3;
  puts("ready");
  fflush(stdout);
  for (;;) {
    for (unsigned k = 0; k < BATCH; k++) {
      in_parts[k] = (struct iovec){incoming[k], MAX_IN};
      in[k].msg_hdr = (struct msghdr){&peers[k], sizeof peers[k], &in_parts[k], 1, NULL, 0, 0};
    }
    int n = recvmmsg(fd, in, BATCH, MSG_WAITFORONE, NULL);
    unsigned count = 0;
    for (int k = 0; k < n; k++) {
      size_t length = reply(incoming[k], in[k].msg_len, outgoing[count]);
      if (!length) continue;
      out_parts[count] = (struct iovec){outgoing[count], length};
      out[count].msg_hdr = (struct msghdr){&peers[k], sizeof peers[k], &out_parts[count], 1, NULL, 0, 0};
      count++;
    }
    for (unsigned sent = 0; sent < count;) {
      int m = sendmmsg(fd, out + sent, count - sent, 0);
      if (m <= 0) break;
      sent += (unsigned)m;
    }
  }
}
