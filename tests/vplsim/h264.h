/*
 * An H.264 stream that is exactly what went in: every macroblock I_PCM, CAVLC, one slice each picture.
 * In the codec "free" it costs nothing instead: grey I pictures, all else skipped, the pixels never looked at.
 */
#ifndef VPLSIM_H264_H
#define VPLSIM_H264_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picture.h"

struct h264 {
    unsigned width, height;             /* as coded: whole macroblocks */
    unsigned crop_right, crop_bottom;   /* pixels */
    unsigned profile, level;            /* profile_idc | constraint flags << 8, level_idc */
    unsigned reference_frames;
    unsigned reordered_frames;
    bool interlaced;                    /* frame_mbs_only_flag 0; pictures are coded as frames all the same */
    bool delimiters;                    /* access unit delimiters */
    bool free_of_cost;
    unsigned aspect_width, aspect_height;
    uint32_t frame_rate_n, frame_rate_d;
    mfxExtVideoSignalInfo signal;       /* Header.BufferId 0: not given */
};

enum { H264_PARAMETER_SET_MAX = 128 };

/* Write a parameter set as a NAL unit; returns its size, which is below H264_PARAMETER_SET_MAX. */
size_t h264_sps(const struct h264 *h264, uint8_t *out);
size_t h264_pps(uint8_t *out);

/* The room that any access unit fits into, in bytes. */
size_t h264_largest(const struct h264 *h264);
/* The room that `scratch` of h264_picture needs, in bytes. */
size_t h264_scratch(const struct h264 *h264);
/* Write an access unit into `out`, which has h264_largest bytes; returns its size. */
size_t h264_picture(const struct h264 *h264, const struct picture *picture, uint8_t *scratch, uint8_t *out);

#endif
