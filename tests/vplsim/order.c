#include "order.h"

#include <stddef.h>

static void append(struct picture **list, struct picture *picture)
{
    while (*list != NULL)
        list = &(*list)->next;
    picture->next = NULL;
    *list = picture;
}

/* Number a picture as H.264 wants it (7.4.3), and put it behind those that are ready. */
static void code(struct order *order, struct picture *picture, mfxI64 displayed)
{
    picture->reference = picture->type != 'B';
    picture->frame_num = picture->idr ? 0 : (order->last_frame_num + 1) & 0xffff;
    if (picture->idr) {
        order->idr_displayed = displayed;
        picture->idr_pic_id = order->idr_pictures++ & 1;
    }
    if (picture->reference)
        order->last_frame_num = picture->frame_num;
    picture->poc_lsb = (unsigned)((displayed - order->idr_displayed) * 2) & 0xffff;

    /* As the real runtime does it: a fixed duration for each picture that it comes out later than it goes in. */
    mfxI64 delay = displayed - order->coded + (order->gop_ref_dist > 1 ? 1 : 0);
    picture->decode_timestamp = picture->timestamp == (mfxU64)MFX_TIMESTAMP_UNKNOWN
                                    ? (mfxI64)MFX_TIMESTAMP_UNKNOWN
                                    : (mfxI64)picture->timestamp - delay * order->duration;
    order->coded++;
    append(&order->ready, picture);
}

/* Code what waits as B pictures; `displayed` is the display number of the first of them. */
static void code_waiting(struct order *order, mfxI64 displayed)
{
    while (order->waiting != NULL) {
        struct picture *picture = order->waiting;
        order->waiting = picture->next;
        picture->type = 'B';
        code(order, picture, displayed++);
    }
    order->since_reference = 0;
}

static unsigned count(const struct picture *list)
{
    unsigned pictures = 0;

    for (; list != NULL; list = list->next)
        pictures++;
    return pictures;
}

/* Nothing behind the waiting pictures may be their reference: the last, displayed before `end`, becomes P. */
static void close_waiting(struct order *order, mfxI64 end)
{
    struct picture **last = &order->waiting;
    mfxI64 first = end - count(order->waiting);

    if (*last == NULL)
        return;
    while ((*last)->next != NULL)
        last = &(*last)->next;
    struct picture *reference = *last;
    *last = NULL;
    reference->type = 'P';
    code(order, reference, end - 1);
    code_waiting(order, first);
}

void order_put(struct order *order, struct picture *picture, unsigned forced)
{
    mfxI64 displayed = order->displayed++;
    bool first = !order->began;
    bool is_i = first || order->since_i + 1 >= order->gop_size || (forced & (MFX_FRAMETYPE_I | MFX_FRAMETYPE_IDR));
    bool is_idr = is_i && (first || order->i_since_idr >= order->idr_interval || (forced & MFX_FRAMETYPE_IDR));

    order->began = true;
    if (is_i) {
        picture->type = 'I';
        picture->idr = is_idr;
        order->since_i = 0;
        order->i_since_idr = is_idr ? 0 : order->i_since_idr + 1;
        if (is_idr || order->closed)
            close_waiting(order, displayed);
    } else {
        order->since_i++;
        if (++order->since_reference < order->gop_ref_dist) {
            append(&order->waiting, picture);
            return;
        }
        picture->type = 'P';
    }
    code(order, picture, displayed);
    code_waiting(order, displayed - count(order->waiting));
}

void order_end(struct order *order)
{
    close_waiting(order, order->displayed);
}

struct picture *order_take(struct order *order)
{
    struct picture *picture = order->ready;

    if (picture != NULL) {
        order->ready = picture->next;
        picture->next = NULL;
    }
    return picture;
}
