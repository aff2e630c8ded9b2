/* Object 26250 "Updraft Image": what the server has to know for a delta. */
#ifndef IMAGE_OBJECT_H
#define IMAGE_OBJECT_H

#include "slots.h"

/* Make the object and its one instance; 0 or a negative errno value. */
int image_object_start(const struct slots_running *running);

/* The running image has been confirmed. */
void image_object_confirmed(void);

#endif
