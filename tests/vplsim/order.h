/* From display order to coding order: picture types, references, and the clock of decoding. */
#ifndef VPLSIM_ORDER_H
#define VPLSIM_ORDER_H

#include <stdbool.h>

#include "picture.h"

struct order {
    /* as granted */
    unsigned gop_size;     /* an I picture each so many pictures */
    unsigned gop_ref_dist; /* 1: no B pictures */
    unsigned idr_interval; /* so many I pictures between two IDR pictures */
    bool closed;           /* no B picture looks across an I picture */
    mfxI64 duration;       /* of one picture, 90 kHz */

    struct picture *waiting; /* may become B: the next reference has not come yet; display order */
    struct picture *ready;   /* coding order */

    unsigned since_i, since_reference, i_since_idr;
    bool began;
    mfxI64 displayed, coded; /* pictures, from the beginning of the session */
    mfxI64 idr_displayed;    /* the `displayed` of the last IDR picture */
    unsigned last_frame_num, idr_pictures;
};

/* Take the next picture in display order; `forced` is an mfxEncodeCtrl's FrameType. */
void order_put(struct order *order, struct picture *picture, unsigned forced);
/* No more pictures come. */
void order_end(struct order *order);
/* The next picture in coding order, or NULL. */
struct picture *order_take(struct order *order);

#endif
