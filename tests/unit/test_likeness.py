"""PSNR, SSIM and the few places by which a picture is told from another; which seconds are sampled."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from encoderd.encode.likeness import (
    EQUAL_DB,
    LEAST_SECONDS,
    MOST_SECONDS,
    WRONG_DB,
    Luma,
    places,
    psnr_db,
    sampled,
    ssim,
    strips,
)

WIDTH, HEIGHT = 720, 480


def picture(seed: int = 1) -> Luma:
    """Soft blobs over the whole range, as films have them: noise made smooth."""
    coarse = np.random.default_rng(seed).integers(16, 236, (HEIGHT // 40, WIDTH // 40))
    return np.kron(coarse, np.ones((40, 40))).astype(np.uint8)


def noisy(luma: Luma, sigma: float, seed: int = 2) -> Luma:
    noise = np.random.default_rng(seed).normal(0, sigma, luma.shape)
    return np.clip(luma + noise, 0, 255).astype(np.uint8)


def test_equal_pictures() -> None:
    one = strips(picture())

    assert psnr_db(one, one) == EQUAL_DB
    assert ssim(one, one) == pytest.approx(1.0)


@pytest.mark.parametrize(("difference", "expected_db"), [(1, 48.13), (5, 34.15), (255, 0.0)])
def test_psnr_is_as_defined(difference: int, expected_db: float) -> None:
    """10 · log10(255² / MSE); the difference of unsigned bytes must not wrap."""
    black = np.zeros((16, 16), np.uint8)

    assert psnr_db(black, black + np.uint8(difference)) == pytest.approx(expected_db, abs=0.01)
    assert psnr_db(black + np.uint8(difference), black) == pytest.approx(expected_db, abs=0.01)


def test_ssim_of_one_block_by_hand() -> None:
    """Against the formula, written out for a single block of 8 × 8."""
    random = np.random.default_rng(3)
    one, other = (random.integers(0, 256, (1, 8, 8), np.uint8) for _ in range(2))
    x, y = one.ravel().astype(float), other.ravel().astype(float)
    c1, c2 = 6.5025, 58.5225
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    expected = ((2 * x.mean() * y.mean() + c1) * (2 * covariance + c2)) / (
        (x.mean() ** 2 + y.mean() ** 2 + c1) * (x.var() + y.var() + c2)
    )

    assert ssim(one, other) == pytest.approx(expected, abs=1e-4)


def test_ssim_falls_with_noise() -> None:
    found = [ssim(strips(picture()), strips(noisy(picture(), sigma))) for sigma in (0, 5, 20, 60)]

    assert found == sorted(found, reverse=True)
    assert found[0] > 0.99
    assert found[-1] < 0.5


@pytest.mark.parametrize("size", [(1080, 1440), (1080, 1920), (480, 720), (240, 320), (90, 98), (8, 8), (16, 9)])
def test_what_is_kept_of_a_picture(size: tuple[int, int]) -> None:
    """Bands of 8 whole lines, a quarter of them; of the places a few hundred, whatever the size."""
    luma = np.random.default_rng(4).integers(0, 256, size, np.uint8)
    bands, thin = strips(luma), places(luma)

    assert bands.shape == (-(-(size[0] // 8) // 4), 8, size[1] // 8 * 8)
    assert np.array_equal(bands[0], luma[:8, : size[1] // 8 * 8])
    assert thin.size <= 18 * 48
    assert thin[0, 0] == pytest.approx(luma[:4, :4].mean())


@pytest.mark.parametrize("size", [(7, 7), (2, 2), (1, 1), (3, 500), (500, 3)])
def test_pictures_too_small_for_a_block(size: tuple[int, int]) -> None:
    """A damaged header may claim any size."""
    luma = np.zeros(size, np.uint8)

    assert ssim(strips(luma), strips(luma)) == 1.0
    assert psnr_db(strips(luma), strips(luma)) == EQUAL_DB
    assert psnr_db(places(luma), places(luma)) == EQUAL_DB


def test_a_plane_with_padding_is_read_without_it() -> None:
    plane = np.full((480, 768), 255, np.uint8)
    plane[:, :720] = picture()

    assert np.array_equal(strips(plane[:, :720]), strips(picture()))
    assert np.array_equal(places(plane[:, :720]), places(picture()))


@pytest.mark.parametrize("size", [(1080, 1440), (145, 257), (5, 5000), (4, 4)])
def test_places_are_the_means_of_4_by_4_pixels(size: tuple[int, int]) -> None:
    """The brightest picture too: its sums are 4080, which 8 bits do not hold."""
    luma = np.random.default_rng(1).integers(0, 256, size, np.uint8)
    luma[:, ::2] = 255
    rows, columns = size[0] // 4, size[1] // 4
    expected = [
        [luma[row : row + 4, column : column + 4].mean() for column in range(0, columns * 4, -(-columns // 48) * 4)]
        for row in range(0, rows * 4, -(-rows // 18) * 4)
    ]

    assert places(luma).tolist() == expected


def test_places_tell_other_pictures_from_coarse_ones() -> None:
    """Snow that lost all its detail is still the same picture; one that is inverted, green, or another one is not."""
    snow = np.random.default_rng(5).integers(0, 256, (HEIGHT, WIDTH), np.uint8)
    flat = np.full_like(snow, 127)

    assert psnr_db(places(snow), places(flat)) > WRONG_DB + 10
    assert psnr_db(strips(snow), strips(flat)) < WRONG_DB + 1  # which is why they are not what decides
    for other in (255 - picture(), np.zeros_like(snow), picture(seed=9)):
        assert psnr_db(places(picture()), places(other)) < WRONG_DB


@pytest.mark.parametrize("duration_s", [0.4, 1.0, 2.0, 3.0, 10.0, 59.9, 600.0, 1800.0, 7201.3, 21_600.0])
def test_the_sampled_seconds(duration_s: float) -> None:
    """Three to 24 of them, spread over the recording, the first, one in the middle and one near the end among them."""
    samples = sampled(duration_s)
    found = [second for second in range(-2, int(duration_s) + 1) if samples.wants(second)]
    whole = max(1, int(duration_s))

    assert min(LEAST_SECONDS, whole) <= len(found) <= MOST_SECONDS
    assert found[0] == 0
    assert whole // 2 in found
    assert whole - found[-1] <= max(2, whole * 0.05)
    assert max((later - one for one, later in pairwise(found)), default=0) <= max(1, whole / 2)


@pytest.mark.parametrize("duration_s", [None, 0.0, -3.0, 1e9, float("nan"), float("inf")])
def test_a_duration_that_nobody_knows(duration_s: float | None) -> None:
    """One second in each minute."""
    samples = sampled(duration_s)

    assert [second for second in range(180) if samples.wants(second)] == [0, 60, 120]
