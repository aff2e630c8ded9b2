/* An HTTP server to ask through a proxy: `upstream PORT BODY` answers each GET with BODY, kept alive, not to be stored.
 *
 * GET /counts tells what was asked before, as JSON: requests, and bytes of bodies sent. Prints `ready`.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_HEAD = 8192, MAX_FILES = 4096, EVENTS = 64 };

static struct connection {
  char head[MAX_HEAD];
  size_t have;
  char *answer; /* being sent; owned when it is not `ready` */
  size_t length, sent;
} *connections[MAX_FILES];

static char *ready;
static size_t ready_length, size;
static unsigned long requests, bytes;
static int poll;

static void end(int fd) {
  struct connection *c = connections[fd];
  if (c->answer != ready) free(c->answer);
  free(c);
  connections[fd] = NULL;
  close(fd);
}

/* Send what is left; 0 when the connection is gone. */
static int push(int fd) {
  struct connection *c = connections[fd];
  while (c->answer && c->sent < c->length) {
    ssize_t n = send(fd, c->answer + c->sent, c->length - c->sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0) return end(fd), 0;
    c->sent += (size_t)n;
  }
  int waits = c->answer && c->sent < c->length;
  struct epoll_event e = {.events = EPOLLIN | (waits ? EPOLLOUT : 0), .data.fd = fd};
  epoll_ctl(poll, EPOLL_CTL_MOD, fd, &e);
  if (c->answer && !waits) {
    if (c->answer != ready) free(c->answer);
    c->answer = NULL;
  }
  return 1;
}

static void asked(int fd) {
  struct connection *c = connections[fd];
  for (;;) {
    ssize_t n = recv(fd, c->head + c->have, MAX_HEAD - 1 - c->have, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      end(fd);
      return;
    }
    c->have += (size_t)n;
    c->head[c->have] = 0;
    char *over = strstr(c->head, "\r\n\r\n");
    if (!over) continue;
    if (!strncmp(c->head, "GET /counts ", 12)) {
      char text[80], *whole = malloc(256);
      int length = snprintf(text, sizeof text, "{\"requests\": %lu, \"bytes\": %lu}", requests, bytes);
      c->length = (size_t)snprintf(whole, 256, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", length, text);
      c->answer = whole;
    } else {
      requests++;
      bytes += size;
      c->answer = ready;
      c->length = ready_length;
    }
    c->sent = 0;
    c->have = 0; /* no pipelining: a client that waits for its answer sends nothing behind the head */
    if (!push(fd)) return;
  }
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  FILE *file = fopen(argv[2], "rb");
  if (!file || fseek(file, 0, SEEK_END)) return 2;
  size = (size_t)ftell(file);
  rewind(file);
  ready = malloc(size + 512);
  if (!ready) return 2;
  int head = snprintf(ready, 512,
                      "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nCache-Control: no-store\r\n"
                      "Content-Length: %zu\r\n\r\n",
                      size);
  if (fread(ready + head, 1, size, file) != size) return 2;
  ready_length = (size_t)head + size;
  int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (listening < 0 || bind(listening, (struct sockaddr *)&address, sizeof address)) return 3;
  if (listen(listening, 1024)) return 3;
  poll = epoll_create1(0);
  struct epoll_event e = {.events = EPOLLIN, .data.fd = listening};
  epoll_ctl(poll, EPOLL_CTL_ADD, listening, &e);
  puts("ready");
  fflush(stdout);
  for (;;) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(poll, events, EVENTS, -1);
    for (int k = 0; k < n; k++) {
      int fd = events[k].data.fd;
      if (fd == listening) {
        int one = accept4(listening, NULL, NULL, SOCK_NONBLOCK);
        if (one < 0) continue;
        if (one >= MAX_FILES || !(connections[one] = calloc(1, sizeof **connections))) {
          close(one);
          continue;
        }
        setsockopt(one, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        struct epoll_event added = {.events = EPOLLIN, .data.fd = one};
        epoll_ctl(poll, EPOLL_CTL_ADD, one, &added);
      } else if (connections[fd]) {
        if ((events[k].events & EPOLLOUT) && !push(fd)) continue;
        if (events[k].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) asked(fd);
      }
    }
  }
}
