/* What a platform makes of the parameters it is asked for: granted, changed, or refused. */
#ifndef VPLSIM_GRANT_H
#define VPLSIM_GRANT_H

#include <stdbool.h>

#include "platform.h"
#include "vpl.h"

/* What is beside mfxVideoParam; Header.BufferId 0 where nothing was given. */
struct options {
    mfxExtCodingOption coding;
    mfxExtCodingOption2 coding2;
    mfxExtCodingOption3 coding3;
    mfxExtVideoSignalInfo signal;
};

/* The extension buffer of that kind, or NULL. */
void *ext_find(mfxExtBuffer *const *buffers, unsigned count, mfxU32 id);

/*
 * Turn the asked-for `par` into what is granted. MFX_ERR_NONE; MFX_WRN_INCOMPATIBLE_VIDEO_PARAM when something was
 * changed; MFX_ERR_UNSUPPORTED when something was refused: those fields are then 0. Extension buffers are left alone.
 */
mfxStatus grant(const struct platform *platform, mfxVideoParam *par);

/* The same for what is beside it, after `par` was granted. */
struct options grant_options(const mfxVideoParam *asked, const mfxVideoParam *par);

/* Pictures that a reference frame store must hold for these parameters. */
unsigned grant_reference_frames(const mfxInfoMFX *mfx);

const char *rate_control_name(unsigned method);

#endif
