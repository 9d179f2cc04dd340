/* What a dispatcher calls to find the runtime, and the sessions. */
#include <stdlib.h>
#include <string.h>

#include "session.h"
#include "trace.h"

#ifdef VPLSIM_LEGACY

mfxStatus MFXInitEx(mfxInitParam par, mfxSession *session)
{
    (void)par;
    return session == NULL ? MFX_ERR_NULL_PTR : session_open(session);
}

mfxStatus MFXInit(mfxIMPL implementation, mfxVersion *version, mfxSession *session)
{
    (void)implementation;
    (void)version;
    return session == NULL ? MFX_ERR_NULL_PTR : session_open(session);
}

#else

/* One allocation: the array of one handle that the dispatcher gets, and what the handle points to. */
struct description {
    mfxHDL handles[1];
    mfxImplDescription implementation;
    mfxAccelerationMode modes[1];
};

mfxHDL *MFXQueryImplsDescription(mfxImplCapsDeliveryFormat format, mfxU32 *num_impls)
{
    struct faults faults;
    const struct platform *platform = platform_chosen();

    if (num_impls == NULL)
        return NULL;
    *num_impls = 0;
    /* A slip in the faults is no reason to vanish: the session tells. */
    if (format != MFX_IMPLCAPS_IMPLDESCSTRUCTURE || platform == NULL || !platform_has_runtime(platform) ||
        (faults_read(&faults) && faults.of[FAULT_DESC].set))
        return NULL;
    struct description *description = calloc(1, sizeof *description);
    if (description == NULL)
        return NULL;
    mfxImplDescription *it = &description->implementation;
    it->Version.Version = MFX_IMPLDESCRIPTION_VERSION;
    it->Impl = MFX_IMPL_TYPE_HARDWARE;
    it->AccelerationMode = MFX_ACCEL_MODE_VIA_VAAPI;
    it->ApiVersion = session_version();
    strcpy(it->ImplName, "simulated runtime (vplsim)");
    strcpy(it->Keywords, "simulated,VPL");
    strcpy(it->License, "MIT");
    it->VendorID = 0x8086; /* what libavcodec asks for; the name above is the honest one */
    it->Dev.Version.Version = MFX_DEVICEDESCRIPTION_VERSION;
    it->Dev.MediaAdapterType = MFX_MEDIA_INTEGRATED;
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 4; i++)
        it->Dev.DeviceID[i] = digits[platform->device_id >> (12 - 4 * i) & 0xf];
    strcpy(it->Dev.DeviceID + 4, "/0");
    description->modes[0] = MFX_ACCEL_MODE_VIA_VAAPI;
    it->AccelerationModeDescription.Version.Version = MFX_ACCELERATIONMODESCRIPTION_VERSION;
    it->AccelerationModeDescription.NumAccelerationModes = 1;
    it->AccelerationModeDescription.Mode = description->modes;
    description->handles[0] = it;
    *num_impls = 1;
    return description->handles;
}

mfxStatus MFXReleaseImplDescription(mfxHDL hdl)
{
    if (hdl != NULL)
        free((char *)hdl - offsetof(struct description, implementation));
    return MFX_ERR_NONE;
}

mfxStatus MFXInitialize(mfxInitializationParam par, mfxSession *session)
{
    (void)par;
    return session == NULL ? MFX_ERR_NULL_PTR : session_open(session);
}

#endif

mfxStatus MFXClose(mfxSession session)
{
    if (session == NULL)
        return MFX_ERR_INVALID_HANDLE;
    session_close(session);
    return MFX_ERR_NONE;
}

mfxStatus MFXQueryIMPL(mfxSession session, mfxIMPL *impl)
{
    if (session == NULL || impl == NULL)
        return session == NULL ? MFX_ERR_INVALID_HANDLE : MFX_ERR_NULL_PTR;
    *impl = MFX_IMPL_HARDWARE | MFX_IMPL_VIA_VAAPI;
    return MFX_ERR_NONE;
}

mfxStatus MFXQueryVersion(mfxSession session, mfxVersion *version)
{
    if (session == NULL || version == NULL)
        return session == NULL ? MFX_ERR_INVALID_HANDLE : MFX_ERR_NULL_PTR;
    *version = session_version();
    return MFX_ERR_NONE;
}

mfxStatus MFXVideoCORE_SetHandle(mfxSession session, mfxHandleType type, mfxHDL hdl)
{
    if (session == NULL)
        return MFX_ERR_INVALID_HANDLE;
    if (type != MFX_HANDLE_VA_DISPLAY)
        return MFX_ERR_UNSUPPORTED;
    session->display = hdl;
    return MFX_ERR_NONE;
}

mfxStatus MFXVideoCORE_GetHandle(mfxSession session, mfxHandleType type, mfxHDL *hdl)
{
    if (session == NULL || hdl == NULL)
        return session == NULL ? MFX_ERR_INVALID_HANDLE : MFX_ERR_NULL_PTR;
    if (type != MFX_HANDLE_VA_DISPLAY || session->display == NULL)
        return MFX_ERR_NOT_FOUND;
    *hdl = session->display;
    return MFX_ERR_NONE;
}

mfxStatus MFXVideoCORE_QueryPlatform(mfxSession session, mfxPlatform *platform)
{
    if (session == NULL || platform == NULL)
        return session == NULL ? MFX_ERR_INVALID_HANDLE : MFX_ERR_NULL_PTR;
    memset(platform, 0, sizeof *platform);
    platform->CodeName = (mfxU16)session->platform->code_name;
    platform->DeviceId = (mfxU16)session->platform->device_id;
    platform->MediaAdapterType = MFX_MEDIA_INTEGRATED;
    return MFX_ERR_NONE;
}
