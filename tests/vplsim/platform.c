#include "platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vpl.h"

/*
 * Sources: READMEs of media-driver (encoding table: E, Es), vpl-gpu-rt and Media SDK (supported platforms), pci.ids.
 * README.md of this folder says more.
 */
static const struct platform platforms[] = {
    /* name  code name                 device  legacy new    vme    vdenc  B in vdenc */
    {"hsw", MFX_PLATFORM_HASWELL, 0x0412, false, false, true, false, false},
    {"bdw", MFX_PLATFORM_BROADWELL, 0x1616, true, false, true, false, false},
    {"skl", MFX_PLATFORM_SKYLAKE, 0x1912, true, false, true, true, false},
    {"apl", MFX_PLATFORM_APOLLOLAKE, 0x5a85, true, false, true, true, false},
    {"kbl", MFX_PLATFORM_KABYLAKE, 0x5912, true, false, true, true, false},
    {"icl", MFX_PLATFORM_ICELAKE, 0x8a52, true, false, true, true, false},
    {"jsl", MFX_PLATFORM_JASPERLAKE, 0x4e61, true, false, false, true, false},
    {"tgl", MFX_PLATFORM_TIGERLAKE, 0x9a49, true, true, true, true, false},
    {"rkl", MFX_PLATFORM_ROCKETLAKE, 0x4c8a, true, true, true, true, false},
    {"adl", MFX_PLATFORM_ALDERLAKE_P, 0x46a6, false, true, true, true, false},
    {"dg2", MFX_PLATFORM_DG2, 0x56a0, false, true, false, true, true},
    {"mtl", MFX_PLATFORM_UNKNOWN, 0x7d55, false, true, false, true, true},
    {"lnl", MFX_PLATFORM_UNKNOWN, 0x64a0, false, true, false, true, true},
};

const struct platform *platform_chosen(void)
{
    const char *name = getenv("VPLSIM_PLATFORM");

    if (name == NULL || *name == '\0')
        name = "tgl";
    for (size_t i = 0; i < sizeof platforms / sizeof platforms[0]; i++)
        if (strcmp(platforms[i].name, name) == 0)
            return &platforms[i];
    fprintf(stderr, "vplsim: there is no platform \"%s\" (VPLSIM_PLATFORM)\n", name);
    return NULL;
}

bool platform_has_runtime(const struct platform *platform)
{
#ifdef VPLSIM_LEGACY
    return platform->legacy_runtime;
#else
    return platform->new_runtime;
#endif
}
