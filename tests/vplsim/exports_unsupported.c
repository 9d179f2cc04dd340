/*
 * What the dispatcher wants to find in a runtime of this version, though h264_qsv never calls it: one missing function,
 * and it refuses the session.
 */
#include "vpl.h"

#pragma GCC diagnostic ignored "-Wunused-parameter"

#define UNSUPPORTED(function) mfxStatus function { return MFX_ERR_UNSUPPORTED; }

UNSUPPORTED(MFXJoinSession(mfxSession session, mfxSession child))
UNSUPPORTED(MFXDisjoinSession(mfxSession session))
UNSUPPORTED(MFXCloneSession(mfxSession session, mfxSession *clone))
UNSUPPORTED(MFXSetPriority(mfxSession session, mfxPriority priority))
UNSUPPORTED(MFXGetPriority(mfxSession session, mfxPriority *priority))
UNSUPPORTED(MFXVideoCORE_SetFrameAllocator(mfxSession session, mfxFrameAllocator *allocator))

UNSUPPORTED(MFXVideoDECODE_Query(mfxSession session, mfxVideoParam *in, mfxVideoParam *out))
UNSUPPORTED(MFXVideoDECODE_DecodeHeader(mfxSession session, mfxBitstream *bs, mfxVideoParam *par))
UNSUPPORTED(MFXVideoDECODE_QueryIOSurf(mfxSession session, mfxVideoParam *par, mfxFrameAllocRequest *request))
UNSUPPORTED(MFXVideoDECODE_Init(mfxSession session, mfxVideoParam *par))
UNSUPPORTED(MFXVideoDECODE_Reset(mfxSession session, mfxVideoParam *par))
UNSUPPORTED(MFXVideoDECODE_Close(mfxSession session))
UNSUPPORTED(MFXVideoDECODE_GetVideoParam(mfxSession session, mfxVideoParam *par))
UNSUPPORTED(MFXVideoDECODE_GetDecodeStat(mfxSession session, mfxDecodeStat *stat))
UNSUPPORTED(MFXVideoDECODE_SetSkipMode(mfxSession session, mfxSkipMode mode))
UNSUPPORTED(MFXVideoDECODE_GetPayload(mfxSession session, mfxU64 *ts, mfxPayload *payload))
UNSUPPORTED(MFXVideoDECODE_DecodeFrameAsync(mfxSession session, mfxBitstream *bs, mfxFrameSurface1 *work,
                                            mfxFrameSurface1 **out, mfxSyncPoint *syncp))

UNSUPPORTED(MFXVideoVPP_Query(mfxSession session, mfxVideoParam *in, mfxVideoParam *out))
UNSUPPORTED(MFXVideoVPP_QueryIOSurf(mfxSession session, mfxVideoParam *par, mfxFrameAllocRequest request[2]))
UNSUPPORTED(MFXVideoVPP_Init(mfxSession session, mfxVideoParam *par))
UNSUPPORTED(MFXVideoVPP_Reset(mfxSession session, mfxVideoParam *par))
UNSUPPORTED(MFXVideoVPP_Close(mfxSession session))
UNSUPPORTED(MFXVideoVPP_GetVideoParam(mfxSession session, mfxVideoParam *par))
UNSUPPORTED(MFXVideoVPP_GetVPPStat(mfxSession session, mfxVPPStat *stat))
UNSUPPORTED(MFXVideoVPP_RunFrameVPPAsync(mfxSession session, mfxFrameSurface1 *in, mfxFrameSurface1 *out,
                                         mfxExtVppAuxData *aux, mfxSyncPoint *syncp))

#ifndef VPLSIM_LEGACY

UNSUPPORTED(MFXInit(mfxIMPL implementation, mfxVersion *version, mfxSession *session))
UNSUPPORTED(MFXInitEx(mfxInitParam par, mfxSession *session))
UNSUPPORTED(MFXMemory_GetSurfaceForVPP(mfxSession session, mfxFrameSurface1 **surface))
UNSUPPORTED(MFXMemory_GetSurfaceForVPPOut(mfxSession session, mfxFrameSurface1 **surface))
UNSUPPORTED(MFXMemory_GetSurfaceForEncode(mfxSession session, mfxFrameSurface1 **surface))
UNSUPPORTED(MFXMemory_GetSurfaceForDecode(mfxSession session, mfxFrameSurface1 **surface))
UNSUPPORTED(MFXVideoVPP_ProcessFrameAsync(mfxSession session, mfxFrameSurface1 *in, mfxFrameSurface1 **out))
UNSUPPORTED(MFXVideoDECODE_VPP_Init(mfxSession session, mfxVideoParam *par, mfxVideoChannelParam **channels,
                                    mfxU32 count))
UNSUPPORTED(MFXVideoDECODE_VPP_DecodeFrameAsync(mfxSession session, mfxBitstream *bs, mfxU32 *skip, mfxU32 count,
                                                mfxSurfaceArray **out))
UNSUPPORTED(MFXVideoDECODE_VPP_Reset(mfxSession session, mfxVideoParam *par, mfxVideoChannelParam **channels,
                                     mfxU32 count))
UNSUPPORTED(MFXVideoDECODE_VPP_GetChannelParam(mfxSession session, mfxVideoChannelParam *par, mfxU32 channel))
UNSUPPORTED(MFXVideoDECODE_VPP_Close(mfxSession session))

#endif
