/* The encoder, from the question whether to its end; its frames are in exports_frames.c. */
#include <stdlib.h>
#include <string.h>

#include "session.h"
#include "trace.h"

static mfxStatus strike_or(mfxSession session, enum fault_name name, mfxStatus otherwise)
{
    return fault_strikes(&session->faults, name, 0) ? (mfxStatus)session->faults.of[name].code : otherwise;
}

/* The legacy runtime never opens a display itself; what it does without one is what the real one was seen to do. */
static bool lacks_display(mfxSession session)
{
#ifdef VPLSIM_LEGACY
    return session->display == NULL;
#else
    (void)session;
    return false;
#endif
}

static void trace_parameters(mfxSession session, const char *call, const mfxVideoParam *par, mfxStatus status)
{
    const mfxInfoMFX *mfx = &par->mfx;
    const mfxExtCodingOption2 *coding2 = ext_find(par->ExtParam, par->NumExtParam, MFX_EXTBUFF_CODING_OPTION2);
    const mfxExtCodingOption3 *coding3 = ext_find(par->ExtParam, par->NumExtParam, MFX_EXTBUFF_CODING_OPTION3);

    trace(session->number,
          "%s RateControlMethod=%s QPI/InitialDelay=%u QPP/TargetKbps/ICQQuality=%u QPB/MaxKbps=%u QVBRQuality=%u "
          "BRCParamMultiplier=%u TargetUsage=%u GopPicSize=%u GopRefDist=%u IdrInterval=%u GopOptFlag=%u LowPower=%u "
          "CodecProfile=%u CodecLevel=%u NumRefFrame=%u Width=%u Height=%u CropW=%u CropH=%u FrameRate=%u/%u "
          "PicStruct=%u LookAheadDepth=%u AsyncDepth=%u -> %d",
          call, rate_control_name(mfx->RateControlMethod), mfx->QPI, mfx->ICQQuality, mfx->QPB,
          coding3 == NULL ? 0 : coding3->QVBRQuality, mfx->BRCParamMultiplier, mfx->TargetUsage, mfx->GopPicSize,
          mfx->GopRefDist, mfx->IdrInterval, mfx->GopOptFlag, mfx->LowPower, mfx->CodecProfile, mfx->CodecLevel,
          mfx->NumRefFrame, mfx->FrameInfo.Width, mfx->FrameInfo.Height, mfx->FrameInfo.CropW, mfx->FrameInfo.CropH,
          mfx->FrameInfo.FrameRateExtN, mfx->FrameInfo.FrameRateExtD, mfx->FrameInfo.PicStruct,
          coding2 == NULL ? 0 : coding2->LookAheadDepth, par->AsyncDepth, status);
}

mfxStatus MFXVideoENCODE_Query(mfxSession session, mfxVideoParam *in, mfxVideoParam *out)
{
    if (session == NULL || out == NULL)
        return session == NULL ? MFX_ERR_INVALID_HANDLE : MFX_ERR_NULL_PTR;
    if (in == NULL)
        return MFX_ERR_UNSUPPORTED; /* "what is there to configure": nobody asks */
    mfxVideoParam par = *in; /* `in` and `out` may be the same */
    mfxStatus status = strike_or(session, FAULT_QUERY, MFX_ERR_NONE);

    if (lacks_display(session)) {
        memset(&par.mfx, 0, sizeof par.mfx);
        par.mfx.CodecId = in->mfx.CodecId;
        status = MFX_ERR_UNSUPPORTED;
    } else if (status == MFX_ERR_NONE) {
        status = grant(session->platform, &par);
    }
    trace_parameters(session, "Query", in, status);
    par.ExtParam = out->ExtParam;
    par.NumExtParam = out->NumExtParam;
    *out = par;
    return status;
}

mfxStatus MFXVideoENCODE_QueryIOSurf(mfxSession session, mfxVideoParam *par, mfxFrameAllocRequest *request)
{
    if (session == NULL || par == NULL || request == NULL)
        return session == NULL ? MFX_ERR_INVALID_HANDLE : MFX_ERR_NULL_PTR;
    mfxStatus status = strike_or(session, FAULT_IOSURF, MFX_ERR_NONE);
    if (status == MFX_ERR_NONE && !(par->IOPattern & MFX_IOPATTERN_IN_SYSTEM_MEMORY))
        status = MFX_ERR_UNSUPPORTED;
    trace(session->number, "QueryIOSurf IOPattern=%u -> %d", par->IOPattern, status);
    if (status < MFX_ERR_NONE)
        return status;
    memset(request, 0, sizeof *request);
    request->Info = par->mfx.FrameInfo;
    request->Type = MFX_MEMTYPE_FROM_ENCODE | MFX_MEMTYPE_EXTERNAL_FRAME | MFX_MEMTYPE_SYSTEM_MEMORY;
    request->NumFrameMin = (mfxU16)(par->mfx.GopRefDist + par->AsyncDepth + 1);
    request->NumFrameSuggested = request->NumFrameMin;
    return status;
}

/* Set up for parameters that were granted; `asked` still has the extension buffers. */
static mfxStatus start(mfxSession session, const mfxVideoParam *asked, const mfxVideoParam *par)
{
    const mfxInfoMFX *mfx = &par->mfx;
    const mfxFrameInfo *info = &mfx->FrameInfo;
    struct h264 *h264 = &session->h264;

    session->granted = *par;
    session->granted.ExtParam = NULL;
    session->granted.NumExtParam = 0;
    session->options = grant_options(asked, par);
    h264->width = info->Width;
    h264->height = info->Height;
    h264->crop_right = info->CropW > 0 ? (unsigned)(info->Width - info->CropW) : 0;
    h264->crop_bottom = info->CropH > 0 ? (unsigned)(info->Height - info->CropH) : 0;
    h264->profile = mfx->CodecProfile;
    h264->level = mfx->CodecLevel;
    h264->reference_frames = mfx->NumRefFrame;
    h264->reordered_frames = mfx->GopRefDist > 1 ? 1 : 0;
    h264->interlaced = info->PicStruct != MFX_PICSTRUCT_PROGRESSIVE && info->PicStruct != MFX_PICSTRUCT_UNKNOWN;
    h264->delimiters = session->options.coding.AUDelimiter == MFX_CODINGOPTION_ON;
    h264->aspect_width = info->AspectRatioW;
    h264->aspect_height = info->AspectRatioH;
    h264->frame_rate_n = info->FrameRateExtN;
    h264->frame_rate_d = info->FrameRateExtD;
    h264->signal = session->options.signal;

    session->order = (struct order){
        .gop_size = mfx->GopPicSize,
        .gop_ref_dist = mfx->GopRefDist,
        .idr_interval = mfx->IdrInterval,
        .closed = (mfx->GopOptFlag & MFX_GOP_CLOSED) != 0,
        .duration = (90000LL * info->FrameRateExtD + info->FrameRateExtN / 2) / info->FrameRateExtN,
    };
    size_t multiplier_bytes = 1000u * session->granted.mfx.BRCParamMultiplier;
    session->granted.mfx.BufferSizeInKB = (mfxU16)((h264_largest(h264) + multiplier_bytes - 1) / multiplier_bytes);
    session->scratch = malloc(h264_scratch(h264));
    session->initialised = session->scratch != NULL;
    return session->initialised ? MFX_ERR_NONE : MFX_ERR_MEMORY_ALLOC;
}

static mfxStatus start_asked(mfxSession session, const mfxVideoParam *asked)
{
    mfxVideoParam par = *asked;
    mfxStatus granted = lacks_display(session) ? MFX_ERR_NOT_INITIALIZED : grant(session->platform, &par);

    if (granted == MFX_ERR_UNSUPPORTED)
        return MFX_ERR_INVALID_VIDEO_PARAM;
    if (granted < MFX_ERR_NONE)
        return granted;
    mfxStatus started = start(session, asked, &par);
    return started == MFX_ERR_NONE ? granted : started;
}

mfxStatus MFXVideoENCODE_Init(mfxSession session, mfxVideoParam *par)
{
    if (session == NULL || par == NULL)
        return session == NULL ? MFX_ERR_INVALID_HANDLE : MFX_ERR_NULL_PTR;
    if (session->faults.of[FAULT_HANGINIT].set) {
        trace(session->number, "Init hangs");
        fault_hang();
    }
    /* A positive code is a warning that comes without an encoder. */
    mfxStatus status = strike_or(session, FAULT_INIT, MFX_ERR_NONE);
    if (status == MFX_ERR_NONE)
        status = session->initialised ? MFX_ERR_UNDEFINED_BEHAVIOR : start_asked(session, par);
    trace_parameters(session, "Init", par, status);
    return status;
}

mfxStatus MFXVideoENCODE_Reset(mfxSession session, mfxVideoParam *par)
{
    if (session == NULL || par == NULL)
        return session == NULL ? MFX_ERR_INVALID_HANDLE : MFX_ERR_NULL_PTR;
    mfxStatus status = MFX_ERR_NOT_INITIALIZED;
    if (session->initialised) {
        /* libavcodec drains before it resets, but asks for what came out of that only afterwards. */
        tasks_finish(session);
        struct picture *tasks = session->tasks;
        session->tasks = NULL;
        encoder_close(session);
        status = start_asked(session, par);
        session->tasks = tasks;
    }
    trace_parameters(session, "Reset", par, status);
    return status;
}

mfxStatus MFXVideoENCODE_Close(mfxSession session)
{
    if (session == NULL)
        return MFX_ERR_INVALID_HANDLE;
    if (!session->initialised)
        return MFX_ERR_NOT_INITIALIZED;
    encoder_close(session);
    return MFX_ERR_NONE;
}

/* Copy what stands behind the headers: those, and whatever else the caller's buffers point to, stay the caller's. */
static void answer(mfxVideoParam *par, const void *ours, size_t size, mfxU32 id)
{
    char *theirs = ext_find(par->ExtParam, par->NumExtParam, id);

    if (theirs != NULL)
        memcpy(theirs + sizeof(mfxExtBuffer), (const char *)ours + sizeof(mfxExtBuffer), size - sizeof(mfxExtBuffer));
}

static mfxStatus answer_headers(mfxSession session, mfxExtCodingOptionSPSPPS *headers)
{
    uint8_t sps[2 * H264_PARAMETER_SET_MAX], pps[2 * H264_PARAMETER_SET_MAX];
    size_t sps_size = h264_sps(&session->h264, sps), pps_size = h264_pps(pps);

    if (session->faults.of[FAULT_NOHDR].set)
        sps_size = pps_size = 0;
    if (headers->SPSBufSize < sps_size || headers->PPSBufSize < pps_size)
        return MFX_ERR_NOT_ENOUGH_BUFFER;
    memcpy(headers->SPSBuffer, sps, sps_size);
    memcpy(headers->PPSBuffer, pps, pps_size);
    headers->SPSBufSize = (mfxU16)sps_size;
    headers->PPSBufSize = (mfxU16)pps_size;
    return MFX_ERR_NONE;
}

mfxStatus MFXVideoENCODE_GetVideoParam(mfxSession session, mfxVideoParam *par)
{
    if (session == NULL || par == NULL)
        return session == NULL ? MFX_ERR_INVALID_HANDLE : MFX_ERR_NULL_PTR;
    mfxStatus status = strike_or(session, FAULT_PARAM, session->initialised ? MFX_ERR_NONE : MFX_ERR_NOT_INITIALIZED);

    if (status == MFX_ERR_NONE) {
        mfxExtCodingOptionSPSPPS *headers = ext_find(par->ExtParam, par->NumExtParam, MFX_EXTBUFF_CODING_OPTION_SPSPPS);
        par->mfx = session->granted.mfx;
        par->AsyncDepth = session->granted.AsyncDepth;
        par->IOPattern = session->granted.IOPattern;
        answer(par, &session->options.coding, sizeof session->options.coding, MFX_EXTBUFF_CODING_OPTION);
        answer(par, &session->options.coding2, sizeof session->options.coding2, MFX_EXTBUFF_CODING_OPTION2);
        answer(par, &session->options.coding3, sizeof session->options.coding3, MFX_EXTBUFF_CODING_OPTION3);
        if (headers != NULL)
            status = answer_headers(session, headers);
    }
    trace_parameters(session, "GetVideoParam", par, status);
    return status;
}

mfxStatus MFXVideoENCODE_GetEncodeStat(mfxSession session, mfxEncodeStat *stat)
{
    if (session == NULL || stat == NULL)
        return session == NULL ? MFX_ERR_INVALID_HANDLE : MFX_ERR_NULL_PTR;
    memset(stat, 0, sizeof *stat);
    stat->NumFrame = (mfxU32)session->frames;
    return MFX_ERR_NONE;
}
