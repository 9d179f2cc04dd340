"""
The forms that a recording's pictures have, and the one form that its output gets.

A *form* is what a decoder says of a picture: size, shape of a sample, pixel format, colours, rotation. A *look* is what
a few pictures at one place of the file are like. The *main form* is that of most looks. Colours are the numbers of
ITU-T H.273 (2 = unspecified); the range is 0 unspecified, 1 limited, 2 full.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from encoderd.encode.media import VideoInfo

UNSPECIFIED = 2
LIMITED, FULL = 1, 2
#: The values that ITU-T H.273 gives a meaning (tables 2 to 4, without the reserved ones): a damaged header says others,
#: and libswscale refuses them. The matrix 0 is that of RGB, which no broadcast is.
PRIMARIES, TRANSFERS, MATRICES = (
    frozenset({1, *range(4, 13), 22}),
    frozenset({1, *range(4, 19)}),
    frozenset({1, *range(4, 15)}),
)
#: Transfers of high dynamic range: SMPTE ST 2084 (PQ) and ARIB STD-B67 (HLG). Source: ITU-T H.273, table 3.
HDR = {16: "PQ", 18: "HLG"}
#: Matrices of high dynamic range alone, which no player of H.264 shows right; others that libswscale cannot convert.
#: Source: ITU-T H.273, table 4.
NEVER_SHOWN, NEVER_CONVERTED = {14: "ICtCp", 15: "IPT-PQ-c2"}, {8: "YCgCo", 11: "Y′D′zD′x"}
#: Sample aspect ratios beyond this (and below its inverse) are no television; a damaged header says them.
WIDEST_SAMPLE = Fraction(4)
#: A sequence header with both of its matrices, and the beginning of its extension. Source: ISO/IEC 13818-2, 6.2.2.1.
_SEQUENCE_BYTES = 4 + 8 + 2 * 64 + 8
#: Width over height that no screen has; films have 2.4.
WIDEST_SCREEN = Fraction(5, 2)
#: Display aspects that differ by less are the same: 720 × 480 counts as 4:3 with 704 or with 720 samples of a line.
SAME_ASPECT = Fraction(1, 50)
#: Lines that are coded because macroblocks have 16, and lines that are meant. Source: Rec. ITU-R BT.709-6, part 2.
CODED_LINES, SHOWN_LINES = 1088, 1080
#: The frame rates of television; what is measured from timestamps is one of them or nearly so.
RATES = (
    Fraction(24_000, 1001), Fraction(24), Fraction(25), Fraction(30_000, 1001), Fraction(30), Fraction(50),
    Fraction(60_000, 1001), Fraction(60),
)  # fmt: skip


#: Film is 4 of 5 pictures of these rates.
FILM_RATES = frozenset({Fraction(30_000, 1001), Fraction(30)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Colours:
    """Primaries, transfer, matrix and range of pictures, as numbers."""

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    range: int = 0


#: What untagged pictures of each size are: HD; 625 lines with the assumed gamma of BT.1700; 525 lines. The fourth
#: number is the range. Sources: Rec. ITU-R BT.709-6; BT.1700 and BT.601-7 as listed in ITU-T H.273, tables 2 to 4.
HIGH_DEFINITION = Colours(primaries=1, transfer=1, matrix=1, range=LIMITED)
LINES_625 = Colours(primaries=5, transfer=5, matrix=5, range=LIMITED)
LINES_525 = Colours(primaries=6, transfer=6, matrix=6, range=LIMITED)


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureForm:
    """
    What a picture is like: size in pixels as decoded; `sample_aspect_ratio` 0 when untold; `frame_rate` in pictures per
    second, 0 when unknown; `rotation` in degrees anticlockwise that a player turns it by, after it is `mirrored` top to
    bottom; `peak_nits` in cd/m² of the screen that high dynamic range was graded on, or of its brightest sample; 0
    when untold.
    """

    width: int
    height: int
    sample_aspect_ratio: Fraction = Fraction(0)
    pix_fmt: str = "yuv420p"
    frame_rate: Fraction = Fraction(0)
    colours: Colours = Colours()
    rotation: int = 0
    mirrored: bool = False
    peak_nits: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """
    What `frames` pictures at one place (`at`, 0…1 of the file) are like; `form` is None where none could be decoded.

    `interlaced` of them are flagged so, of these `top_first` top field first. The rest is what the pictures themselves
    say, each compared with those beside it: `tff` and `bff` are combed, `progressive` are not, `undetermined` show no
    motion. `repeated` have a field of the picture before, as telecined film has; `spots` are combed somewhere, which
    is asked where no whole picture is. `spacing_s` is the usual time from picture to picture, 0 when unknown; with
    `pulldown` progressive pictures last two fields and a half on average, as film's repeat flags say; `lasting` are the
    fields of a fiftieth of a second that they last, where these are whole. With
    `fields` each decoded picture was one field, and the look is of the frames that they make; `unflagged` ones
    are known by their pictures alone. `has_base` is False where
    only Dolby Vision knows the colours.
    """

    at: float
    form: PictureForm | None = None
    frames: int = 0
    interlaced: int = 0
    top_first: int = 0
    tff: int = 0
    bff: int = 0
    progressive: int = 0
    undetermined: int = 0
    repeated: int = 0
    spots: int = 0
    spacing_s: Fraction = Fraction(0)
    pulldown: bool = False
    lasting: tuple[int, ...] = ()
    fields: bool = False
    unflagged: bool = False
    has_base: bool = True

    @property
    def is_top_first(self) -> bool:
        """Whether most that are flagged interlaced are flagged top field first."""
        return self.top_first * 2 > self.interlaced

    @property
    def combed(self) -> int:
        return self.tff + self.bff


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A picture as it is shown: cropped, turned, with even sizes; the aspect is of one sample, never 0."""

    width: int
    height: int
    sample_aspect_ratio: Fraction

    @property
    def aspect(self) -> Fraction:
        """Width : height on the screen."""
        return self.width * self.sample_aspect_ratio / self.height


def shown(form: PictureForm) -> Shown:
    """Return how a picture of this form is shown; a missing aspect is 1:1, as no container told another."""
    width, height = cropped(form.width, form.height)
    aspect = form.sample_aspect_ratio
    if not 1 / WIDEST_SAMPLE <= aspect <= WIDEST_SAMPLE:
        aspect = Fraction(1)
    if form.rotation % 180 == 90:
        width, height, aspect = height, width, 1 / aspect
    return Shown(width=width, height=height, sample_aspect_ratio=aspect)


def woven_aspect(aspect: Fraction, width: int, height: int) -> Fraction:
    """
    Return the sample aspect ratio of a frame made of two fields of this size, whose headers say `aspect`; 0 stays 0.

    Headers tell it of a field, as the standard has it, or of the frame: then the field would be wider than any screen.
    """
    return aspect if width * aspect > height * WIDEST_SCREEN else aspect * 2


def cropped(width: int, height: int) -> tuple[int, int]:
    """Return the size without the lines that only fill macroblocks, and without a half sample of colour."""
    if height == CODED_LINES and width in {1440, 1920}:
        height = SHOWN_LINES
    return width // 2 * 2, height // 2 * 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A picture's place in the output: scaled to `width` × `height`, then put `left` and `top` into it, on black."""

    width: int
    height: int
    left: int = 0
    top: int = 0


def fit(picture: Shown, output: Shown) -> Fit:
    """Return where a picture goes in the output, its aspect kept; all numbers are even."""
    wide = picture.aspect / output.aspect
    if abs(wide - 1) <= SAME_ASPECT:
        return Fit(width=output.width, height=output.height)
    if wide < 1:
        width = min(output.width, max(2, round(output.width * wide / 2) * 2))
        return Fit(width=width, height=output.height, left=(output.width - width) // 4 * 2)
    height = min(output.height, max(2, round(output.height / wide / 2) * 2))
    return Fit(width=output.width, height=height, top=(output.height - height) // 4 * 2)


def main_form(looks: Sequence[Look], video: VideoInfo) -> PictureForm:
    """
    Return the form that most places have; between equals the larger one. Without any, what the container says.

    Colours are what most of the pictures that have this size tell. Its rate is the measured one where there is one.
    """
    forms = [look.form for look in looks if look.form is not None]
    if not forms:
        return _told_form(video)
    shapes = Counter(
        (form.width, form.height, form.sample_aspect_ratio, form.rotation, form.mirrored) for form in forms
    )
    width, height, aspect, rotation, mirrored = max(
        shapes, key=lambda shape: (shapes[shape], shape[0] * shape[1], shape[2])
    )
    alike = [form for form in forms if (form.width, form.height) == (width, height)]
    if not aspect and not any(form.sample_aspect_ratio for form in forms):
        aspect = video.sample_aspect_ratio
    placed = [
        look for look in looks if look.form is not None and (look.form.width, look.form.height) == (width, height)
    ]
    return PictureForm(
        width=width,
        height=height,
        sample_aspect_ratio=aspect,
        pix_fmt=Counter(form.pix_fmt for form in alike).most_common(1)[0][0],
        frame_rate=_measured_rate(video.frame_rate, placed),
        colours=_most_told([form.colours for form in alike]),
        rotation=rotation,
        mirrored=mirrored,
        peak_nits=max(form.peak_nits for form in alike),
    )


def _told_form(video: VideoInfo) -> PictureForm:
    return PictureForm(
        width=video.width,
        height=video.height,
        sample_aspect_ratio=video.sample_aspect_ratio,
        pix_fmt=video.pix_fmt,
        frame_rate=video.frame_rate,
        colours=_most_told(
            [
                Colours(
                    primaries=video.color_primaries,
                    transfer=video.color_trc,
                    matrix=video.colorspace,
                    range=video.color_range,
                )
            ]
        ),
    )


def _most_told(colours: Sequence[Colours]) -> Colours:
    """Each value for itself: some broadcasters tag the matrix only, and only in some programmes."""

    def told(values: list[int], known: Collection[int], otherwise: int) -> int:
        found = Counter(value for value in values if value in known)
        return found.most_common(1)[0][0] if found else otherwise

    return Colours(
        primaries=told([one.primaries for one in colours], PRIMARIES, UNSPECIFIED),
        transfer=told([one.transfer for one in colours], TRANSFERS, UNSPECIFIED),
        matrix=told([one.matrix for one in colours], MATRICES, UNSPECIFIED),
        range=told([one.range for one in colours], (LIMITED, FULL), 0),
    )


def inferred(form: PictureForm) -> Colours:
    """
    Return the form's colours, those that are not told as broadcasters have them: by the number of lines.

    A transfer of high dynamic range that is told takes BT.2020's primaries and matrix along.
    """
    told = form.colours
    lines = min(form.width, form.height) if form.rotation % 180 == 90 else form.height
    if told.transfer in HDR:
        usual = Colours(primaries=9, transfer=told.transfer, matrix=9, range=LIMITED)
    elif lines >= 720:
        usual = HIGH_DEFINITION
    elif lines in {576, 288} or (lines != 480 and form.frame_rate in {Fraction(25), Fraction(50)}):
        usual = LINES_625
    else:
        usual = LINES_525
    return Colours(
        primaries=usual.primaries if told.primaries in {0, UNSPECIFIED} else told.primaries,
        transfer=usual.transfer if told.transfer in {0, UNSPECIFIED} else told.transfer,
        matrix=usual.matrix if told.matrix == UNSPECIFIED else told.matrix,
        range=told.range or (FULL if form.pix_fmt.startswith("yuvj") else LIMITED),
    )


def _measured_rate(guessed: Fraction, looks: Sequence[Look]) -> Fraction:
    """Return the rate that the looks show; film with repeat flags is sent in 30 pictures a second, whatever is told."""
    if sum(look.pulldown for look in looks) * 2 > len(looks):
        told = (guessed, guessed * 5 / 4, guessed / 2)
        return next((rate for rate in told if rate in FILM_RATES), Fraction(30_000, 1001))
    return frame_rate(guessed, [look.spacing_s for look in looks if look.spacing_s])


def frame_rate(guessed: Fraction, spacings_s: Sequence[Fraction]) -> Fraction:
    """
    Return pictures per second: the container's guess, unless measured times say half, double or another of `RATES`.

    Field-coded H.264 tells fields per second where the pictures are frames; a container that tells nothing leaves 0.
    """
    if not spacings_s:
        return guessed
    middle = sorted(spacings_s)[len(spacings_s) // 2]
    nearest = min(RATES, key=lambda rate: abs(rate * middle - 1))
    if abs(nearest * middle - 1) > Fraction(1, 100):
        return guessed or nearest
    if guessed and abs(guessed * middle - 1) < Fraction(1, 100):
        return guessed  # 24 or 24/1.001: timestamps of a few pictures cannot tell, the sequence header can
    return nearest


def own_colours(video: VideoInfo, looks: Sequence[Look], *, mapped: bool) -> str:
    """
    Return the name of a coding whose colours nothing here can show, "" where there is none.

    With `mapped` pictures are converted to BT.709; otherwise what has a name in H.264 can be kept as it is.
    """
    told = video.dolby_vision
    if told is not None and not told.has_base:
        return f"Dolby Vision profile {told.profile}"
    if not all(look.has_base for look in looks):
        return "Dolby Vision profile 5"
    matrices = Counter(look.form.colours.matrix for look in looks if look.form is not None)
    matrix = matrices.most_common(1)[0][0] if matrices else video.colorspace
    return NEVER_SHOWN.get(matrix, "") or (NEVER_CONVERTED.get(matrix, "") if mapped else "")


def conversions(form: PictureForm, *, tone_mapped: bool = False) -> tuple[str, ...]:
    """Say in words what making 8-bit 4:2:0 of such pictures changes."""
    notes = []
    if form.pix_fmt not in {"yuv420p", "yuvj420p", "nv12", ""}:
        notes.append(f"{form.pix_fmt} converted to 8-bit 4:2:0")
    if form.colours.transfer in HDR:
        graded = f" graded for {form.peak_nits} cd/m²" if form.peak_nits else ""
        done = "tone-mapped to BT.709" if tone_mapped else "kept as tagged, without tone mapping"
        notes.append(f"high dynamic range ({HDR[form.colours.transfer]}{graded}) {done}")
    if form.height == CODED_LINES and cropped(form.width, form.height)[1] == SHOWN_LINES:
        notes.append(f"{CODED_LINES} lines cropped to {SHOWN_LINES}")
    if form.mirrored:
        notes.append("pictures mirrored, as the recording says")
    if form.rotation:
        notes.append(f"pictures turned by {form.rotation % 360} degrees, as the recording says")
    return tuple(notes)


def others(looks: Sequence[Look], main: PictureForm) -> tuple[str, ...]:
    """Say in words which other forms were seen, each once, in the order of the file."""
    output, said = shown(main), []
    for look in looks:
        if look.form is None:
            continue
        picture = shown(replace(look.form, sample_aspect_ratio=look.form.sample_aspect_ratio or Fraction(1)))
        if (picture.width, picture.height) == (output.width, output.height) and (
            not look.form.sample_aspect_ratio or abs(picture.aspect / output.aspect - 1) <= SAME_ASPECT
        ):
            continue
        text = f"{picture.width}×{picture.height} at {picture.aspect.limit_denominator(100)}".replace("/", ":")
        if text not in said:
            said.append(text)
    return tuple(f"pictures of {text} fitted into {output.width}×{output.height}" for text in said)


def mpeg2_sequence(packet: bytes) -> bytes:
    """
    Return what the sequence header in a packet of MPEG-2 video, and its extension, say of size, aspect, rate and scan.

    Where it changes, the decoder is to be emptied first: libavcodec drops the picture that waits for its turn. b"" when
    there is none. Source: ISO/IEC 13818-2, 6.2.2.1: 12 bits of width and of height, 4 of the aspect and 4 of the frame
    rate; 6.2.2.3: 4 bits of its name, 8 of profile and level, 1 of scan, 2 of colours, 4 of size.
    """
    at = packet.find(b"\x00\x00\x01\xb3")
    if at < 0:
        return b""
    extension = packet.find(b"\x00\x00\x01\xb5", at, at + _SEQUENCE_BYTES)
    told = packet[extension + 4 : extension + 7] if extension >= 0 else b""
    return packet[at + 4 : at + 8] + told[:2] + bytes(byte & 0xE0 for byte in told[2:])
