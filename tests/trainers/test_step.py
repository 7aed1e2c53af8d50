"""A step in parts or compiled is the same step."""

import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from rs_otl.trainers import OTLTask, encode, label_consistent_loss

SETTINGS = {"model": "test_resnet", "clusters": 5, "views": 4, "size": 32, "augment": "simple"}


def _task(**changes):
    return OTLTask(**SETTINGS | changes)


def _step(task, encode=None):
    """Gradients and running statistics after a step on a fixed draw of views."""
    torch.manual_seed(1)
    images = torch.rand(6, 3, 37, 37)
    torch.manual_seed(2)
    outputs = task.view_outputs(images)
    label_consistent_loss(outputs[:, 0], torch.arange(24).reshape(4, 6) % 5).backward()
    gradients = [p.grad.clone() for p in task.encoder.parameters() if p.grad is not None]
    buffers = [b.clone() for b in task.encoder.buffers()]
    return gradients, buffers


def _assert_alike(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * 0.1)


def test_chunks_have_the_gradients_of_the_whole_where_batch_norm_is_frozen():
    whole, _ = _step(_task(freeze_batch_norm=True))
    for chunks in (2, 4):
        parts, _ = _step(_task(freeze_batch_norm=True, chunks=chunks))
        _assert_alike(parts, whole, 1e-4)


def test_chunks_are_so_many_passes_with_their_gradients_and_statistics(monkeypatch):
    found, statistics = _step(_task(chunks=2))
    plain = _task(chunks=2)
    monkeypatch.setattr(encode, "_forward_without_activations", encode._forward)
    expected, expected_statistics = _step(plain)
    _assert_alike(found, expected, 1e-5)
    _assert_alike(statistics, expected_statistics, 1e-6)
    _, once = _step(_task())
    assert not torch.equal(statistics[0], once[0])


def test_no_pass_has_a_single_image_which_batch_norm_fails_on():
    encoder = nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4), nn.Flatten())
    for images in range(2, 12):
        for chunks in (*range(1, 13), 10**9):
            assert len(encode.encode(encoder, torch.rand(images, 3, 8, 8), chunks)) == images
            halves = encode.encode(encoder, torch.rand(2 * images, 3, 8, 8), chunks, passes=2)
            assert len(halves) == 2 * images


def test_chunks_keep_the_activations_of_one_pass_at_most():
    def kept(chunks):
        task, size = _task(chunks=chunks), 0

        def pack(tensor):
            nonlocal size
            size += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            task.view_outputs(torch.rand(6, 3, 37, 37))
        return size

    assert kept(2) < kept(1) / 5


def test_a_failed_compilation_is_said_and_done_without(capfd):
    task = _task(compile=True)

    def fail(*_):
        raise TorchDynamoException("no compiler\nand much more")

    task.encoder._compiled_call_impl = fail
    with torch.no_grad():
        outputs = task(torch.rand(2, 3, 32, 32))
    assert outputs.shape == (1, 2, 5)
    assert capfd.readouterr().err == "torch.compile failed, going on without it: no compiler\n"
    assert not hasattr(task.encoder, "_orig_mod")
