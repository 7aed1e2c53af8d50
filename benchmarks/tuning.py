"""Memory and time of a step that trains a part of an encoder, compared with training all of it.

``python benchmarks/tuning.py vit_small_patch16_dinov3 --image-size 128``
"""

import json
from typing import Annotated

import torch
import typer
from table import Rounds, in_turn, run
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from rs_otl.cli.options import Json
from rs_otl.errors import InputError, note
from rs_otl.models import create_encoder, restrict_training
from rs_otl.models.tuning import TUNE


class Step:
    """A step of SGD on random images.

    Attributes:
        share: Share of the encoder's numbers that are trained.
        weights: Bytes of the encoder.
        kept: Further bytes that a step needs: what its backward pass is computed from, gradients
            and momentum.
    """

    def __init__(self, encoder: str, tune: str, rank: int, size: int, images: int) -> None:
        self.module = create_encoder(encoder, 3, image_size=size).train()
        restrict_training(self.module, tune, rank)
        parameters = list(self.module.parameters())
        trained = [one for one in parameters if one.requires_grad]
        self.share = sum(one.numel() for one in trained) / sum(one.numel() for one in parameters)
        self.optimiser = torch.optim.SGD(trained, lr=1e-6, momentum=0.9)
        self.images = torch.randn(images, 3, size, size)
        self.weights = sum(one.nbytes for one in parameters)
        stored = {one.untyped_storage().data_ptr() for one in parameters}
        activations: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in stored:
                activations[storage.data_ptr()] = storage.nbytes()
            return tensor

        with saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = self.module(self.images).square().mean()
            self.kept = sum(activations.values()) + 2 * sum(one.nbytes for one in trained)
        loss.backward()

    def __call__(self) -> None:
        """Make a step."""
        self.optimiser.zero_grad()
        self.module(self.images).square().mean().backward()
        self.optimiser.step()


def tuning(
    encoder: Annotated[str, typer.Argument(help="timm architecture.")],
    image_size: Annotated[int, typer.Option(min=16, help="Side of a view in pixels.")] = 128,
    images: Annotated[int, typer.Option(min=2, help="Views in a step.")] = 64,
    rank: Annotated[int, typer.Option(min=1, help="Rank of the changes that LoRA learns.")] = 8,
    rounds: Rounds = 5,
    as_json: Json = False,
) -> None:
    """Compare the values of ``tune``, in turn, so that other load affects all equally."""
    steps: dict[str, Step] = {}
    for tune in TUNE:
        try:
            steps[tune] = Step(encoder, tune, rank, image_size, images)
        except InputError as error:  # an encoder without attention, or an extra that is missing
            note(f"left out: {error}")
    seconds = in_turn(steps, rounds)
    if as_json:
        figures = {
            tune: {"kept": step.kept, "share": step.share, "seconds": seconds[tune]}
            for tune, step in steps.items()
        }
        print(json.dumps(figures))
        return
    whole = steps["all"]
    print("| `tune` | trained | extra MiB | MiB relative to `all` | time relative to `all` |")
    print("|---|---|---|---|---|")
    for tune, step in steps.items():
        print(
            f"| `{tune}` | {step.share:.1%} | {step.kept / 2**20:,.0f} "
            f"| {step.kept / whole.kept:.2f} | {seconds[tune] / seconds['all']:.2f} |"
        )
    print(f"\nThe weights are {whole.weights / 2**20:,.0f} MiB.")


if __name__ == "__main__":
    run(tuning)
