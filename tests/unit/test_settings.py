"""Settings: who goes before whom, and that each mistake is refused in a sentence that names it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from encoderd.errors import ExitCode, SettingsError
from encoderd.settings import Settings, load
from encoderd.settings_errors import known_keys, unknown_environment

TV = """
[[watch]]
name = "tv"
path = "{root}/in"
output = "{root}/out"
"""


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("ENCODERD_")]:
        monkeypatch.delenv(variable)


def loaded(tmp_path: Path, toml: str, **arguments: Any) -> Settings:
    file = tmp_path / "encoderd.toml"
    file.write_text(toml.replace("{root}", str(tmp_path)), "utf-8")
    return load(file, arguments)


def refusal(tmp_path: Path, toml: str, **arguments: Any) -> str:
    with pytest.raises(SettingsError) as refused:
        loaded(tmp_path, toml, **arguments)

    assert refused.value.exit_code is ExitCode.SETTINGS
    assert refused.value.remedy
    return refused.value.message


# Who goes before whom


def test_argument_before_environment_before_file_before_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml = "[encode]\nquality = 30\nnice = 3\naudio_bitrate = 96000\n"
    monkeypatch.setenv("ENCODERD_ENCODE__QUALITY", "31")
    monkeypatch.setenv("ENCODERD_ENCODE__NICE", "4")

    encode = loaded(tmp_path, toml, encode={"quality": 32}).encode

    assert (encode.quality, encode.nice, encode.audio_bitrate, encode.preset) == (32, 4, 96_000, "medium")


def test_each_source_fills_only_its_own_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One key of a section in the environment does not hide the section of the file."""
    monkeypatch.setenv("ENCODERD_ENCODE__CONTAINER", "mkv")

    encode = loaded(tmp_path, '[encode]\npreset = "fast"\n', encode={"nice": 0}).encode

    assert (encode.container, encode.preset, encode.nice) == ("mkv", "fast", 0)


def test_without_a_file_there_are_the_defaults() -> None:
    settings = load()

    assert settings.watch == ()
    assert settings.database == Path("/var/lib/encoderd/queue.db")
    assert settings.daemon.worker


def test_the_database_follows_the_state_folder(tmp_path: Path) -> None:
    assert loaded(tmp_path, '[daemon]\nstate_dir = "/data"\n').database == Path("/data/queue.db")
    assert loaded(tmp_path, '[queue]\ndatabase = "/fast/q.db"\n').database == Path("/fast/q.db")


@pytest.mark.parametrize(
    ("host_name", "worker"),
    [
        ("guest-1.lan", "guest-1.lan"),
        ("", "encoderd"),
        ("--", "encoderd"),
        ("my guest", "my-guest"),
        ("g" * 64, "g" * 63),
    ],
)
def test_any_host_name_makes_a_worker_s_name(host_name: str, worker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: host_name)

    assert load(None, {"daemon": {}}).daemon.worker == worker


def test_settings_do_not_change(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        loaded(tmp_path, "").encode.quality = 1  # type: ignore[misc]  # that is the test


# One mistake, one sentence

MISTAKES = [
    ("[intake]\nsetle_s = 3", "There is no setting intake.setle_s. Did you mean settle_s?"),
    ("[intaek]\nsettle_s = 3", "There is no setting intaek. Did you mean intake?"),
    ("[intake]\nsettle = 3", "There is no setting intake.settle. Did you mean settle_s?"),
    ("[intake]\nwombat = 3", "Known here: allow_blind_mounts, poll_s, rescan_s, settle_s."),
    ('[intake]\nsettle_s = "60s"', "intake.settle_s = '60s'"),
    ('[intake]\nsettle_s = "60s"', "the unit is seconds, a plain number"),
    ('[encode]\nspace_margin_mib = "2 GiB"', "the unit is MiB, a whole number"),
    ('[encode]\naudio_bitrate = "much"', "valid integer"),
    ("[encode]\naudio_bitrate = 192", "greater than or equal to 32000"),
    ("[intake]\nsettle_s = 0", "greater than or equal to 0.05"),
    ("[intake]\nsettle_s = nan", "intake.settle_s = nan"),
    ("[intake]\nsettle_s = inf", "intake.settle_s = inf"),
    ("[encode]\nquality = 52", "encode.quality = 52: input should be less than or equal to 51."),
    ("[encode]\nquality = 20.5", "encode.quality = 20.5"),
    ('[encode]\nencoder = "qsv"', "'h264_qsv', 'auto' or 'libx264'"),
    ('[encode]\nafter_success = "move"', 'after_success = "move" needs move_to.'),
    ('[encode]\nbitrate = "fast"', "encode.bitrate = 'fast'"),
    ("[encode]\nbitrate = 6", "encode.bitrate = 6: input should be greater than or equal to 100000"),
    ('[encode]\nlevel = "41"', "encode.level = '41': write \"auto\" or one of 1.0, "),
    ('[encode]\nlevel = "41"', '6.2, so "4.1".'),
    ("[encode]\nlevel = 7.3", "encode.level = 7.3: write"),
    ("[encode]\nlook_ahead_depth = 9", "greater than or equal to 10"),
    ('[encode]\nextra = { "a b" = "1" }', "encode.extra.a b"),
    ('[daemon]\nstate_dir = "var"', "daemon.state_dir = 'var': the path must be absolute (start with /)."),
    ('[queue]\ndatabase = "q.db"', "queue.database = 'q.db': the path must be absolute"),
    ('[encode]\nmove_to = "done"', "encode.move_to = 'done': the path must be absolute"),
    ('[daemon]\nworker = "two words"', "daemon.worker = 'two words'"),
    ("intake = 3", "intake = 3"),
    ("x = [", "cannot be read: Invalid value (at end of document)"),
    ("[encode]\nquality = 3\n[encode]\nnice = 3", "cannot be read: Cannot declare"),
    ('[watch]\nname = "tv"', "watch = "),
    ('[[watch]]\nname = "tv"', "watch.0.path is missing. watch.0.output is missing."),
    ('[[watch]]\nname = "tv"\npath = "in"\noutput = "/out"', "watch.0.path = 'in': the path must be absolute"),
    (TV + "recursiv = true", "There is no setting watch.0.recursiv. Did you mean recursive?"),
    (TV + "[watch.encode]\nqualty = 3", "Watch folder 'tv': There is no setting qualty. Did you mean quality?"),
    (TV + "[watch.encode]\nquality = 99", "Watch folder 'tv': quality = 99: input should be less than or equal to 51."),
    (TV + '[watch.encode]\nafter_success = "move"', "Watch folder 'tv': after_success = \"move\" needs move_to."),
    (TV + "encode = 3", "watch.0.encode = 3"),
    (TV + TV, "Two watch folders are named 'tv'."),
]


@pytest.mark.parametrize(("toml", "sentence"), MISTAKES)
def test_a_mistake_is_named(toml: str, sentence: str, tmp_path: Path) -> None:
    message = refusal(tmp_path, toml)

    assert sentence in message
    assert message.endswith((".", "?", ")"))
    assert ".." not in message
    assert "?." not in message


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, "[encode]\nquality = 99\nnicee = 1\n[intake]\npoll_s = -1\n")

    assert all(word in message for word in ("encode.quality", "nicee", "intake.poll_s"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for file in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(SettingsError, match="There is no settings file") as refused:
            load(file)

        assert "/etc/encoderd/encoderd.toml" in refused.value.remedy


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "encoderd.toml"
    file.write_bytes(b"\xff\xfe\x00[")

    with pytest.raises(SettingsError, match="cannot be read"):
        load(file)


def test_an_argument_is_held_to_the_same_bounds(tmp_path: Path) -> None:
    assert "encode.quality = 77" in refusal(tmp_path, "", encode={"quality": 77})
    assert "Did you mean quality?" in refusal(tmp_path, "", encode={"qualit": 7})


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("ENCODERD_ENCODE__QUALTY", "9", "There is no setting ENCODERD_ENCODE__QUALTY. Did you mean quality?"),
        ("ENCODERD_ENCOD__QUALITY", "9", "There is no setting ENCODERD_ENCOD__QUALITY. Did you mean encode?"),
        ("ENCODERD_ENCODE__QUALITY", "", "encode.quality = ''"),
        ("ENCODERD_ENCODE__QUALITY", "high", "encode.quality = 'high'"),
        ("ENCODERD_ENCODE__QUALITY__X", "9", "encode.quality = "),
        ("ENCODERD_ENCODE", '{"qualit": 9}', "There is no setting encode.qualit. Did you mean quality?"),
        ("ENCODERD_WATCH", "[", "cannot be read"),
        ("ENCODERD_WATCH__0__NAME", "tv", "There is no setting ENCODERD_WATCH__0__NAME."),
    ],
)
def test_a_mistake_in_the_environment_is_named(
    variable: str, value: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    assert sentence in refusal(tmp_path, "")


def test_other_variables_are_not_ours_to_judge() -> None:
    environment = {"ENCODERD_TEST_RENDER_NODE": "/dev/dri/renderD128", "ENCODER__X": "1", "PATH": "/bin"}

    assert unknown_environment(environment, Settings) == ""


def test_watch_folders_can_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCODERD_WATCH", '[{"name": "tv", "path": "/in", "output": "/out"}]')

    assert loaded(tmp_path, "").folder("tv").output == Path("/out")


def test_known_keys_follow_the_model() -> None:
    assert "watch" in known_keys(Settings, ())
    assert "recursive" in known_keys(Settings, ("watch", 0))
    assert known_keys(Settings, ("encode", "quality")) == []


# Watch folders


def test_a_watch_folder_overrides_the_encode_section(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "[encode]\nquality = 20\nnice = 1\n" + TV + "[watch.encode]\nquality = 30\n")

    assert (settings.encode_for("tv").quality, settings.encode_for("tv").nice) == (30, 1)
    assert settings.encode.quality == 20
    with pytest.raises(KeyError):
        settings.encode_for("radio")


def two(first: dict[str, str], second: dict[str, str]) -> str:
    blocks = []
    for name, paths in (("one", first), ("two", second)):
        lines = [f'{key} = "{{root}}/{path}"' for key, path in paths.items()]
        blocks.append("\n".join(["[[watch]]", f'name = "{name}"', *lines]))
    return "\n".join(blocks) + "\n"


ONE = {"path": "in", "output": "out"}
OVERLAPS = [
    # An output that would be seen as a recording: encoded again, without end.
    (TV.replace("/out", "/in"), "output"),
    (TV.replace("/out", "/in/encoded"), "output"),
    (TV.replace("/in", "/out/raw"), "output"),
    (TV.replace("/out", "/other/../in"), "output"),
    (TV.replace("/out", "/link-to-in"), "output"),
    (TV.replace("/out", "/link-to-in/encoded"), "output"),
    (two(ONE, {"path": "in2", "output": "in"}), "output"),
    (two(ONE, {"path": "in2", "output": "in/deep/er"}), "output"),
    (two(ONE, {"path": "out", "output": "out2"}), "output"),
    ('[daemon]\nstate_dir = "{root}/in/.state"\n' + TV, "daemon.state_dir"),
    ('[daemon]\nstate_dir = "{root}"\n' + TV, "daemon.state_dir"),
    ('[encode]\nafter_success = "move"\nmove_to = "{root}/in/done"\n' + TV, "encode.move_to"),
    (TV + '[watch.encode]\nafter_success = "move"\nmove_to = "{root}/link-to-in"\n', "encode.move_to"),
    # One recording that two folders see: encoded twice.
    (two(ONE, {"path": "in", "output": "out2"}), "every recording would be encoded twice"),
    (two(ONE, {"path": "in/sub", "output": "out2"}), "every recording would be encoded twice"),
    (two(ONE, {"path": "link-to-in", "output": "out2"}), "every recording would be encoded twice"),
]


@pytest.mark.parametrize(("toml", "sentence"), OVERLAPS)
def test_folders_that_would_feed_each_other_are_refused(toml: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "link-to-in").symlink_to("in")
    message = refusal(tmp_path, toml)

    assert sentence in message
    assert "overlap" in message


@pytest.mark.parametrize(
    "toml",
    [
        two(ONE, {"path": "in2", "output": "out"}),
        two({"path": "in", "output": "in.encoded"}, {"path": "in2", "output": "in-2"}),
        '[daemon]\nstate_dir = "{root}/out/state"\n' + TV,
        TV + '[watch.encode]\nafter_success = "move"\nmove_to = "{root}/done"\n',
    ],
)
def test_folders_that_lie_apart_are_accepted(toml: str, tmp_path: Path) -> None:
    """Also where names only begin alike, and where two folders share their output."""
    assert loaded(tmp_path, toml).watch


# How the video is encoded: what FFmpeg would turn into something else without a word

RATES = 'bitrate = "4M"\nmax_bitrate = "6M"\n'


def encode_of(tmp_path: Path, lines: str) -> Any:
    return loaded(tmp_path, f"[encode]\n{lines}").encode


@pytest.mark.parametrize(
    "lines",
    [
        "quality = 20",
        'rate_control = "la_icq"',
        'rate_control = "la_icq"\nlook_ahead_depth = 60\nlow_power = "off"',
        'rate_control = "cqp"\nquality = 20',
        f'rate_control = "qvbr"\nquality = 20\n{RATES}',
        'rate_control = "vbr"\nbitrate = "4M"\nquality = 23',  # as the shipped file has it: it says nothing
        f'rate_control = "vbr"\nlook_ahead_depth = 40\n{RATES}',
        'rate_control = "cbr"\nbitrate = 4000000',
        'profile = "baseline"\nbframes = 0',
        'profile = "baseline"',
        'encoder = "libx264"\nrate_control = "la_icq"\nlow_power = "on"',
        'extra = { i_qfactor = "0.9", x264-params = "no-mbtree=1:aq-mode=3" }',
    ],
)
def test_what_adds_up_is_accepted(lines: str, tmp_path: Path) -> None:
    assert encode_of(tmp_path, lines)


@pytest.mark.parametrize(
    ("lines", "sentence", "way_out"),
    [
        ('bitrate = "4M"', 'bitrate is not used by rate_control = "icq"', 'rate_control = "qvbr"'),
        ('rate_control = "la_icq"\nmax_bitrate = "4M"', "max_bitrate is not used", 'rate_control = "qvbr"'),
        ('rate_control = "cqp"\nbitrate = "4M"', "bitrate is not used", "leave it out"),
        ('rate_control = "vbr"', 'rate_control = "vbr" needs a bit rate', 'bitrate = "6M"'),
        ('rate_control = "cbr"', 'rate_control = "cbr" needs a bit rate', 'bitrate = "6M"'),
        ('rate_control = "qvbr"', 'rate_control = "qvbr" needs a bit rate', 'bitrate = "6M"'),
        ('rate_control = "qvbr"\nbitrate = "4M"', "needs max_bitrate", "max_bitrate = 8000000"),
        (
            'rate_control = "vbr"\nbitrate = "4M"\nmax_bitrate = "4M"',
            "max_bitrate (4000000) must be above bitrate (4000000): FFmpeg would make cbr of it",
            'rate_control = "cbr"',
        ),
        ('rate_control = "vbr"\nbitrate = "4M"\nmax_bitrate = "3M"', "must be above bitrate", "raise max_bitrate"),
        ('rate_control = "qvbr"\nbitrate = "4M"\nmax_bitrate = "4M"', "must be above bitrate", "raise max_bitrate"),
        (f'rate_control = "cbr"\n{RATES}', "max_bitrate has no place in a constant rate", 'rate_control = "vbr"'),
        (f'rate_control = "vbr"\nquality = 20\n{RATES}', "quality = 20 is not used", 'rate_control = "qvbr"'),
        ('rate_control = "cbr"\nbitrate = "4M"\nquality = 20', "quality = 20 is not used", "leave it out"),
        ("look_ahead_depth = 40", 'look_ahead_depth is not used by rate_control = "icq"', 'rate_control = "la_icq"'),
        (f'rate_control = "qvbr"\nlook_ahead_depth = 40\n{RATES}', "look_ahead_depth is not", 'rate_control = "vbr"'),
        ('rate_control = "la_icq"\nlow_power = "on"', "only the full encoder (VME) looks ahead", 'low_power = "auto"'),
        ('profile = "baseline"\nbframes = 2', 'cannot be had with profile = "baseline"', "bframes = 0"),
        ('extra = { global_quality = "20" }', "extra.global_quality would go behind the back", "write quality instead"),
        ('extra = { maxrate = "6M" }', "extra.maxrate", "write max_bitrate instead"),
        ('extra = { flags = "+qscale" }', "extra.flags", "write rate_control instead"),
        ("extra = { bf = 3 }", "extra.bf", "write bframes instead"),
        ("extra = { forced_idr = 0 }", "extra.forced_idr cannot be set", "leave it out"),
        ("extra = { threads = 1 }", "extra.threads cannot be set", "leave it out"),
        ("extra = { aud = 1 }", "extra.aud cannot be set", "leave it out"),
        ("extra = { skip_frame = 3 }", "extra.skip_frame cannot be set", "leave it out"),
        ('extra = { x264-params = "no_open_gop=1" }', "extra.x264-params with no_open_gop cannot be", "leave it out"),
        ('extra = { x264-params = "vbv_maxrate=5000" }', "with vbv_maxrate would go", "write max_bitrate instead"),
        (
            'extra = { x264-params = "aq-mode=1:crf=20" }',
            "extra.x264-params with crf would go",
            "write quality instead",
        ),
        ('extra = { qsv_params = "TargetUsage=7" }', "extra.qsv_params with TargetUsage", "write preset instead"),
    ],
)
def test_what_does_not_add_up_is_refused(lines: str, sentence: str, way_out: str, tmp_path: Path) -> None:
    """What it is, why, and what to write instead; a folder's own settings are held to the same."""
    section = refusal(tmp_path, f"[encode]\n{lines}\n")
    folder = refusal(tmp_path, f"{TV}[watch.encode]\n{lines}\n")

    assert section.startswith("encode: ")
    assert folder == f"Watch folder 'tv': {section.removeprefix('encode: ')}"
    assert sentence in section
    assert way_out in section


@pytest.mark.parametrize(
    ("given", "read"),
    [('"6M"', 6_000_000), ('"800k"', 800_000), ('"1.5M"', 1_500_000), ("6000000", 6_000_000), ('"6000000"', 6_000_000)],
)
def test_a_bit_rate_is_written_as_ffmpeg_takes_it(given: str, read: int, tmp_path: Path) -> None:
    assert encode_of(tmp_path, f'rate_control = "vbr"\nbitrate = {given}').bitrate == read


@pytest.mark.parametrize(
    ("given", "read"),
    [('"auto"', "auto"), ('"4.1"', "4.1"), ('"4"', "4.0"), ("4", "4.0"), ("4.1", "4.1"), ("5.0", "5.0")],
)
def test_a_level_is_written_as_the_standard_has_it(given: str, read: str, tmp_path: Path) -> None:
    assert encode_of(tmp_path, f"level = {given}").level == read


def test_options_of_the_encoder_need_no_quotes(tmp_path: Path) -> None:
    extra = encode_of(tmp_path, 'extra = { rdo = 1, i_qfactor = 0.9, mbbrc = true, scenario = "archive" }').extra

    assert dict(extra) == {"rdo": "1", "i_qfactor": "0.9", "mbbrc": "1", "scenario": "archive"}


@pytest.mark.parametrize(
    ("section", "folder", "expected"),
    [
        (f'rate_control = "vbr"\n{RATES}', 'rate_control = "icq"', {"rate_control": "icq", "bitrate": None}),
        (f'rate_control = "vbr"\n{RATES}', 'rate_control = "cbr"', {"bitrate": 4_000_000, "max_bitrate": None}),
        (f'rate_control = "vbr"\n{RATES}', 'rate_control = "qvbr"', {"max_bitrate": 6_000_000, "quality": 23}),
        (f'rate_control = "vbr"\n{RATES}', 'bitrate = "5M"', {"rate_control": "vbr", "bitrate": 5_000_000}),
        ("quality = 20", 'rate_control = "cbr"\nbitrate = "4M"', {"quality": 23}),
        ("quality = 20", 'rate_control = "cqp"', {"quality": 20}),
        ('rate_control = "la_icq"\nlook_ahead_depth = 60', 'rate_control = "icq"', {"look_ahead_depth": None}),
        ("extra = { rdo = 1 }", 'encoder = "libx264"', {"extra": {}}),
        ("extra = { rdo = 1 }", 'encoder = "auto"', {"extra": {"rdo": "1"}}),
    ],
)
def test_a_folder_with_its_own_rate_control_takes_over_what_that_one_uses(
    section: str, folder: str, expected: dict[str, Any], tmp_path: Path
) -> None:
    """No line of TOML could unset the rest. The options of another encoder are left behind as well."""
    settings = loaded(tmp_path, f"[encode]\n{section}\n{TV}[watch.encode]\n{folder}\n")

    assert expected == {key: settings.encode_for("tv").model_dump()[key] for key in expected}


def test_the_host_s_helper_has_variables_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guest and host may be one machine in somebody's trial: what is meant for the helper is no mistake here."""
    monkeypatch.setenv("ENCODERD_HOST_VM__CPUS", "2")

    assert load().daemon.concurrency == 1
