/* A session: a place on the device, the faults it will meet, and one encoder. */
#ifndef VPLSIM_SESSION_H
#define VPLSIM_SESSION_H

#include <stdbool.h>

#include "fault.h"
#include "grant.h"
#include "h264.h"
#include "order.h"
#include "platform.h"
#include "vpl.h"

struct _mfxSession {
    unsigned number; /* of this process, from 1 */
    int place;
    const struct platform *platform;
    struct faults faults;
    mfxHDL display; /* VADisplay, or NULL */

    /* the encoder */
    bool initialised;
    mfxVideoParam granted; /* without extension buffers */
    struct options options;
    struct h264 h264;
    struct order order;
    uint8_t *scratch;
    long frames;           /* came in */
    struct picture *tasks; /* given a sync point, not yet synchronized */
    struct picture *spare; /* done, their memory used again */
};

/* MFX_ERR_NONE and a session, or why there is none. */
mfxStatus session_open(mfxSession *session);
void session_close(mfxSession session);

/* The version of the interface that this runtime speaks. */
mfxVersion session_version(void);

/* Fill the bitstreams of all tasks now (exports_frames.c). */
void tasks_finish(mfxSession session);

/* Leave nothing of the encoder but the count of its frames. */
void encoder_close(mfxSession session);

#endif
