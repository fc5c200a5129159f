"""Augmentation is the affine map of its draws, computed here by scipy one image at a time, and the like."""

import math

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from scipy.ndimage import affine_transform, gaussian_filter, map_coordinates

from mlpkit.cli.main import run as command
from mlpkit.config.dataset import Augment
from mlpkit.data.augment import Augmentation, Draws, augmentation_of
from mlpkit.data.elastic import EPOCHS, MOST_NUMBERS, draw_pool
from mlpkit.data.randomness import generator


def pictures(count, height, width):
    """Return smooth pictures, black towards the frame."""
    y, x = torch.linspace(-1, 1, height).reshape(-1, 1), torch.linspace(-1, 1, width)
    rates = torch.rand(3, count, 1, 1, generator=torch.Generator().manual_seed(0)) * 6
    waves = 0.5 + 0.5 * torch.sin(rates[0] * x + rates[1] * y + rates[2])
    return waves * (1 - x**2) * (1 - y**2)


def augment(images, shape, options, random, seed=0, epoch=0):
    """Return augmented copies of flattened images."""
    return Augmentation(options, shape)(images, Draws(seed, epoch, random))


def draws(count, random):
    """Return what augment draws, from -1 to 1: rotation, scale, shift to the right and down."""
    return (torch.rand(4, count, generator=random) * 2 - 1).tolist()


OPTIONS = [
    Augment(rotation=180.0),
    Augment(translation=3.0),
    Augment(scale=0.4),
    Augment(rotation=15.0, translation=2.5, scale=0.2),
    Augment(rotation=90.0, translation=1.0, scale=0.9),
]


@pytest.mark.parametrize("shape", [(28, 28), (8, 8), (10, 17)])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equals_scipy(options, shape):
    images = pictures(12, *shape)
    changed = augment(images.flatten(1), shape, options, generator(0, "augment")).reshape(images.shape)
    centre = (np.array(shape) - 1) / 2
    drawn = zip(images, changed, *draws(12, generator(0, "augment")), strict=True)
    for image, result, rotation, scale, right, down in drawn:
        angle = math.radians(rotation * options.rotation)
        zoom = 1 + scale * options.scale
        # scipy asks, for each place (row, column) of the result, where it comes from
        matrix = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]) / zoom
        shift = np.array([down, right]) * options.translation
        expected = affine_transform(
            image.double().numpy(),
            matrix,
            offset=centre + shift - matrix @ centre,
            order=1,
            mode="grid-constant",  # outside is black, and the frame fades into it
        )
        np.testing.assert_allclose(result.numpy(), expected, atol=1e-5)


def draws_with(condition):
    """Return a seed whose draws for one image meet a condition, and those draws."""
    for seed in range(1000):
        drawn = [values[0] for values in draws(1, torch.Generator().manual_seed(seed))]
        if condition(*drawn):
            return seed, drawn
    raise AssertionError("no such draws")


@pytest.mark.parametrize("turns", [1, -1])
def test_a_quarter_turn(turns):
    seed, (rotation, *_) = draws_with(lambda rotation, *_: rotation * turns > 0.5)
    options = Augment(rotation=90 / abs(rotation))
    image = torch.rand(1, 9, 9, generator=torch.Generator().manual_seed(1))
    turned = augment(image.flatten(1), (9, 9), options, torch.Generator().manual_seed(seed))
    expected = torch.rot90(image, turns, dims=(1, 2))
    torch.testing.assert_close(turned.reshape(1, 9, 9), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("axis", ["right", "down"])
@pytest.mark.parametrize("pixels", [1, 3, -2])
def test_a_shift_by_whole_pixels(axis, pixels):
    """Of stripes, so that the shift along them changes nothing but the frame."""
    index = 2 if axis == "right" else 3
    seed, drawn = draws_with(lambda *drawn: drawn[index] * pixels > 0 and abs(drawn[index]) > 0.7)
    options = Augment(translation=pixels / drawn[index])
    stripes = torch.rand(20, generator=torch.Generator().manual_seed(1))
    image = stripes.expand(20, 20) if axis == "right" else stripes.reshape(20, 1).expand(20, 20)
    shifted = augment(image.reshape(1, -1), (20, 20), options, torch.Generator().manual_seed(seed))
    inside = slice(6, 14)  # where nothing from outside has come in
    expected = torch.roll(image, -pixels, dims=1 if axis == "right" else 0)
    torch.testing.assert_close(
        shifted.reshape(20, 20)[inside, inside], expected[inside, inside], atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("shape", [(28, 28), (5, 11)])
def test_without_options_images_stay_as_they_are(shape):
    images = torch.rand(10, shape[0] * shape[1], generator=torch.Generator().manual_seed(1))
    unchanged = augment(images, shape, Augment(), generator(0, "augment"))
    torch.testing.assert_close(unchanged, images, atol=1e-5, rtol=0)


def test_what_comes_from_outside_is_black():
    white = torch.ones(500, 64)
    changed = augment(white, (8, 8), Augment(translation=8.0), generator(0, "augment")).reshape(500, 8, 8)
    assert changed.amin() == 0 and changed.amax() == pytest.approx(1)
    away = torch.tensor(draws(500, generator(0, "augment")))[2].mul(8).abs()
    whole = (changed > 0.999).any(1).sum(1)  # columns with a pixel that is still white
    assert (whole <= 8 - away.floor()).all()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_each_image_has_its_own_draw_from_the_generator(options):
    images = pictures(1, 12, 12).flatten(1).expand(20, -1)
    first, again, other = (
        augment(images, (12, 12), options, generator(0, "augment", epoch=epoch)) for epoch in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({tuple(image) for image in first.tolist()}) == 20
    assert torch.equal(images, pictures(1, 12, 12).flatten(1).expand(20, -1))  # changed copies


CHANGES = [
    *({}, {"rotation": 9.0}, {"translation": 0.1}, {"scale": 0.1}, {"elastic": 1.0}),
    *({"horizontal_flip": 0.5}, {"brightness": 0.2}, {"cutout": 3}, {"elastic_sigma": 2.0}),
]


@pytest.mark.parametrize("changed", CHANGES, ids=str)
def test_only_options_that_change_something_make_a_function(changed):
    options, images = Augment(**changed), pictures(5, 6, 8).flatten(1)
    function = augmentation_of(options, (6, 8))
    if not changed or "elastic_sigma" in changed:
        assert function is None
    else:
        expected = augment(images, (6, 8), options, generator(0, "augment"))
        assert torch.equal(function(images, Draws(0, 0, generator(0, "augment"))), expected)


# ------------------------------------------------------------------------------------------- elastic


def test_elastic_displacements_equal_scipy():
    height, width, count = 12, 17, 6
    options, images = Augment(elastic=2.0), pictures(count, height, width)
    changed = augment(images.flatten(1), (height, width), options, generator(0, "augment"), seed=5)
    pool = draw_pool(2.0, 4.0, height, width, 5, 0, images).view(-1, height, width, 2)
    random = generator(0, "augment")
    torch.rand(4, count, generator=random)
    chosen = torch.randint(len(pool), (count,), generator=random)
    rows, columns = np.mgrid[:height, :width]
    for image, result, field in zip(images, changed.view(-1, height, width), pool[chosen], strict=True):
        right, down = field[..., 0] * width / 2, field[..., 1] * height / 2
        places = [rows + down.numpy(), columns + right.numpy()]
        expected = map_coordinates(image.numpy(), places, order=1, mode="grid-constant")
        np.testing.assert_allclose(result.numpy(), expected, atol=1e-5)
        assert (result - image).abs().max() > 0.01


@pytest.mark.parametrize("sigma", [1.5, 4.0])
def test_fields_are_noise_smoothed_by_a_gaussian(sigma):
    size, like = 64, torch.zeros(1)
    fields = draw_pool(3.0, sigma, size, size, 0, 0, like).view(-1, size, size, 2) * size / 2
    noise = torch.randn(len(fields), 2, size, size, generator=generator(0, "elastic", 0))
    smooth = gaussian_filter(noise[0].double().numpy(), (0, sigma, sigma), mode="constant", truncate=40)
    # The same up to the strength of the field.
    ratio = fields[0].movedim(-1, 0).double().numpy() / smooth
    np.testing.assert_allclose(ratio, np.median(ratio), rtol=1e-3)
    strengths = fields.square().sum(-1).mean((1, 2)).sqrt()
    assert len(fields) == MOST_NUMBERS // (2 * size**2)
    assert 0 <= strengths.min() < 0.1
    assert 2.9 < strengths.max() <= 3.001


def test_the_pool_is_a_function_of_the_seed_and_of_a_few_epochs():
    images, options = pictures(30, 9, 9).flatten(1), Augment(elastic=1.0)
    kept = Augmentation(options, (9, 9))

    def at(augmentation, seed, epoch):
        return augmentation(images, Draws(seed, epoch, generator(0, "augment")))

    first = at(kept, 0, 0)
    assert torch.equal(at(kept, 0, EPOCHS - 1), first)
    assert not torch.equal(at(kept, 0, EPOCHS), first)
    assert not torch.equal(at(kept, 1, 0), first)
    assert torch.equal(at(kept, 0, EPOCHS + 1), at(Augmentation(options, (9, 9)), 0, EPOCHS))
    assert torch.equal(at(kept, 0, 0), first)


# --------------------------------------------------------------------------- flips, light and squares


def test_flips_mirror_a_share_of_the_images():
    images = torch.rand(400, 3 * 5 * 4, generator=torch.Generator().manual_seed(1))
    options = Augment(horizontal_flip=0.25)
    changed = augment(images, (3, 5, 4), options, generator(0, "augment")).view(-1, 3, 5, 4)
    before = images.view(-1, 3, 5, 4)
    is_same, is_flipped = ((changed == each).flatten(1).all(1) for each in (before, before.flip(-1)))
    assert (is_same ^ is_flipped).all()
    assert 70 < is_flipped.sum() < 130


def test_brightness_multiplies_an_image_by_one_number():
    images = torch.rand(300, 6 * 6, generator=torch.Generator().manual_seed(1))
    changed = augment(images, (6, 6), Augment(brightness=0.3), generator(0, "augment"))
    assert changed.max() == 1
    factors = torch.where(changed < 1, changed / images, torch.nan)
    lowest, highest = (factors.nan_to_num(fill) for fill in (9.0, 0.0))
    torch.testing.assert_close(lowest.amin(1), highest.amax(1))
    assert 0.7 <= highest.amax(1).min() < 0.72
    assert 1.28 < highest.amax(1).max() <= 1.3


@pytest.mark.parametrize("side", [1, 4, 5])
def test_cutout_is_a_black_square_around_a_pixel(side):
    white = torch.ones(2000, 3 * 9 * 12)
    changed = augment(white, (3, 9, 12), Augment(cutout=side), generator(0, "augment")).view(-1, 3, 9, 12)
    assert (changed[:, :1] == changed).all()
    black = changed[:, 0] == 0
    heights, widths = black.any(2).sum(1), black.any(1).sum(1)
    assert (black.flatten(1).sum(1) == heights * widths).all()
    for lengths, size in ((heights, 9), (widths, 12)):
        assert (lengths.max(), lengths.min()) == (side, side - side // 2)
        assert (lengths == side).sum() > 2000 * (size - side - 2) / size
    assert (black.float().mean(0) > 0).all()


# ------------------------------------------------------------------------------------------- picture


def test_data_draws_each_change_and_all_together(tmp_path, monkeypatch):
    path, drawn = tmp_path / "a.png", []
    show = Axes.imshow
    monkeypatch.setattr(
        Axes, "imshow", lambda self, image, *a, **k: drawn.append(image) or show(self, image, *a, **k)
    )
    changes = ("dataset.augment.rotation=10", "dataset.augment.mixup=1", "dataset.augment.elastic=0.5")
    assert command(["data", "dataset=digits", *changes, "--plot", str(path)]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    rows = np.stack(drawn).reshape(5, 10, 8, 8)  # as they are, three changes, all of them
    assert [np.abs(row - rows[0]).max() > 0.05 for row in rows] == [False, True, True, True, True]
