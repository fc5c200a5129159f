"""Plot of training images as augmentation changes them."""

from matplotlib.figure import Figure
from torch import Tensor

from mlpkit.config.dataset import Augment
from mlpkit.config.problems import plural
from mlpkit.data.augment import Augmentation, Draws, mix
from mlpkit.data.dataset import Dataset
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.randomness import generator
from mlpkit.errors import ConfigError
from mlpkit.plots import style
from mlpkit.plots.images import colours_of

COLUMNS = 10
TILE = 0.72  # inches


def draw_augmented(dataset: Dataset, options: Augment) -> bytes:
    """Return the plot as PNG: the first training images as they are, and below them as they are changed.

    There is a row for each change alone, and then one with all of them, as in the first step of a run of
    seed 0. Without options there are only the images.

    Raises:
        ConfigError: the dataset's inputs are not images.
    """
    schema = dataset.input_schema
    if not schema.is_image:
        raise ConfigError(f"--plot: the rows of {dataset.name} are no images; leave it out")
    images = dataset.splits["train"].inputs[:COLUMNS].float()
    rows = {"as they are": images}
    alone = options.alone()
    for name, one in alone.items():
        value = getattr(options, name)
        rows[f"{name.replace('_', ' ')} {value:g}"] = _changed(images, one, schema.input_shape)
    if len(alone) > 1:
        rows["all of them"] = _changed(images, options, schema.input_shape)
    changes = plural(len(alone), "random change") if alone else "no dataset.augment option is set"
    subtitle = f"{dataset.name}: the first {plural(len(images), 'training image')}  ·  {changes}"
    with style.applied():
        return style.render(_draw_rows(schema, rows, subtitle))


def _changed(images: Tensor, options: Augment, shape: tuple[int, ...]) -> Tensor:
    draws = Draws(0, 0, generator(0, "augment"))
    augmentation = Augmentation(options, shape)
    changed = augmentation(images, draws)
    if options.mixup:
        partners, shares = augmentation.mixing(len(images), draws, images)
        changed = mix(changed, partners, shares)
    return changed


def _draw_rows(schema: InputSchema, rows: dict[str, Tensor], subtitle: str) -> Figure:
    """Return the plot of rows of flattened images, each under its name."""
    _, height_of_one, width_of_one = schema.picture_shape
    tall = TILE * height_of_one / width_of_one
    down, across = tall + 0.32, TILE + 0.1
    width = 2 * style.MARGIN + COLUMNS * across - 0.1
    height = style.HEADING + 2 * style.MARGIN + len(rows) * down - 0.1
    figure = style.headed_figure(width, height, "Training images", subtitle, laid_out=False)
    axes = figure.add_axes((0, 0, 1, 1))
    for row, (name, images) in enumerate(rows.items()):
        top = height - style.HEADING - style.MARGIN - row * down - 0.16
        axes.text(style.MARGIN, top + 0.04, name, size=8, va="bottom", color=style.INK)
        shown = images.reshape(-1, *schema.picture_shape).movedim(1, -1).numpy()
        for column, image in enumerate(shown):
            left = style.MARGIN + column * across
            extent = (left, left + TILE, top - tall, top)
            axes.imshow(
                image,
                colours_of(schema),
                vmin=0,
                vmax=1,
                extent=extent,
                aspect="auto",
                interpolation="nearest",
            )
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return figure
