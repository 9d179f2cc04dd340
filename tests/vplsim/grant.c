#include "grant.h"

#include <stddef.h>
#include <string.h>

enum {
    DEFAULT_TARGET_USAGE = 4,
    DEFAULT_GOP_SIZE = 256,
    DEFAULT_LOOK_AHEAD = 40,
    DEFAULT_QP = 26,
    LEAST_VDENC_QP = 10, /* VDEnc has no finer quantizers */
    WORST_QUALITY = 51,
};

void *ext_find(mfxExtBuffer *const *buffers, unsigned count, mfxU32 id)
{
    for (unsigned i = 0; buffers != NULL && i < count; i++)
        if (buffers[i] != NULL && buffers[i]->BufferId == id)
            return buffers[i];
    return NULL;
}

const char *rate_control_name(unsigned method)
{
    switch (method) {
    case MFX_RATECONTROL_CBR: return "CBR";
    case MFX_RATECONTROL_VBR: return "VBR";
    case MFX_RATECONTROL_CQP: return "CQP";
    case MFX_RATECONTROL_AVBR: return "AVBR";
    case MFX_RATECONTROL_LA: return "LA";
    case MFX_RATECONTROL_ICQ: return "ICQ";
    case MFX_RATECONTROL_LA_ICQ: return "LA_ICQ";
    case MFX_RATECONTROL_QVBR: return "QVBR";
    default: return "unknown";
    }
}

unsigned grant_reference_frames(const mfxInfoMFX *mfx)
{
    unsigned needed = mfx->GopRefDist > 1 ? 2 : 1;

    return mfx->NumRefFrame > needed && mfx->NumRefFrame <= 16 ? mfx->NumRefFrame : needed;
}

static bool grant_codec(mfxInfoMFX *mfx)
{
    bool refused = false;

    if (mfx->CodecId != MFX_CODEC_AVC) {
        mfx->CodecId = 0;
        refused = true;
    }
    if (mfx->CodecProfile == 0)
        mfx->CodecProfile = MFX_PROFILE_AVC_HIGH;
    switch (mfx->CodecProfile & 0xff) {
    case MFX_PROFILE_AVC_BASELINE:
    case MFX_PROFILE_AVC_MAIN:
    case MFX_PROFILE_AVC_HIGH:
        break;
    default:
        mfx->CodecProfile = 0;
        refused = true;
    }
    return !refused;
}

static bool grant_picture(mfxFrameInfo *info, bool vdenc)
{
    bool refused = false;
    bool interlaced = info->PicStruct != MFX_PICSTRUCT_PROGRESSIVE && info->PicStruct != MFX_PICSTRUCT_UNKNOWN;

    if (info->FourCC != MFX_FOURCC_NV12) {
        info->FourCC = 0;
        refused = true;
    }
    if (info->Width % 16 || info->Width < 32 || info->Width > 4096) {
        info->Width = 0;
        refused = true;
    }
    if (info->Height % (interlaced ? 32 : 16) || info->Height < 32 || info->Height > 4096) {
        info->Height = 0;
        refused = true;
    }
    if (info->FrameRateExtN == 0 || info->FrameRateExtD == 0) {
        info->FrameRateExtN = info->FrameRateExtD = 0;
        refused = true;
    }
    if (interlaced && vdenc) {
        info->PicStruct = 0;
        refused = true;
    }
    return !refused;
}

/* Refused before DG2, and from there on something else without a word. VME does all of them. */
static bool grant_rate_control(const struct platform *platform, mfxInfoMFX *mfx, bool *changed)
{
    bool vdenc = mfx->LowPower == MFX_CODINGOPTION_ON;

    switch (mfx->RateControlMethod) {
    case 0:
        mfx->RateControlMethod = MFX_RATECONTROL_CBR;
        break;
    case MFX_RATECONTROL_LA:
    case MFX_RATECONTROL_LA_ICQ:
        if (!vdenc)
            break;
        if (platform->vme) {
            mfx->RateControlMethod = 0;
            return false;
        }
        mfx->RateControlMethod =
            mfx->RateControlMethod == MFX_RATECONTROL_LA ? MFX_RATECONTROL_VBR : MFX_RATECONTROL_ICQ;
        break; /* this change is not even a warning */
    case MFX_RATECONTROL_CBR:
    case MFX_RATECONTROL_VBR:
    case MFX_RATECONTROL_QVBR:
    case MFX_RATECONTROL_ICQ:
    case MFX_RATECONTROL_CQP:
        break;
    default:
        mfx->RateControlMethod = 0;
        return false;
    }
    if (mfx->RateControlMethod == MFX_RATECONTROL_CQP) {
        mfxU16 *const quantizers[] = {&mfx->QPI, &mfx->QPP, &mfx->QPB};
        mfxU16 least = vdenc ? LEAST_VDENC_QP : 1;
        for (size_t i = 0; i < 3; i++) {
            if (*quantizers[i] == 0)
                *quantizers[i] = DEFAULT_QP;
            if (*quantizers[i] < least || *quantizers[i] > WORST_QUALITY) {
                *quantizers[i] = *quantizers[i] < least ? least : WORST_QUALITY;
                *changed = true;
            }
        }
    }
    bool constant_quality =
        mfx->RateControlMethod == MFX_RATECONTROL_ICQ || mfx->RateControlMethod == MFX_RATECONTROL_LA_ICQ;
    if (constant_quality && (mfx->ICQQuality < 1 || mfx->ICQQuality > WORST_QUALITY)) {
        mfx->ICQQuality = mfx->ICQQuality < 1 ? DEFAULT_QP : WORST_QUALITY;
        *changed = true;
    }
    return true;
}

static void grant_gop(const struct platform *platform, mfxInfoMFX *mfx, bool *changed)
{
    bool vdenc = mfx->LowPower == MFX_CODINGOPTION_ON;
    bool b_frames = (vdenc ? platform->vdenc_b_frames : true) && (mfx->CodecProfile & 0xff) != MFX_PROFILE_AVC_BASELINE;

    if (mfx->GopPicSize == 0)
        mfx->GopPicSize = DEFAULT_GOP_SIZE;
    if (mfx->GopRefDist == 0)
        mfx->GopRefDist = !b_frames ? 1 : vdenc ? 4 : 3;
    if (mfx->GopRefDist > 1 && !b_frames) {
        mfx->GopRefDist = 1;
        *changed = true;
    }
    if (mfx->GopRefDist > mfx->GopPicSize)
        mfx->GopRefDist = mfx->GopPicSize;
    mfx->NumRefFrame = (mfxU16)grant_reference_frames(mfx);
    mfx->NumSlice = 1;
}

/* Table A-1 of H.264: the level whose macroblocks a picture and a second are enough. */
static mfxU16 level_for(const mfxFrameInfo *info)
{
    static const struct {
        mfxU16 level;
        unsigned picture, second;
    } levels[] = {
        {10, 99, 1485},      {11, 396, 3000},     {12, 396, 6000},     {13, 396, 11880},   {21, 792, 19800},
        {22, 1620, 20250},   {30, 1620, 40500},   {31, 3600, 108000},  {32, 5120, 216000}, {40, 8192, 245760},
        {42, 8704, 522240},  {50, 22080, 589824}, {51, 36864, 983040}, {52, 36864, 2073600},
    };
    unsigned picture = info->Width / 16u * (info->Height / 16u);
    double second = info->FrameRateExtD ? (double)picture * info->FrameRateExtN / info->FrameRateExtD : 0;

    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
        if (picture <= levels[i].picture && second <= levels[i].second)
            return levels[i].level;
    return 52;
}

mfxStatus grant(const struct platform *platform, mfxVideoParam *par)
{
    mfxInfoMFX *mfx = &par->mfx;
    const mfxInfoMFX asked = *mfx;
    bool refused = false, changed = false;

    if (mfx->LowPower == MFX_CODINGOPTION_UNKNOWN)
        mfx->LowPower = platform->vme ? MFX_CODINGOPTION_OFF : MFX_CODINGOPTION_ON;
    if (mfx->LowPower == MFX_CODINGOPTION_ON ? !platform->vdenc : !platform->vme) {
        mfx->LowPower = 0;
        refused = true;
    }
    refused |= !grant_codec(mfx);
    refused |= !grant_picture(&mfx->FrameInfo, mfx->LowPower == MFX_CODINGOPTION_ON);
    refused |= !grant_rate_control(platform, mfx, &changed);
    if (refused) {
        /* The caller names what differs; a default that we chose is nothing that was refused. */
        if (asked.LowPower == MFX_CODINGOPTION_UNKNOWN)
            mfx->LowPower = MFX_CODINGOPTION_UNKNOWN;
        if (asked.CodecProfile == 0)
            mfx->CodecProfile = 0;
        if (asked.RateControlMethod == 0)
            mfx->RateControlMethod = 0;
        return MFX_ERR_UNSUPPORTED;
    }
    if (mfx->TargetUsage == 0 || mfx->TargetUsage > 7)
        mfx->TargetUsage = DEFAULT_TARGET_USAGE;
    grant_gop(platform, mfx, &changed);
    if (mfx->CodecLevel == 0)
        mfx->CodecLevel = level_for(&mfx->FrameInfo);
    if (mfx->BRCParamMultiplier == 0)
        mfx->BRCParamMultiplier = 1;
    return changed ? MFX_WRN_INCOMPATIBLE_VIDEO_PARAM : MFX_ERR_NONE;
}

/* Copy a given buffer, or begin with an empty one of that kind; the pointers in `asked` stay the caller's. */
static void take(void *buffer, size_t size, mfxU32 id, const mfxVideoParam *asked)
{
    const void *given = ext_find(asked->ExtParam, asked->NumExtParam, id);

    memset(buffer, 0, size);
    if (given != NULL)
        memcpy(buffer, given, size);
}

struct options grant_options(const mfxVideoParam *asked, const mfxVideoParam *par)
{
    struct options options;
    mfxExtCodingOption *coding = &options.coding;
    mfxExtCodingOption2 *coding2 = &options.coding2;

    take(coding, sizeof *coding, MFX_EXTBUFF_CODING_OPTION, asked);
    take(coding2, sizeof *coding2, MFX_EXTBUFF_CODING_OPTION2, asked);
    take(&options.coding3, sizeof options.coding3, MFX_EXTBUFF_CODING_OPTION3, asked);
    take(&options.signal, sizeof options.signal, MFX_EXTBUFF_VIDEO_SIGNAL_INFO, asked);

    /* What this stream is, whatever was asked for. */
    coding->CAVLC = MFX_CODINGOPTION_ON;
    coding->MaxDecFrameBuffering = par->mfx.NumRefFrame;
    coding->RateDistortionOpt = coding->RecoveryPointSEI = coding->NalHrdConformance = MFX_CODINGOPTION_OFF;
    coding->SingleSeiNalUnit = coding->VuiVclHrdParameters = coding->VuiNalHrdParameters = MFX_CODINGOPTION_OFF;
    coding->PicTimingSEI = MFX_CODINGOPTION_OFF;
    coding2->BitrateLimit = coding2->MBBRC = coding2->ExtBRC = coding2->RepeatPPS = MFX_CODINGOPTION_OFF;
    coding2->AdaptiveI = coding2->AdaptiveB = MFX_CODINGOPTION_OFF;
    coding2->BRefType = MFX_B_REF_OFF;
    coding2->DisableDeblockingIdc = 1;
    coding2->NumMbPerSlice = 0;

    if (par->mfx.RateControlMethod == MFX_RATECONTROL_LA || par->mfx.RateControlMethod == MFX_RATECONTROL_LA_ICQ) {
        mfxU16 least = (mfxU16)(2 * par->mfx.GopRefDist);
        if (coding2->LookAheadDepth == 0)
            coding2->LookAheadDepth = DEFAULT_LOOK_AHEAD;
        if (coding2->LookAheadDepth < least)
            coding2->LookAheadDepth = least;
        if (coding2->LookAheadDS == MFX_LOOKAHEAD_DS_UNKNOWN)
            coding2->LookAheadDS = MFX_LOOKAHEAD_DS_OFF;
    }
    return options;
}
