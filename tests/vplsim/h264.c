#include "h264.h"

#include <string.h>

#include "bits.h"

/* Clause numbers are those of ITU-T H.264 (08/2021). */
enum { NAL_SLICE = 1, NAL_IDR = 5, NAL_SPS = 7, NAL_PPS = 8, NAL_DELIMITER = 9 };
enum { MB = 16, MB_BYTES = 384 };

static void vui(struct bits *bits, const struct h264 *h264)
{
    const mfxExtVideoSignalInfo *signal = &h264->signal;
    bool has_aspect = h264->aspect_width > 0 && h264->aspect_height > 0;

    bits_u(bits, 1, has_aspect);
    if (has_aspect) {
        bits_u(bits, 8, 255); /* Extended_SAR */
        bits_u(bits, 16, h264->aspect_width);
        bits_u(bits, 16, h264->aspect_height);
    }
    bits_u(bits, 1, 0); /* overscan_info_present_flag */
    bits_u(bits, 1, signal->Header.BufferId != 0);
    if (signal->Header.BufferId != 0) {
        bits_u(bits, 3, signal->VideoFormat);
        bits_u(bits, 1, signal->VideoFullRange);
        bits_u(bits, 1, signal->ColourDescriptionPresent);
        if (signal->ColourDescriptionPresent) {
            bits_u(bits, 8, signal->ColourPrimaries);
            bits_u(bits, 8, signal->TransferCharacteristics);
            bits_u(bits, 8, signal->MatrixCoefficients);
        }
    }
    bits_u(bits, 1, 0); /* chroma_loc_info_present_flag */
    bits_u(bits, 1, 1); /* timing_info_present_flag; the clock ticks once a field */
    bits_u(bits, 32, h264->frame_rate_d);
    bits_u(bits, 32, h264->frame_rate_n * 2);
    bits_u(bits, 1, 1); /* fixed_frame_rate_flag */
    bits_u(bits, 1, 0); /* nal_hrd_parameters_present_flag */
    bits_u(bits, 1, 0); /* vcl_hrd_parameters_present_flag */
    bits_u(bits, 1, 0); /* pic_struct_present_flag */
    bits_u(bits, 1, 1); /* bitstream_restriction_flag: says how far pictures are reordered */
    bits_u(bits, 1, 1);
    bits_ue(bits, 0); /* max_bytes_per_pic_denom: no limit, I_PCM would break any */
    bits_ue(bits, 0);
    bits_ue(bits, 13);
    bits_ue(bits, 11);
    bits_ue(bits, h264->reordered_frames);
    bits_ue(bits, h264->reference_frames);
}

size_t h264_sps(const struct h264 *h264, uint8_t *out)
{
    uint8_t payload[H264_PARAMETER_SET_MAX];
    struct bits bits = {.data = payload};
    unsigned profile = h264->profile & 0xff;
    unsigned fields = h264->interlaced ? 2 : 1;

    bits_u(&bits, 8, profile);
    bits_u(&bits, 8, h264->profile >> 8 & 0xfc);
    bits_u(&bits, 8, h264->level);
    bits_ue(&bits, 0);
    if (profile == MFX_PROFILE_AVC_HIGH) {
        bits_ue(&bits, 1); /* 4:2:0 */
        bits_ue(&bits, 0); /* 8 bits of luma, */
        bits_ue(&bits, 0); /* and of chroma */
        bits_u(&bits, 1, 0);
        bits_u(&bits, 1, 0); /* seq_scaling_matrix_present_flag */
    }
    bits_ue(&bits, 12); /* 16 bits of frame_num, */
    bits_ue(&bits, 0);
    bits_ue(&bits, 12); /* and of pic_order_cnt_lsb */
    bits_ue(&bits, h264->reference_frames);
    bits_u(&bits, 1, 0);
    bits_ue(&bits, h264->width / MB - 1);
    bits_ue(&bits, h264->height / MB / fields - 1);
    bits_u(&bits, 1, !h264->interlaced);
    if (h264->interlaced)
        bits_u(&bits, 1, 0); /* mb_adaptive_frame_field_flag */
    bits_u(&bits, 1, 1);     /* direct_8x8_inference_flag */
    bits_u(&bits, 1, h264->crop_right > 0 || h264->crop_bottom > 0);
    if (h264->crop_right > 0 || h264->crop_bottom > 0) {
        bits_ue(&bits, 0); /* in units of chroma samples, see 7.4.2.1.1 */
        bits_ue(&bits, h264->crop_right / 2);
        bits_ue(&bits, 0);
        bits_ue(&bits, h264->crop_bottom / 2 / fields);
    }
    bits_u(&bits, 1, 1);
    vui(&bits, h264);
    bits_end(&bits);
    return nal_append(out, 0, 3, NAL_SPS, payload, bits.size);
}

size_t h264_pps(uint8_t *out)
{
    uint8_t payload[H264_PARAMETER_SET_MAX];
    struct bits bits = {.data = payload};

    bits_ue(&bits, 0);
    bits_ue(&bits, 0);
    bits_u(&bits, 1, 0); /* CAVLC */
    bits_u(&bits, 1, 0);
    bits_ue(&bits, 0); /* one slice group */
    bits_ue(&bits, 0); /* one reference in list 0, */
    bits_ue(&bits, 0); /* one in list 1 */
    bits_u(&bits, 1, 0);
    bits_u(&bits, 2, 0);
    bits_ue(&bits, 0); /* QP 26, of no consequence */
    bits_ue(&bits, 0);
    bits_ue(&bits, 0);
    bits_u(&bits, 1, 1); /* deblocking_filter_control_present_flag: it is switched off */
    bits_u(&bits, 1, 0);
    bits_u(&bits, 1, 0);
    bits_end(&bits);
    return nal_append(out, 0, 3, NAL_PPS, payload, bits.size);
}

/* 7.3.3; the three slice types above 4 promise that the whole picture is of that type. */
static void slice_header(struct bits *bits, const struct h264 *h264, const struct picture *picture)
{
    bits_ue(bits, 0);
    bits_ue(bits, picture->type == 'I' ? 7 : picture->type == 'P' ? 5 : 6);
    bits_ue(bits, 0);
    bits_u(bits, 16, picture->frame_num);
    if (h264->interlaced)
        bits_u(bits, 1, 0); /* field_pic_flag */
    if (picture->idr)
        bits_ue(bits, picture->idr_pic_id);
    bits_u(bits, 16, picture->poc_lsb);
    if (picture->type == 'B')
        bits_u(bits, 1, 1); /* direct_spatial_mv_pred_flag */
    if (picture->type != 'I') {
        bits_u(bits, 1, 0); /* num_ref_idx_active_override_flag */
        bits_u(bits, picture->type == 'B' ? 2 : 1, 0); /* lists as they are */
    }
    if (picture->reference)
        bits_u(bits, picture->idr ? 2 : 1, 0); /* dec_ref_pic_marking: a sliding window */
    bits_ue(bits, 0); /* slice_qp_delta */
    bits_ue(bits, 1); /* disable_deblocking_filter_idc */
}

/* mb_skip_run 0, where there is one, and mb_type I_PCM: 25, behind 5 types of P or 23 of B (tables 7-11 to 7-14). */
static void pcm_type(struct bits *bits, char type)
{
    if (type != 'I')
        bits_ue(bits, 0);
    bits_ue(bits, type == 'I' ? 25 : type == 'P' ? 30 : 48);
    bits_align_zero(bits);
}

static void pcm_samples(struct bits *bits, const struct h264 *h264, const uint8_t *pixels, unsigned x, unsigned y)
{
    const uint8_t *luma = pixels + (size_t)y * h264->width + x;
    const uint8_t *chroma = pixels + (size_t)h264->width * h264->height + (size_t)(y / 2) * h264->width + x;
    uint8_t *out = bits->data + bits->size;

    for (unsigned row = 0; row < MB; row++)
        memcpy(out + row * MB, luma + (size_t)row * h264->width, MB);
    out += MB * MB;
    for (unsigned row = 0; row < MB / 2; row++)
        for (unsigned column = 0; column < MB / 2; column++) {
            out[row * 8 + column] = chroma[(size_t)row * h264->width + 2 * column];
            out[64 + row * 8 + column] = chroma[(size_t)row * h264->width + 2 * column + 1];
        }
    bits->size += MB_BYTES;
}

/* Every sample as it is. */
static void pcm_slice(struct bits *bits, const struct h264 *h264, const struct picture *picture)
{
    for (unsigned y = 0; y < h264->height; y += MB)
        for (unsigned x = 0; x < h264->width; x += MB) {
            pcm_type(bits, picture->type);
            pcm_samples(bits, h264, picture->pixels, x, y);
        }
}

/* I: grey, a byte each macroblock. P and B: one run of skipped ones. */
static void free_slice(struct bits *bits, const struct h264 *h264, char type)
{
    unsigned macroblocks = h264->width / MB * (h264->height / MB);

    if (type != 'I') {
        bits_ue(bits, macroblocks);
        return;
    }
    for (unsigned i = 0; i < macroblocks; i++) {
        bits_ue(bits, 3); /* mb_type I_16x16_2_0_0: predicted from what is not there, hence 128 */
        bits_ue(bits, 0); /* intra_chroma_pred_mode: DC too */
        bits_ue(bits, 0); /* mb_qp_delta */
        bits_u(bits, 1, 1); /* coeff_token: none */
    }
}

size_t h264_scratch(const struct h264 *h264)
{
    unsigned macroblocks = h264->width / MB * (h264->height / MB);

    return (size_t)macroblocks * (h264->free_of_cost ? 1 : MB_BYTES + 2) + 64;
}

size_t h264_largest(const struct h264 *h264)
{
    return nal_worst(h264_scratch(h264)) + 2 * H264_PARAMETER_SET_MAX + 16;
}

size_t h264_picture(const struct h264 *h264, const struct picture *picture, uint8_t *scratch, uint8_t *out)
{
    struct bits bits = {.data = scratch};
    size_t size = 0;

    if (h264->delimiters) {
        const uint8_t any_slice_type = 0xf0;
        size = nal_append(out, size, 0, NAL_DELIMITER, &any_slice_type, 1);
    }
    if (picture->idr) {
        size += h264_sps(h264, out + size);
        size += h264_pps(out + size);
    }
    slice_header(&bits, h264, picture);
    if (h264->free_of_cost)
        free_slice(&bits, h264, picture->type);
    else
        pcm_slice(&bits, h264, picture);
    bits_end(&bits);
    return nal_append(out, size, picture->reference ? 2 : 0, picture->idr ? NAL_IDR : NAL_SLICE, scratch, bits.size);
}
