/* The frames: MFXVideoENCODE_EncodeFrameAsync, and the wait for what it made. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine.h"
#include "session.h"
#include "trace.h"

static void keep(struct picture **list, struct picture *picture)
{
    picture->next = *list;
    *list = picture;
}

/* A copy of the surface, so that it can be used again at once; NULL when there is no memory. */
static struct picture *picture_of(mfxSession session, const mfxFrameSurface1 *surface)
{
    const struct h264 *h264 = &session->h264;
    size_t width = h264->width, height = h264->height;
    struct picture *picture = session->spare;

    if (picture != NULL) {
        session->spare = picture->next;
        uint8_t *pixels = picture->pixels;
        *picture = (struct picture){.pixels = pixels};
    } else {
        picture = calloc(1, sizeof *picture);
        if (picture == NULL)
            return NULL;
    }
    picture->timestamp = surface->Data.TimeStamp;
    picture->frame = session->frames;
    if (h264->free_of_cost)
        return picture;
    if (picture->pixels == NULL)
        picture->pixels = malloc(width * height * 3 / 2);
    if (picture->pixels == NULL) {
        free(picture);
        return NULL;
    }
    size_t pitch = surface->Data.Pitch | (size_t)surface->Data.PitchHigh << 16;
    for (size_t row = 0; row < height; row++)
        memcpy(picture->pixels + row * width, surface->Data.Y + row * pitch, width);
    for (size_t row = 0; row < height / 2; row++)
        memcpy(picture->pixels + (height + row) * width, surface->Data.UV + row * pitch, width);
    if (fault_strikes(&session->faults, FAULT_GARBLE, picture->frame))
        for (size_t i = 0; i < width * height; i++)
            picture->pixels[i] ^= 0xff;
    return picture;
}

/* The faults of a call with a frame; whether one struck, then `status` is the answer. */
static bool meets_fault(mfxSession session, bool draining, mfxStatus *status)
{
    struct faults *faults = &session->faults;
    /* A device that failed has failed for the drain as well. */
    long frame = draining ? session->frames : session->frames + 1;

    if (!draining && fault_strikes(faults, FAULT_HANG, frame)) {
        trace(session->number, "EncodeFrameAsync frame=%ld hangs", frame);
        fault_hang();
    }
    if (!draining && fault_strikes(faults, FAULT_CRASH, frame)) {
        trace(session->number, "EncodeFrameAsync frame=%ld crashes", frame);
        abort();
    }
    if (!draining && fault_strikes(faults, FAULT_BUSY, frame)) {
        *status = MFX_WRN_DEVICE_BUSY; /* the frame will be offered again */
        return true;
    }
    bool warns = faults->of[FAULT_ASYNC].code > 0;
    if (!(draining && warns) && fault_strikes(faults, FAULT_ASYNC, frame)) {
        session->frames = frame;
        *status = (mfxStatus)faults->of[FAULT_ASYNC].code;
        return true;
    }
    return false;
}

static mfxStatus put(mfxSession session, const mfxEncodeCtrl *ctrl, const mfxFrameSurface1 *surface)
{
    if (surface->Data.Y == NULL || surface->Data.UV == NULL)
        return MFX_ERR_NULL_PTR;
    if (surface->Info.Width < session->h264.width || surface->Info.Height < session->h264.height)
        return MFX_ERR_INVALID_VIDEO_PARAM;
    session->frames++;
    struct picture *picture = picture_of(session, surface);
    if (picture == NULL)
        return MFX_ERR_MEMORY_ALLOC;
    order_put(&session->order, picture, ctrl == NULL ? 0 : ctrl->FrameType);
    return MFX_ERR_NONE;
}

/* The next picture in coding order that is not lost on the way, or NULL. */
static struct picture *take(mfxSession session)
{
    struct picture *picture = order_take(&session->order);

    while (picture != NULL && fault_strikes(&session->faults, FAULT_DROP, picture->frame)) {
        keep(&session->spare, picture);
        picture = order_take(&session->order);
    }
    return picture;
}

mfxStatus MFXVideoENCODE_EncodeFrameAsync(mfxSession session, mfxEncodeCtrl *ctrl, mfxFrameSurface1 *surface,
                                          mfxBitstream *bs, mfxSyncPoint *syncp)
{
    mfxStatus status = MFX_ERR_NONE;

    if (session == NULL || bs == NULL || syncp == NULL)
        return session == NULL ? MFX_ERR_INVALID_HANDLE : MFX_ERR_NULL_PTR;
    *syncp = NULL;
    if (!session->initialised)
        return MFX_ERR_NOT_INITIALIZED;
    if (bs->MaxLength - bs->DataOffset - bs->DataLength < h264_largest(&session->h264))
        return MFX_ERR_NOT_ENOUGH_BUFFER;
    if (!meets_fault(session, surface == NULL, &status)) {
        if (surface == NULL)
            order_end(&session->order);
        else
            status = put(session, ctrl, surface);
        struct picture *picture = status == MFX_ERR_NONE ? take(session) : NULL;
        if (picture != NULL) {
            picture->bitstream = bs;
            picture->done_ns = engine_submit();
            keep(&session->tasks, picture);
            *syncp = (mfxSyncPoint)picture;
        } else if (status == MFX_ERR_NONE) {
            status = MFX_ERR_MORE_DATA;
        }
    }
    trace(session->number, "EncodeFrameAsync frame=%ld timestamp=%lld forced=%u drain=%d -> %d", session->frames,
          surface == NULL ? -1 : (long long)surface->Data.TimeStamp, ctrl == NULL ? 0u : ctrl->FrameType,
          surface == NULL, status);
    return status;
}

static mfxU16 frame_type(const struct picture *picture)
{
    if (picture->type == 'B')
        return MFX_FRAMETYPE_B;
    if (picture->type == 'P')
        return MFX_FRAMETYPE_P | MFX_FRAMETYPE_REF;
    return MFX_FRAMETYPE_I | MFX_FRAMETYPE_REF | (picture->idr ? MFX_FRAMETYPE_IDR : 0);
}

/* There is no quantizer in this stream; report the one that was asked for. */
static mfxU16 reported_qp(const mfxInfoMFX *mfx, char type)
{
    switch (mfx->RateControlMethod) {
    case MFX_RATECONTROL_CQP: return type == 'I' ? mfx->QPI : type == 'P' ? mfx->QPP : mfx->QPB;
    case MFX_RATECONTROL_ICQ:
    case MFX_RATECONTROL_LA_ICQ: return mfx->ICQQuality;
    default: return 26;
    }
}

/* Fill the bitstream of a picture, and do to it what was ordered. */
static mfxStatus finish(mfxSession session, const struct picture *picture)
{
    struct faults *faults = &session->faults;
    mfxBitstream *bs = picture->bitstream;
    bool failed = fault_strikes(faults, FAULT_SYNC, picture->frame);

    if (failed)
        return (mfxStatus)faults->of[FAULT_SYNC].code; /* nothing filled in, not even the type */
    bs->FrameType = frame_type(picture);
    bs->PicStruct = session->granted.mfx.FrameInfo.PicStruct;
    bs->TimeStamp = picture->timestamp;
    bs->DecodeTimeStamp = picture->decode_timestamp;
    if (fault_strikes(faults, FAULT_SYNCQUIET, picture->frame))
        return (mfxStatus)faults->of[FAULT_SYNCQUIET].code;
    if (fault_strikes(faults, FAULT_NODATA, picture->frame))
        return MFX_ERR_NONE;
    if (fault_strikes(faults, FAULT_BADPTS, picture->frame)) {
        bs->TimeStamp += (mfxU64)(mfxI64)faults->of[FAULT_BADPTS].code;
        bs->DecodeTimeStamp += faults->of[FAULT_BADPTS].code;
    }
    size_t size = h264_picture(&session->h264, picture, session->scratch, bs->Data + bs->DataOffset + bs->DataLength);
    if (fault_strikes(faults, FAULT_TRUNC, picture->frame))
        size /= 2;
    bs->DataLength += (mfxU32)size;
    mfxExtAVCEncodedFrameInfo *report = ext_find(bs->ExtParam, bs->NumExtParam, MFX_EXTBUFF_ENCODED_FRAME_INFO);
    if (report != NULL)
        report->QP = reported_qp(&session->granted.mfx, picture->type);
    return MFX_ERR_NONE;
}

void tasks_finish(mfxSession session)
{
    for (struct picture *picture = session->tasks; picture != NULL; picture = picture->next) {
        picture->status = finish(session, picture);
        picture->finished = true;
    }
}

mfxStatus MFXVideoCORE_SyncOperation(mfxSession session, mfxSyncPoint syncp, mfxU32 wait)
{
    if (session == NULL || syncp == NULL)
        return session == NULL ? MFX_ERR_INVALID_HANDLE : MFX_ERR_NULL_PTR;
    struct picture **link = &session->tasks;
    while (*link != NULL && *link != (struct picture *)syncp)
        link = &(*link)->next;
    struct picture *picture = *link;
    if (picture == NULL)
        return MFX_ERR_INVALID_HANDLE;
    if (fault_strikes(&session->faults, FAULT_HANGSYNC, picture->frame)) {
        trace(session->number, "SyncOperation frame=%ld hangs", picture->frame);
        fault_hang();
    }
    if (fault_strikes(&session->faults, FAULT_EXEC, picture->frame)) {
        const struct timespec nap = {.tv_nsec = 10000000};
        nanosleep(&nap, NULL); /* the caller asks again at once */
        trace(session->number, "SyncOperation frame=%ld -> %d", picture->frame, MFX_WRN_IN_EXECUTION);
        return MFX_WRN_IN_EXECUTION;
    }
    if (!engine_wait(picture->done_ns, wait))
        return MFX_WRN_IN_EXECUTION;
    mfxStatus status = picture->finished ? picture->status : finish(session, picture);
    trace(session->number, "SyncOperation frame=%ld type=%c%s bytes=%u -> %d", picture->frame, picture->type,
          picture->idr ? "DR" : "", picture->bitstream->DataLength, status);
    *link = picture->next;
    keep(&session->spare, picture);
    return status;
}
