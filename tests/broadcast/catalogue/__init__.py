"""
The made recordings, by name; each name stands in one of these modules.

Nothing is stored: `Recipe.make` builds the bytes in a second or less. Pictures are small where their size does not
matter.
"""

from __future__ import annotations

from tests.broadcast.catalogue import broadcasts, claims, damages, foreign, refusals, shapes, sounds, times, tracks
from tests.broadcast.truth import Recipe

CATALOGUE: dict[str, Recipe] = {}
for _topic in (broadcasts, times, claims, sounds, damages, refusals, tracks, shapes, foreign):
    assert not CATALOGUE.keys() & _topic.CATALOGUE.keys()
    CATALOGUE |= _topic.CATALOGUE

#: Others of a kind that `make test` has one of; these wait for `make e2e`.
SIBLINGS = frozenset({
    "previous_pids", "aspect_change", "jump_backward", "gap_60s", "late_pid", "noise_1e-6", "422_mpeg2", "422_h264",
    "10bit_h264", "720p59.94", "1080i29.97", "1080i29.97_h264", "wild_pts_last", "wild_stamps_first",
    "wild_sound_last", "claims_moments_matroska", "claims_moments_avi", "claims_moments_flv", "claims_hours_avi",
    "claims_hours_matroska", "slides_10s", "watching_5", "video_pes_length_-2", "audio_pes_length_+2_at_times",
    "audio_pes_length_+1", "preallocated_ff", "junk_before_m2ts", "junk_before_fec", "jitter_now_and_then_mp2",
    "jitter_alternating_aac", "jitter_saw_tooth_mp2", "jitter_at_both_ends_aac", "six_in_a_pes_h264_0b",
    "stamped_once_h264_0b", "six_in_a_pes_hevc_2b", "stamped_once_hevc_2b", "from_80_s_mkv", "film_flags_h264",
    "shared_times_beside", "disc_captions_beside", "cut_anywhere_libx265",
    "hdr_hlg", "said_in_matroska_later", "said_in_matroska_at_80s", "font_left_out",
})  # fmt: skip
assert SIBLINGS <= CATALOGUE.keys()
