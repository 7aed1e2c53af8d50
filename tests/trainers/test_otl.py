import copy
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.optimize import linear_sum_assignment
from small_run import small_trainer
from torch import nn
from torch.utils.data import DataLoader, Dataset

from rs_otl.datasets import Division, Duplicates, OTLDataModule, load_dataset
from rs_otl.errors import InputError
from rs_otl.models import evaluation_transforms
from rs_otl.spec import PAPER_MEAN, PAPER_STD
from rs_otl.trainers import OTLTask


class AsUnit(nn.Module):
    """Images of 8 bits as float32 in [0, 1]."""

    def forward(self, images):
        return images.float() / 255


class _Images(Dataset):
    """Images of four colours, by their place."""

    def __init__(self, count=40, index=True):
        generator = torch.Generator().manual_seed(0)
        colours = torch.rand(4, 3, 1, 1, generator=generator)
        noise = torch.rand(count, 3, 37, 37, generator=generator)
        self.images = (0.8 * colours[torch.arange(count) % 4] + 0.2 * noise).clamp(0, 1)
        self.index = index

    def __len__(self):
        return len(self.images)

    def __getitem__(self, place):
        sample = {"image": self.images[place]}
        return sample | {"index": torch.tensor(place)} if self.index else sample


def _task(model="test_resnet", **changes):
    settings = {"clusters": 4, "views": 2, "size": 32, "augment": "simple", "lr": 0.05}
    return OTLTask(model, **(settings | changes))


def _first_weights(task):
    return next(task.encoder.parameters()).detach().clone()


def _fit(task, epochs=1, dataset=None, **changes):
    loader = DataLoader(dataset or _Images(), batch_size=16, shuffle=True, drop_last=True)
    trainer = small_trainer(epochs, **changes)
    trainer.fit(task, loader)
    return trainer


def test_it_runs_under_anyones_trainer_and_logs_what_tells():
    trainer = _fit(_task(), epochs=2)
    metrics = trainer.callback_metrics
    assert metrics["ln_k"] == pytest.approx(math.log(4))
    names = ("loss", "std", "initial_std", "initial_empty", "changed", "agreement")
    names += ("label_seconds", "train_seconds", "images_per_second", "lr")
    assert all(math.isfinite(metrics[name]) for name in names)
    assert metrics["std"] <= metrics["initial_std"]


def test_labels_are_even_and_cover_the_batch_that_training_drops():
    task = _task(heads=3, views=2)
    trainer = _fit(task)
    assert task.pseudo_labels.labels.shape == (2, 3, 40)
    counts = torch.stack(
        [row.bincount(minlength=4) for row in task.pseudo_labels.labels.flatten(0, 1)]
    )
    assert counts.sum(1).tolist() == [40] * 6
    assert trainer.callback_metrics["std"] < 2


def test_images_are_labelled_in_mixed_batches_each_once():
    # Batches of one class would lose to batch normalisation what the class has in common.
    task = _task()
    images = _Images()
    place = {image.sum().item(): number for number, image in enumerate(images.images)}
    seen = []
    look = task.view_outputs

    def watch(batch):
        seen.append([place[image.sum().item()] for image in batch])
        return look(batch)

    task.view_outputs = watch
    _fit(task, dataset=images)
    labelled = seen[:3]  # 16, 16 and 8; then the steps
    assert sorted(number for batch in labelled for number in batch) == list(range(40))
    assert all(batch != sorted(batch) for batch in labelled)


def test_training_lowers_the_loss_below_that_of_a_guess():
    losses = []
    task = _task("resnet18", relabel_every=100, reduction="mean")
    task.augmentations = evaluation_transforms(
        32, PAPER_MEAN, PAPER_STD
    )  # views that can be learnt by heart
    task.on_train_epoch_end = lambda: losses.append(float(task.trainer.callback_metrics["loss"]))
    _fit(task, epochs=10)
    assert losses[-1] < math.log(4) / 2


def test_labels_are_kept_between_renewals():
    task = _task(relabel_every=2)
    seen = []
    task.on_train_epoch_end = lambda: seen.append(task.pseudo_labels.labels.clone())
    _fit(task, epochs=4)
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], seen[3])


def _passes(task):
    """Sizes of the batches that labels are made from and of those that are learnt from."""
    found = {"labels": [], "steps": []}
    look = task.view_outputs

    def watch(images):
        found["steps" if torch.is_grad_enabled() else "labels"].append(len(images))
        return look(images)

    task.view_outputs = watch
    return found


def test_reused_outputs_take_a_pass_for_what_was_dropped_alone():
    task = _task(relabel="reuse")
    passes = _passes(task)
    _fit(task, epochs=3)
    assert passes["steps"] == [16] * 6
    # All at first; then the 8 that the loader dropped, twice; none for after the last epoch.
    assert passes["labels"] == [16, 16, 8, 8, 8]


def test_reused_labels_are_made_of_what_the_steps_saw():
    task = _task(relabel="reuse")
    kept = []
    keep = task._keep_outputs
    task._keep_outputs = lambda index, outputs: (
        kept.append((task.current_epoch, index, outputs)),
        keep(index, outputs),
    )
    _fit(task, epochs=2)
    _, index, outputs = next(entry for entry in kept if entry[0] == 0)
    t_free = outputs.argmax(-1)  # translation moves some rows, not most
    same = (task.pseudo_labels.labels[:, :, index] == t_free).float().mean()
    assert same > 0.4  # a guess would have a quarter


@pytest.mark.parametrize("every", [1, 2])
def test_reused_labels_are_renewed_when_it_is_time(every):
    task = _task(relabel="reuse", relabel_every=every)
    seen, logged = [], []
    task.on_train_epoch_end = lambda: (
        seen.append(task.pseudo_labels.epoch),
        logged.append("changed" in task.trainer.callback_metrics),
    )
    _fit(task, epochs=4)
    assert seen == ([1, 2, 3, 3] if every == 1 else [0, 2, 2, 2])


def test_other_words_for_relabel_are_refused():
    with pytest.raises(InputError, match=r"'old': expected one of fresh, reuse"):
        _task(relabel="old")
    with pytest.raises(InputError, match=r"temperature = 0\.2 with relabel = reuse"):
        _task(relabel="reuse", temperature=0.2)
    for setting in ({"views_apart": True}, {"label_batch_sizes": [16, 16]}):
        with pytest.raises(InputError, match="relabel = reuse needs all views"):
            _task(relabel="reuse", **setting)
    with pytest.raises(InputError, match="'max': expected one of sum, mean"):
        _task(reduction="max")
    for scale in (0, -1, math.nan):
        with pytest.raises(InputError, match=f"scale = {scale}: expected a number above 0"):
            _task(scale=scale)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    weights = []
    for seed in (1, 1, 2):
        task = _task(seed=seed)
        torch.manual_seed(0)  # of the loader's order
        _fit(task)
        weights.append(_first_weights(task))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


class _PlainAndMirrored(nn.Module):
    """The plain view and its mirror image in turn: two views that owe nothing to chance."""

    def __init__(self):
        super().__init__()
        self.view = evaluation_transforms(32, PAPER_MEAN, PAPER_STD)
        self.mirrored = True

    def forward(self, images):
        self.mirrored = not self.mirrored
        view = self.view(images)
        return view.flip(-1) if self.mirrored else view


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_run_is_the_paper_written_out(reduction):
    """Sections 3.2 to 3.4 in a few lines, the labels by another's solver."""
    task = _task(freeze_batch_norm=True, **({} if reduction == "sum" else {"reduction": "mean"}))
    task.augmentations = _PlainAndMirrored()
    network = nn.Sequential(copy.deepcopy(task.encoder).eval(), copy.deepcopy(task.heads))
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    dataset, epochs = _Images(), 3

    small_trainer(epochs).fit(task, DataLoader(dataset, batch_size=16, drop_last=True))

    views = [_PlainAndMirrored()(dataset.images)]
    views.append(views[0].flip(-1))
    slots = torch.arange(4).repeat_interleave(10)  # 40 images in 4 clusters
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 + math.cos(math.pi * epoch / epochs)) / 2
        with torch.no_grad():
            outputs = [network(view)[0] for view in views]
        labels = [
            slots[linear_sum_assignment(each[:, slots].numpy(), maximize=True)[1]]
            for each in outputs
        ]
        for batch in (slice(0, 16), slice(16, 32)):
            optimizer.zero_grad()
            pairs = [
                nn.functional.cross_entropy(network(view[batch])[0], every[batch])
                for view in views
                for every in labels
            ]
            getattr(torch.stack(pairs), reduction)().backward()
            optimizer.step()
    assert torch.equal(task.pseudo_labels.labels[:, 0], torch.stack(labels))
    for name, weights in network[0].named_parameters():
        torch.testing.assert_close(task.encoder.get_parameter(name), weights, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_local_views_learn_the_labels_of_the_views(reduction):
    task = _task(local_views=3, heads=2, reduction=reduction, freeze_batch_norm=True)
    _fit(task)
    images = _Images().images[:6]
    labels = task.pseudo_labels[torch.arange(6)]  # (2 label sets, 2 heads, 6)
    task.log = lambda *_, **__: None  # there is no trainer any more
    torch.manual_seed(5)
    loss = task.training_step({"image": images, "index": torch.arange(6)}, 0)

    torch.manual_seed(5)
    views, local = task.view_outputs(images), task.local_outputs(images)
    assert (views.shape, local.shape) == ((2, 2, 6, 4), (3, 2, 6, 4))
    terms = [
        [nn.functional.cross_entropy(view[head], every[head]) for view in [*views, *local]]
        for head in range(2)
        for every in labels
    ]
    expected = torch.stack([torch.stack(row) for row in terms]).mean()
    torch.testing.assert_close(loss, expected * (10 if reduction == "sum" else 1))


def test_local_views_are_small_parts_of_the_image():
    task = _task(local_views=1, local_size=16)
    small = task.make_views(task.local_augmentations, _Images().images, 1)
    assert small.shape == (40, 3, 16, 16)
    crops = task.local_augmentations.sample(500).crops
    area = crops[:, :, :2].abs().amax(-1).prod(-1)
    assert 0.045 < area.min() < 0.08
    assert 0.25 < area.max() < 0.31
    with pytest.raises(InputError, match="augment makes the local views, and augmentations"):
        _task(local_views=1, augmentations=nn.Identity())


def _labelled_by_another_solver(network, images):
    slots = torch.arange(4).repeat_interleave(len(images) // 4)
    with torch.no_grad():
        outputs = network(images)[0]
    return slots[linear_sum_assignment(outputs[:, slots].numpy(), maximize=True)[1]]


def test_a_run_is_the_authors_code_written_out(tmp_path):
    """Loaders that are shuffled apart, a forward pass for each, and the sum of all terms."""
    pixels = np.random.default_rng(0).integers(0, 256, (21, 37, 37, 3), dtype=np.uint8)
    (tmp_path / "a").mkdir()
    for number in range(21):
        Image.fromarray(pixels[number]).save(tmp_path / "a" / f"{number:02}.png")
    images = load_dataset(str(tmp_path), 37)
    division = Division(1, np.arange(20), np.array([20]), Duplicates((), (), 0))
    data = OTLDataModule(images, size=32, batch_size=8, orders=3, division=division)
    view = evaluation_transforms(32, PAPER_MEAN, PAPER_STD)
    task = _task(
        views=3,
        views_apart=True,
        label_batch_sizes=(8, 16),
        freeze_batch_norm=True,
        lr=0.01,
        augmentations=nn.Sequential(AsUnit(), view),
    )
    network = nn.Sequential(copy.deepcopy(task.encoder).eval(), copy.deepcopy(task.heads))
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
    steps, sizes = [], []
    task.on_train_batch_start = lambda batch, number: steps.append(batch["index"].chunk(3))
    task.encoder.register_forward_pre_hook(
        lambda _, inputs: sizes.append(len(inputs[0])) if torch.is_grad_enabled() else None
    )

    small_trainer(2, limit_val_batches=0).fit(task, datamodule=data)

    everything = view(images.uint8_batch(division.train).float() / 255)
    for epoch in range(2):
        optimizer.param_groups[0]["lr"] = 0.01 * (1 + math.cos(math.pi * epoch / 2)) / 2
        labels = [_labelled_by_another_solver(network, everything)] * 2
        for parts in steps[epoch * 3 : epoch * 3 + 3]:
            optimizer.zero_grad()
            sum(
                nn.functional.cross_entropy(network(everything[part])[0], every[part])
                for part in parts
                for every in labels
            ).backward()
            optimizer.step()
    for name, weights in network[0].named_parameters():
        torch.testing.assert_close(task.encoder.get_parameter(name), weights, rtol=1e-3, atol=1e-5)
    assert sizes == [8, 8, 8, 8, 8, 8, 4, 4, 4] * 2  # the last batch is kept
    for epoch in range(2):
        orders = [torch.cat(parts) for parts in zip(*steps[epoch * 3 : epoch * 3 + 3], strict=True)]
        assert all(sorted(order.tolist()) == list(range(20)) for order in orders)
        assert len({tuple(order.tolist()) for order in orders}) == 3


def test_label_sets_are_made_in_passes_of_their_batch_sizes():
    task = _task(label_batch_sizes=(8, 20, 40), views=2)
    sizes = []
    task.encoder.register_forward_pre_hook(
        lambda _, inputs: None if torch.is_grad_enabled() else sizes.append(len(inputs[0]))
    )
    _fit(task)
    assert sizes == [8] * 5 + [20] * 2 + [40]
    assert task.pseudo_labels.labels.shape == (3, 1, 40)


def test_views_apart_without_orders_apart_are_refused():
    with pytest.raises(InputError, match=r"OTLDataModule\(orders=2\)"):
        _fit(_task(views_apart=True))


def test_uneven_targets_are_those_of_the_label_sets():
    task = _task(targets="power-law 1 from 0")
    trainer = _fit(task)
    for labels in task.pseudo_labels.labels[:, 0]:
        assert labels.bincount(minlength=4).tolist() == [0, 7, 13, 20]
    assert trainer.callback_metrics["std"] == 0  # about the targets
    with pytest.raises(InputError, match="'kmeans' takes no targets"):
        _task(targets="power-law 2", method="kmeans")


def test_eight_bit_images_train_what_the_same_images_in_float32_do():
    weights = []
    for dtype in (torch.uint8, torch.float32):
        images, task = _Images(), _task()
        levels = (images.images * 255).round()
        images.images = levels.to(torch.uint8) if dtype == torch.uint8 else levels / 255
        torch.manual_seed(0)
        _fit(task, dataset=images)
        weights.append(_first_weights(task))
    torch.testing.assert_close(*weights, rtol=0, atol=1e-5)


def test_stacked_views_are_each_drawn_anew():
    task = _task(views=3)
    images = _Images(4).images
    seen = []
    task.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    outputs = task.view_outputs(images)
    assert outputs.shape == (3, 1, 4, 4)
    first, second, third = seen[0].chunk(3)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_outputs_belong_to_their_view_head_and_image():
    task = _task(views=2, heads=2).eval()
    images = _Images(5).images
    seen = []
    task.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    outputs = task.view_outputs(images)
    with torch.no_grad():
        for view in range(2):
            for head in range(2):
                features = task.encoder(seen[0][view * 5 : view * 5 + 5])
                alone = task.heads.heads[head](features)
                torch.testing.assert_close(outputs[view, head], alone, rtol=1e-4, atol=1e-5)


def test_outputs_are_float32_in_mixed_precision():
    task = _task()
    with torch.autocast("cpu", torch.bfloat16):
        assert task.view_outputs(_Images(4).images).dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"milestones": [2, 4], "milestone_lrs": [0.01, 0.002]}, [0.1, 0.1, 0.01, 0.01, 0.002]),
        ({}, [0.1 * 0.5 * (1 + math.cos(math.pi * epoch / 5)) for epoch in range(5)]),
    ],
)
def test_the_learning_rate_follows_the_schedule(settings, expected):
    task = _task(lr=0.1, **settings)
    rates = []
    task.on_train_batch_start = lambda batch, number: rates.append(
        task.trainer.optimizers[0].param_groups[0]["lr"]
    )
    _fit(task, epochs=5)
    assert rates[::2] == pytest.approx(expected)


@pytest.mark.parametrize(
    "settings",
    [
        {"milestones": [1, 2], "milestone_lrs": [0.01]},
        {"milestones": [], "milestone_lrs": [0.01]},
        {"milestones": [2, 1], "milestone_lrs": [0.01, 0.001]},
        {"milestones": [1, 1], "milestone_lrs": [0.01, 0.001]},
    ],
)
def test_milestones_without_a_rate_each_or_out_of_order_are_refused(settings):
    with pytest.raises(InputError, match="expected ascending milestones, and a rate for each"):
        _task(**settings)


def test_augmentation_is_not_trained():
    trained = {name.split(".")[0] for name, _ in _task().named_parameters()}
    assert trained == {"encoder", "heads"}


def test_a_checkpoint_holds_the_labels_and_loads_without_unpickling_code(tmp_path):
    task = _task(relabel_every=100)
    trainer = _fit(task)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert torch.equal(loaded["pseudo_labels"]["labels"], task.pseudo_labels.labels)
    again = _task(relabel_every=100)
    before = copy.deepcopy(task.pseudo_labels.labels)
    loader = DataLoader(_Images(), batch_size=16, shuffle=True, drop_last=True)
    small_trainer(2).fit(again, loader, ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert torch.equal(again.pseudo_labels.labels, before)


def test_batches_without_index_are_refused():
    with pytest.raises(InputError, match="without 'index'"):
        _fit(_task(), dataset=_Images(index=False))


def test_more_clusters_than_images_are_refused():
    with pytest.raises(InputError, match="64 clusters for 40 training images"):
        _fit(_task(clusters=64))


def test_training_that_diverges_stops_with_a_word_on_the_learning_rate():
    with pytest.raises(InputError, match="lower the learning rate"):
        _fit(_task(lr=1e12, milestones=[9], milestone_lrs=[1]), epochs=3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"lr": 1e30}, "loss is not finite"),
        ({"lr": 1e30, "relabel": "reuse"}, "loss is not finite"),
        # The last step of all, after which no loss is computed.
        ({"lr": 1e38, "weight_decay": 1e3}, "weights are not finite"),
    ],
)
def test_training_that_diverges_says_so_in_its_first_epoch(changes, reason):
    one_step = "weights" in reason
    with pytest.raises(InputError, match=rf"diverged in epoch 1 \(the {reason}.*learning rate"):
        _fit(_task(**changes), 2, _Images(16 if one_step else 48))
