/* The graphics generations that the simulated runtime can pretend to be. */
#ifndef VPLSIM_PLATFORM_H
#define VPLSIM_PLATFORM_H

#include <stdbool.h>

struct platform {
    const char *name;
    unsigned code_name;  /* MFX_PLATFORM_*, or 0 where the headers know none */
    unsigned device_id;  /* PCI, of one GPU of this generation */
    bool legacy_runtime; /* libmfxhw64 drives it */
    bool new_runtime;    /* libmfx-gen drives it */
    bool vme;            /* PAK with motion estimation in shaders: LowPower OFF */
    bool vdenc;          /* fixed function alone: LowPower ON */
    bool vdenc_b_frames;
};

/* The platform of VPLSIM_PLATFORM (default tgl); NULL, and a line on stderr, when there is none of that name. */
const struct platform *platform_chosen(void);

/* Whether the runtime that this library plays drives the platform at all. */
bool platform_has_runtime(const struct platform *platform);

#endif
