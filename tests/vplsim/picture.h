/* One picture on its way from a surface to a packet. */
#ifndef VPLSIM_PICTURE_H
#define VPLSIM_PICTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "vpl.h"

struct picture {
    struct picture *next;
    uint8_t *pixels;         /* NV12 as coded (whole macroblocks, no padding between rows); NULL in codec "free" */
    mfxU64 timestamp;        /* 90 kHz, or MFX_TIMESTAMP_UNKNOWN */
    mfxI64 decode_timestamp; /* the same */
    long frame;              /* of this session, in the order they came in, from 1 */
    char type;               /* I, P or B */
    bool idr;
    bool reference;
    unsigned frame_num;
    unsigned poc_lsb;
    unsigned idr_pic_id;
    int64_t done_ns;         /* when the engine will be done with it */
    mfxBitstream *bitstream; /* where it goes */
    bool finished;           /* it is there already, before anybody asked, */
    mfxStatus status;        /* and this is how it went */
};

#endif
