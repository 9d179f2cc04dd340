"""
Settings: one frozen section per room, read once, refused as a whole when anything in them is wrong.

Precedence: argument, environment `ENCODERD_SECTION__KEY`, file (TOML), default. `config/encoderd.toml` shows every
setting with its default and one sentence; a test holds the two together.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from encoderd.errors import SettingsError
from encoderd.settings_errors import explain, unknown_environment
from encoderd.settings_rules import DEFAULT_QUALITY, contradiction, overridden

DEFAULT_FILE = Path("/etc/encoderd/encoderd.toml")
EXTENSIONS = [
    "ts", "m2ts", "mts", "m2t", "tp", "trp", "rec", "mpg", "mpeg", "vob", "mp4", "m4v", "3gp", "mkv", "mov", "avi",
    "wtv", "dvr-ms", "flv", "webm",
]  # fmt: skip
#: The levels of H.264. Source: ITU-T H.264, table A-1.
LEVELS = tuple(f"{major}.{minor}" for major, minors in enumerate((3, 2, 2, 2, 2, 2), 1) for minor in range(minors + 1))
SIDECARS = (".program.txt", ".err", ".ass", ".srt", ".chapter.txt")
IGNORED = (".*", "*.part", "*.partial", "*.tmp", "*.temp", "*.grab", "*.crdownload", "*.download", "*~", "_UNPACK_*")


def _bits_per_second(value: object) -> object:
    """Read "6M" and "800k" as FFmpeg does; anything else is left to the type."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kM])", value.strip()) if isinstance(value, str) else None
    return round(float(match[1]) * {"k": 1_000, "M": 1_000_000}[match[2]]) if match else value


def _level(value: object) -> object:
    """Read "4", "4.1" and TOML's 4.1; FFmpeg's own option takes "4.1" for 4."""
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if text == "auto":
        return text
    known = {level: level for level in LEVELS} | {level.removesuffix(".0"): level for level in LEVELS}
    if text not in known:
        dotted = f"{text[:-1]}.{text[-1:]}"
        raise ValueError(f'write "auto" or one of {", ".join(LEVELS)}' + f', so "{dotted}"' * (dotted in known))
    return known[text]


def _option_value(value: object) -> object:
    """FFmpeg's options are text; 1, 0.5 and true need no quotes in the settings."""
    if isinstance(value, bool):
        return str(int(value))
    return str(value) if isinstance(value, int | float) else value


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
OptionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
OptionValue = Annotated[str, BeforeValidator(_option_value)]
Level = Annotated[str, BeforeValidator(_level)]
BitRate = Annotated[int, BeforeValidator(_bits_per_second), Field(ge=100_000, le=300_000_000)]
AudioBitRate = Annotated[int, BeforeValidator(_bits_per_second), Field(ge=32_000, le=640_000)]
Sidecar = Annotated[str, Field(pattern=r"^\.[^/]{1,60}$")]
Seconds = Annotated[float, Field(ge=0.05, le=86_400)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


def _absolute(path: Path | None) -> Path | None:
    if path is not None and not path.is_absolute():
        raise ValueError("the path must be absolute (start with /)")
    return path


def _as_name(host_name: str) -> str:
    """The kernel takes any 64 bytes for a host name; a worker's name must do for the queue and the command line."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", host_name).lstrip("_.-")[:63] or "encoderd"


class DaemonSettings(Section):
    """The daemon itself."""

    state_dir: Path = Field(Path("/var/lib/encoderd"), description="Folder for the queue, receipts and job logs.")
    worker: Name = Field(
        default_factory=lambda: _as_name(socket.gethostname()),
        description="Name under which this daemon claims jobs; the host name when it is not set.",
    )
    concurrency: int = Field(1, ge=1, le=16, description="Recordings encoded at the same time; one fills an iGPU.")
    lease_s: float = Field(120, ge=5, le=86_400, description="A claim without a heartbeat for this long is given back.")
    stop_limit_s: float = Field(8, ge=1, le=60, description="Time a child has to end when the daemon stops.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="Form of the log: json under systemd and in pipes, console on a terminal, auto chooses."
    )
    log_keep_days: int = Field(90, ge=1, le=3650, description="Days after which a finished job's log is deleted.")

    _check_paths = field_validator("state_dir")(_absolute)


class IntakeSettings(Section):
    """When a recording is whole."""

    settle_s: Seconds = Field(60, description="A recording is whole when size and mtime rest for this long.")
    rescan_s: Seconds = Field(30, description="Every folder is read anew this often, whatever the events said.")
    poll_s: Seconds = Field(
        5, description="Rhythm of the scans where the file system sends no events (nfs, 9p, virtiofs…)."
    )
    allow_blind_mounts: bool = Field(
        False, description="Accept mounts that can hide a recording's growth (9p cache=loose, fscache). Dangerous."
    )


class QueueSettings(Section):
    """The queue and its retries."""

    database: Path | None = Field(None, description="The queue's SQLite file; queue.db in state_dir when not set.")
    busy_timeout_s: Seconds = Field(10, description="How long to wait for another process that holds the database.")
    max_attempts: int = Field(3, ge=1, le=100, description="Crashes or stalls after which a job has failed.")
    retry_pause_s: Seconds = Field(60, description="Pause before the second attempt; it doubles with each further one.")

    _check_paths = field_validator("database")(_absolute)


class PreflightSettings(Section):
    """Is the encoder sound?"""

    recheck_s: Seconds = Field(60, description="How often a closed gate, or a blocked folder, is looked at again.")
    trial_limit_s: Seconds = Field(30, description="Time the trial encode has before it counts as failed.")


class EncodeSettings(Section):
    """How recordings are encoded; every key can be overridden per watch folder."""

    encoder: Literal["h264_qsv", "auto", "libx264"] = Field(
        "h264_qsv",
        description="h264_qsv holds the queue without a working GPU, auto then uses the CPU, libx264 always does.",
    )
    container: Literal["mp4", "mkv"] = Field("mp4", description="Container of the output: mp4 (faststart) or mkv.")
    rate_control: Literal["icq", "la_icq", "cqp", "qvbr", "vbr", "cbr"] = Field(
        "icq", description="How bits are spent: icq, la_icq and cqp hold a quality, vbr and cbr a rate, qvbr both."
    )
    quality: int = Field(
        DEFAULT_QUALITY, ge=1, le=51, description="The quality that icq, la_icq, cqp and qvbr hold; less is better."
    )
    bitrate: BitRate | None = Field(None, description='Mean bit rate for vbr, cbr and qvbr: bits per second, or "6M".')
    max_bitrate: BitRate | None = Field(None, description="Highest bit rate for vbr and qvbr.")
    preset: Literal["veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"] = Field(
        "medium", description="Speed against size, for both encoders."
    )
    look_ahead_depth: int | None = Field(
        None,
        ge=10,
        le=100,
        description="Frames to look ahead: la_icq takes 40 when it is not set, vbr and cbr look ahead only when it is.",
    )
    bframes: Literal["auto"] | Annotated[int, Field(ge=0, le=16)] = Field(
        "auto", description="B-frames in a row at most; auto takes what suits the GPU."
    )
    gop: Literal["auto"] | Annotated[int, Field(ge=1, le=1000)] = Field(
        "auto", description="Frames between key frames at most; auto is 3 seconds."
    )
    low_power: Literal["auto", "on", "off"] = Field(
        "auto", description="Use the GPU's low-power encoder (VDEnc); auto does where there is no other."
    )
    profile: Literal["baseline", "main", "high"] = Field("high", description="H.264 profile of the output.")
    level: Level = Field("auto", description='H.264 level, like "4.1"; auto takes the smallest that fits.')
    async_depth: int = Field(4, ge=1, le=64, description="Frames that the GPU works on at the same time.")
    extra: Mapping[OptionName, OptionValue] = Field(
        default_factory=dict, description="Further options of the encoder, as FFmpeg spells them."
    )
    deinterlace: Literal["auto", "off", "frame", "field", "ivtc"] = Field(
        "auto",
        description="auto and frame keep the rate (auto looks at the pictures where flags lie), field doubles it, "
        "ivtc brings film back to 24 frames/s.",
    )
    video_gaps: Literal["keep", "hold"] = Field(
        "keep", description="Where pictures are missing: keep shows the last one for longer, hold repeats it as frames."
    )
    tonemap: Literal["auto", "off"] = Field(
        "auto", description="High dynamic range (HLG, PQ): auto maps it to BT.709, off keeps it as tagged, in 8 bits."
    )
    audio_bitrate: AudioBitRate = Field(
        192_000,
        description='Bits per second ("192k") of stereo sound that cannot be copied; mono gets about half as many, '
        "5.1 three times as many.",
    )
    dual_mono: Literal["keep", "split", "main", "sub"] = Field(
        "keep", description="Two languages in one stereo track: keep it so, split it in two, or take main or sub alone."
    )
    programme: Literal["auto"] | Annotated[int, Field(ge=1, le=65_535)] = Field(
        "auto", description="Number of the programme to encode where there are several; auto: the one with most video."
    )
    sidecars: tuple[Sidecar, ...] = Field(
        SIDECARS, description="Endings of files beside a recording that are copied beside its output."
    )
    max_damage_ratio: float = Field(
        0.25, gt=0, le=1, description="A recording of which a larger share is damaged or missing has failed."
    )
    accept_damage: bool = Field(
        False, description="Accept each recording's damage, as queue accept does for one: published as NAME.damaged."
    )
    max_size_ratio: float = Field(
        1.0,
        ge=0,
        le=10,
        description="An output that is not smaller than this share of its recording is unwanted; 0: any size will do.",
    )
    verify: Literal["auto", "quick", "full"] = Field(
        "auto",
        description="full decodes the whole output, quick its start, middle and end; auto is full for what a GPU made.",
    )
    after_success: Literal["keep", "move", "delete"] = Field(
        "keep", description="What becomes of the recording once the receipt of its output is on disk."
    )
    move_to: Path | None = Field(None, description='Folder for recordings with after_success = "move".')
    startup_limit_s: Seconds = Field(60, description="Time from the child's start to the first encoded second.")
    stall_limit_s: Seconds = Field(120, description="Longest time without progress in the middle of a recording.")
    drain_limit_s: Seconds = Field(180, description="Longest time without progress at the end: flush, index, check.")
    nice: int = Field(10, ge=0, le=19, description="Niceness of the child; higher is more polite to a recorder.")
    space_margin_mib: int = Field(
        1024, ge=0, le=1_048_576, description="Free space in MiB that must remain in the output folder."
    )

    _check_paths = field_validator("move_to")(_absolute)

    @model_validator(mode="after")
    def _adds_up(self) -> EncodeSettings:
        found = contradiction(self.model_dump())
        if found:
            raise ValueError(found)
        return self

    @model_validator(mode="after")
    def _move_has_a_target(self) -> EncodeSettings:
        if self.after_success == "move" and self.move_to is None:
            raise ValueError('after_success = "move" needs move_to')
        return self


class WatchSettings(Section):
    """One recording folder and where its outputs go."""

    name: Name = Field(description="Short name of the folder, used in the queue, the logs and on the command line.")
    path: Path = Field(description="The folder that recordings appear in.")
    output: Path = Field(description="The folder that finished files are published in; never inside a watch folder.")
    recursive: bool = Field(True, description="Look into subfolders too; outputs keep their subfolder.")
    include: tuple[str, ...] = Field(
        tuple(f"*.{extension}" for extension in EXTENSIONS),
        description="File name patterns that are recordings; upper and lower case are the same.",
    )
    ignore: tuple[str, ...] = Field(
        IGNORED, description="File and folder name patterns that are never looked at; these win over include."
    )
    settle_s: Seconds | None = Field(None, description="Overrides intake.settle_s for this folder.")
    encode: Mapping[str, Any] = Field(
        default_factory=dict, description="Overrides of the encode section for this folder."
    )

    _check_paths = field_validator("path", "output")(_absolute)


class Settings(BaseSettings):
    """All settings. Build with `load`, which turns every mistake into one `SettingsError`."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="ENCODERD_", env_nested_delimiter="__", validate_default=True
    )

    daemon: DaemonSettings = DaemonSettings()
    intake: IntakeSettings = IntakeSettings()
    queue: QueueSettings = QueueSettings()
    preflight: PreflightSettings = PreflightSettings()
    encode: EncodeSettings = EncodeSettings()
    watch: tuple[WatchSettings, ...] = ()

    def encode_for(self, watch: str) -> EncodeSettings:
        """Return the encode section as the watch folder named `watch` overrides it; KeyError if there is none."""
        return EncodeSettings.model_validate(overridden(self.encode.model_dump(), self.folder(watch).encode))

    def folder(self, watch: str) -> WatchSettings:
        """Return the watch folder of that name; KeyError if there is none."""
        for folder in self.watch:
            if folder.name == watch:
                return folder
        raise KeyError(watch)

    @property
    def database(self) -> Path:
        """The queue's SQLite file."""
        return self.queue.database or self.daemon.state_dir / "queue.db"

    @model_validator(mode="after")
    def _folders_are_apart(self) -> Settings:
        names = [folder.name for folder in self.watch]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two watch folders are named {name!r}")
        for folder in self.watch:
            encode = _overridden(self, folder)
            inside = {"output": folder.output, "daemon.state_dir": self.daemon.state_dir}
            if encode.move_to is not None:
                inside["encode.move_to"] = encode.move_to
            for other in self.watch:
                for what, path in inside.items():
                    if _overlap(other.path, path):
                        raise ValueError(
                            f"{what} {path} and the watch folder {other.name!r} ({other.path}) overlap: "
                            "outputs would be taken for recordings and encoded again, without end"
                        )
                if other is not folder and _overlap(other.path, folder.path):
                    raise ValueError(
                        f"the watch folders {folder.name!r} and {other.name!r} overlap ({folder.path}, {other.path}): "
                        "every recording would be encoded twice"
                    )
        return self


def _overridden(settings: Settings, folder: WatchSettings) -> EncodeSettings:
    try:
        return EncodeSettings.model_validate(overridden(settings.encode.model_dump(), folder.encode))
    except ValidationError as error:
        raise ValueError(f"watch folder {folder.name!r}: " + explain(error, EncodeSettings)) from None


def _overlap(one: Path, other: Path) -> bool:
    """Links are followed: two names of one folder overlap too."""
    first, second = Path(os.path.realpath(one)), Path(os.path.realpath(other))
    return first == second or first in second.parents or second in first.parents


def load(file: Path | None = None, arguments: Mapping[str, Any] | None = None) -> Settings:
    """
    Read the settings from `file` (None: no file), the environment and `arguments` ({"daemon": {"concurrency": 2}}).

    Raises:
        SettingsError: the file is missing, is not TOML, or any value is wrong; the message names key and cause.
    """
    remedy = f"Correct {file or 'the settings'}, then: encoderd config check"
    if file is not None and not file.is_file():
        raise SettingsError(
            f"There is no settings file {file}.",
            remedy=f"Copy config/encoderd.toml to {DEFAULT_FILE}, or name yours with --config",
        )
    strangers = unknown_environment(os.environ, Settings)
    if strangers:
        raise SettingsError(strangers, remedy="Unset or rename the variable.")

    class _Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource, dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
            sources: list[PydanticBaseSettingsSource] = [init_settings, env_settings]
            if file is not None:
                sources.append(TomlConfigSettingsSource(settings_cls, toml_file=file))
            return tuple(sources)

    try:
        return _Loaded(**dict(arguments or {}))
    except ValidationError as error:
        raise SettingsError(explain(error, Settings), remedy=remedy) from None
    except (ValueError, OSError) as error:  # TOML syntax, JSON in the environment, an unreadable file
        raise SettingsError(f"The settings cannot be read: {error}", remedy=remedy) from error
