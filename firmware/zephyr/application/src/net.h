/* Whether there is a network. */
#ifndef NET_H
#define NET_H

/* Watch it, and tell the client of every change from now on. */
void net_start(void);

#endif
