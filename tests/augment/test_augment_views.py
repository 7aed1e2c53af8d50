"""Views: what both pipelines promise whatever is drawn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rs_otl.augment import augmentation
from rs_otl.augment.geometry import ORIENTATIONS
from rs_otl.augment.operations import OPERATIONS
from rs_otl.errors import InputError

NAMES = ("simple", "strong")


def views(name, bands=3, size=16, rgb=False):
    """Views that keep [0, 1], so that their range can be seen."""
    return augmentation(name, size, [0.0] * bands, [1.0] * bands, rgb)


def images(n=5, bands=3, side=20, seed=0):
    return torch.rand(n, bands, side, side, generator=torch.Generator().manual_seed(seed))


def eight_bit(n=5, bands=3, side=20, seed=0):
    return (images(n, bands, side, seed) * 255).round().to(torch.uint8)


KINDS = (images, eight_bit)


def rows(draw, index):
    return type(draw)(*(field[index] for field in draw))


@settings(deadline=None, max_examples=25)
@given(
    name=st.sampled_from(NAMES),
    seed=st.integers(0, 2**31),
    n=st.integers(1, 6),
    bands=st.integers(1, 5),
    size=st.integers(3, 24),
    kind=st.sampled_from(KINDS),
)
def test_views_have_the_asked_shape_and_stay_in_range(name, seed, n, bands, size, kind):
    torch.manual_seed(seed)
    seen = views(name, bands, size)(kind(n, bands))
    assert seen.shape == (n, bands, size, size)
    assert seen.dtype == torch.float32
    assert seen.min() >= -1e-6
    assert seen.max() <= 1 + 1e-6


@settings(deadline=None, max_examples=25)
@given(
    name=st.sampled_from(NAMES),
    seed=st.integers(0, 2**31),
    data=st.data(),
    kind=st.sampled_from(KINDS),
)
def test_each_image_is_viewed_by_itself(name, seed, data, kind):
    order = torch.tensor(data.draw(st.permutations(range(5))))
    torch.manual_seed(seed)
    view, batch = views(name), kind()
    draw = view.sample(5)
    torch.testing.assert_close(
        view(batch[order], rows(draw, order)), view(batch, draw)[order], rtol=0, atol=1e-6
    )
    torch.testing.assert_close(
        view(batch[:1], rows(draw, slice(1))), view(batch, draw)[:1], rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_draw_can_be_replayed(name, kind):
    view, batch = views(name), kind()
    draw = view.sample(len(batch))
    assert torch.equal(view(batch, draw), view(batch, draw))


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_the_views(name):
    view, batch = views(name), images(8)
    torch.manual_seed(3)
    first, second = view(batch), view(batch)
    torch.manual_seed(3)
    assert torch.equal(view(batch), first)
    assert torch.equal(view(batch), second)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("bands", "rgb", "size"), [(3, True, 24), (4, False, 13), (1, False, 41)])
def test_eight_bit_simple_views_are_those_of_the_same_images_in_float32(bands, rgb, size):
    view, batch = views("simple", bands, size, rgb), eight_bit(64, bands)
    draw = view.sample(64)
    assert len(torch.unique(draw.crops[:, :, :2].sign(), dim=0)) == 8  # every orientation
    assert 0 < draw.grey.sum() < 64
    # A hundredth of a grey level.
    torch.testing.assert_close(
        view(batch, draw), view(batch.float() / 255, draw), rtol=0, atol=0.01 / 255
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_number_of_threads_changes_no_view(name, monkeypatch):
    view, batch = views(name), eight_bit(7)
    draw = view.sample(7)
    seen = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        seen.append(view(batch, draw))
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])


@pytest.mark.parametrize("name", NAMES)
def test_images_are_drawn_apart(name):
    same = images(1).expand(12, -1, -1, -1)
    seen = views(name)(same)
    assert len(torch.unique(seen.flatten(1), dim=0)) == 12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_the_images_given_are_left_alone(name, kind):
    batch = kind()
    before = batch.clone()
    views(name)(batch)
    assert torch.equal(batch, before)


@pytest.mark.parametrize("name", NAMES)
def test_views_have_no_parameters_and_no_state(name):
    view = views(name)
    assert sum(p.requires_grad for p in view.parameters()) == 0
    assert view.state_dict() == {}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_views_are_float32_under_autocast_and_carry_no_gradient(name, kind):
    view, batch = views(name), kind()
    if batch.is_floating_point():
        batch.requires_grad_()
    draw = view.sample(len(batch))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = view(batch, draw)
    assert cast.dtype == torch.float32
    assert not cast.requires_grad
    assert torch.equal(cast, view(batch, draw))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_normalised_last(name, kind):
    mean, std = [0.1, 0.5, 0.7], [0.2, 0.25, 0.5]
    plain, normal = views(name), augmentation(name, 16, mean, std, rgb=False)
    batch = kind()
    draw = plain.sample(len(batch))
    if name == "strong":  # no hole: it is cut after normalising
        draw = draw._replace(holes=torch.zeros_like(draw.holes))
    expected = (plain(batch, draw) - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[
        :, None, None
    ]
    torch.testing.assert_close(normal(batch, draw), expected)


def test_simple_views_show_all_eight_orientations():
    image = images(1, side=16)
    view = views("simple")
    draw = view.sample(400)
    whole = draw.crops[:, :, :2].sign()
    crops = torch.cat([whole, torch.zeros(400, 2, 1)], dim=2)
    draw = draw._replace(
        crops=crops, factors=torch.ones(400, 3), grey=torch.zeros(400, dtype=torch.bool)
    )
    seen = view(image.expand(400, -1, -1, -1), draw)
    counts = []
    for quarters in range(4):
        for turned in (image, image.flip(3)):
            turned = turned.rot90(quarters, (2, 3))
            counts.append(int(((seen - turned).abs().amax((1, 2, 3)) < 1e-4).sum()))
    assert sum(counts) == 400
    assert min(counts) > 25  # 50 expected, standard deviation 6.6


def crops_alone(view, crops):
    """A draw that shows the crops as they are."""
    draw = view.sample(len(crops))._replace(crops=crops)
    if "grey" in draw._fields:
        return draw._replace(
            factors=torch.ones_like(draw.factors), grey=torch.zeros_like(draw.grey)
        )
    identity = list(OPERATIONS).index("identity")
    return draw._replace(
        kinds=torch.full_like(draw.kinds, identity), holes=torch.zeros_like(draw.holes)
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_turned_view_is_the_upright_view_turned(name, kind):
    view, batch = views(name, size=17), kind(1).expand(8, -1, -1, -1)
    sides, centre = torch.tensor([0.8, 0.6]), torch.tensor([0.15, -0.3])
    crops = torch.cat([sides[:, None] * ORIENTATIONS, centre.expand(8, 2)[:, :, None]], dim=2)
    draw = crops_alone(view, crops)
    seen = view(batch, draw)
    turned = [
        np.rot90(seen[0].numpy(), quarters, (1, 2))[:, :, ::step]
        for quarters in range(4)
        for step in (1, -1)
    ]
    # Strong views of 8 bits are rounded to levels.
    near = 1 / 255 if name == "strong" and kind is eight_bit else 1e-5
    np.testing.assert_allclose(seen.numpy(), np.stack(turned), rtol=0, atol=near)
    whole = view(batch.float() / 255 if kind is eight_bit else batch, draw)
    torch.testing.assert_close(seen, whole, rtol=0, atol=near)


@pytest.mark.parametrize("name", ["simple", "strong"])
@pytest.mark.parametrize("orientations", [1, 2, 8])
def test_orientations_are_as_many_as_asked_for(name, orientations):
    views = augmentation(name, 16, [0.5] * 3, [0.2] * 3, rgb=True, orientations=orientations)
    signs = views.sample(300).crops[:, :, :2].sign()
    assert len(torch.unique(signs, dim=0)) == orientations
    with pytest.raises(InputError, match="orientations = 4: expected 1, 2 or 8"):
        augmentation(name, 16, [0.5] * 3, [0.2] * 3, rgb=True, orientations=4)


def test_strong_views_are_never_turned():
    turns = views("strong").sample(200).crops[:, :, :2].sign()
    assert (turns == torch.eye(2)).all((1, 2)).sum() > 60
    assert (turns == torch.diag(torch.tensor([-1.0, 1.0]))).all((1, 2)).sum() > 60
    assert (turns.abs() == torch.eye(2)).all()


@pytest.mark.parametrize("name", NAMES)
def test_crops_are_of_the_papers_sizes_and_inside_the_image(name):
    crops = views(name).sample(2000).crops
    sides = crops[:, :, :2].abs().sum(dim=2)
    area, ratio = sides.prod(dim=1), sides[:, 0] / sides[:, 1]
    assert 0.2 <= area.min() < 0.22
    assert 0.95 < area.max() <= 1
    assert 0.75 <= ratio.min() < 0.77
    assert 1.3 < ratio.max() <= 4 / 3 + 1e-6
    assert (crops[:, :, 2].abs() + sides).max() <= 1 + 1e-6


def test_a_fifth_of_the_simple_views_are_grey():
    seen = views("simple", rgb=True)(images(1).expand(500, -1, -1, -1))
    share = ((seen.amax(1) - seen.amin(1)).amax((1, 2)) < 1e-6).float().mean()
    assert 0.13 < share < 0.27  # standard deviation 0.018


def test_ten_operations_are_drawn_evenly_and_in_range():
    draw = views("strong").sample(2000)
    assert draw.kinds.shape == (2000, 10)
    counts = draw.kinds.flatten().bincount(minlength=14)
    assert len(counts) == 14
    assert (counts - 20_000 / 14).abs().max() < 200  # standard deviation 36
    for kind, (low, high) in enumerate(OPERATIONS.values()):
        values = draw.values[draw.kinds == kind]
        assert low <= values.min() <= values.max() <= high
        assert values.max() - values.min() >= 0.97 * (high - low)


@pytest.mark.parametrize(("size", "longest"), [(224, 16), (64, 16), (32, 8), (3, 1)])
def test_the_hole_is_of_the_papers_size_but_at_most_a_quarter(size, longest):
    view = views("strong", size=size)
    holes = view.sample(3000).holes
    width, height = holes[:, 2] - holes[:, 0], holes[:, 3] - holes[:, 1]
    assert torch.equal(width, height)
    assert sorted(set(width.tolist())) == list(range(1, longest + 1))


@pytest.mark.parametrize("kind", KINDS)
def test_the_hole_is_zero_after_normalising(kind):
    view = augmentation("strong", 16, [0.3] * 3, [0.1] * 3, rgb=True)
    batch = kind(3)
    draw = view.sample(3)._replace(
        holes=torch.tensor([[2, 3, 6, 7], [-2, -2, 2, 2], [14, 15, 18, 19]])
    )
    whole = view(batch, draw._replace(holes=torch.zeros(3, 4, dtype=torch.int64)))
    seen = view(batch, draw)
    for i, (rows, columns) in enumerate(
        [
            (slice(3, 7), slice(2, 6)),
            (slice(0, 2), slice(0, 2)),
            (slice(15, 16), slice(14, 16)),
        ]
    ):
        assert (seen[i, :, rows, columns] == 0).all()
        whole[i, :, rows, columns] = 0
    assert torch.equal(seen, whole)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(InputError, match=r"'stronk'.*nearest: strong"):
        augmentation("stronk", 64, [0.5], [0.2], rgb=False)


@pytest.mark.parametrize(
    ("mean", "std", "rgb"), [([0.5] * 4, [0.2] * 4, True), ([0.5], [0.2, 0.2], False)]
)
def test_statistics_that_do_not_fit_the_bands_are_refused(mean, std, rgb):
    with pytest.raises(InputError, match=f"not {len(mean)} and {len(std)}"):
        augmentation("simple", 64, mean, std, rgb)


@pytest.mark.parametrize(
    "wrong",
    [
        torch.rand(2, 4, 20, 20),
        torch.rand(3, 20, 20),
        torch.rand(2, 3, 20, 21),
        torch.zeros(2, 3, 20, 20, dtype=torch.int16),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_images_of_another_kind_are_refused(name, wrong):
    with pytest.raises(InputError, match="views take"):
        views(name)(wrong)
