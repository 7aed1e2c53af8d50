"""timm models: making them, and loading weights into them."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import timm
import torch
from timm.layers.patch_embed import PatchEmbed
from timm.models import Eva, VisionTransformer
from torch import Tensor, nn

from rs_otl.errors import InputError
from rs_otl.models import alexnet  # noqa: F401  it adds itself to timm's registry
from rs_otl.models.torchgeo_models import BandModel

# timm's names for the ways of pooling.
_POOLS = {"cls": "token", "mean": "avg"}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw what is made inside on the CPU from a seed, and leave the global random state alone.

    Args:
        seed: Seed of the CPU's generator; ``torch.manual_seed`` would seed GPUs too.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def create_encoder(
    name: str,
    in_chans: int,
    seed: int = 0,
    image_size: int | None = None,
    pool: str | None = None,
) -> nn.Module:
    """Make a timm model without its classifier, randomly initialised.

    Args:
        name: A timm architecture, for example ``"resnet18"``.
        in_chans: Bands of the images.
        seed: Seed of the random weights, which must be made on the CPU; the global random states
            are left as they were.
        image_size: Side of the images in pixels, see :func:`set_image_size`; by default timm's.
        pool: See :func:`set_pool`; by default the architecture's own.

    Returns:
        A module from ``(B, in_chans, H, W)`` to features ``(B, D)``; :func:`feature_width` gives D.

    Raises:
        InputError: If timm has no such model, or the model does not take the size or the pooling.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise InputError(f"encoder {name!r}: expected the name of a timm model{hint}")
    with seeded(seed):
        encoder = timm.create_model(name, pretrained=False, num_classes=0, in_chans=in_chans)
    if image_size is not None:
        set_image_size(encoder, image_size)
    if pool is not None:
        set_pool(encoder, pool)
    return encoder


def feature_width(encoder: nn.Module) -> int:
    """Return the number D of features that an encoder gives.

    timm calls it ``head_hidden_size``. timm's ``num_features`` is the width of the last map; in
    MobileNets and a few other models, layers of the head change that width.

    Args:
        encoder: As :func:`create_encoder` makes it.
    """
    return int(getattr(encoder, "head_hidden_size", None) or cast(int, encoder.num_features))


def set_image_size(encoder: nn.Module, size: int) -> None:
    """Set the size of the images that an encoder takes.

    For vision transformers timm resamples the position embeddings. Most other encoders take any
    size; some take one size only.

    Args:
        encoder: As :func:`create_encoder` makes it.
        size: Side of the images in pixels; for a vision transformer a multiple of its patch side.

    Raises:
        InputError: If the encoder does not take this size; the message names the nearest one.
    """
    pretrained = cast(dict[str, Any], encoder.pretrained_cfg)
    if patch := _patch_side(encoder):
        if size % patch:
            lower, upper = size // patch * patch, (size // patch + 1) * patch
            raise InputError(
                f"{pretrained['architecture']} takes images whose side is a multiple of {patch} "
                f"pixels, not {size}: expected --image-size "
                f"{f'{lower} or {upper}' if lower else upper}, or in a recipe --set "
                f"image_size={lower or upper}"
            )
        if encoder.patch_embed.img_size != (size, size):  # type: ignore[union-attr]
            encoder.set_input_size(img_size=(size, size))  # type: ignore[operator]
        return
    made_for = getattr(getattr(encoder, "patch_embed", None), "img_size", None)
    expected = made_for[-1] if made_for else pretrained["input_size"][-1]
    if pretrained.get("fixed_input_size") and size != expected:
        raise InputError(
            f"{pretrained['architecture']} takes images of {expected} pixels only, not of {size}: "
            f"expected --image-size {expected}, or in a recipe --set image_size={expected}; or an "
            "encoder without a fixed size"
        )
    smallest = (pretrained.get("min_input_size") or (0,))[-1]
    if size < smallest:
        raise InputError(
            f"{pretrained['architecture']} takes images of at least {smallest} pixels, not of "
            f"{size}: expected --image-size {smallest} or more, or in a recipe --set "
            f"image_size={smallest}; or another encoder"
        )


def to_channels_last(module: nn.Module) -> None:
    """Store the weights of convolutions in the layout that runs fastest on a CPU.

    Args:
        module: Changed in place. Three-dimensional convolutions, which have another layout in
            PyTorch, are left as they are.
    """
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)


def set_pool(encoder: nn.Module, pool: str) -> None:
    """Choose what a vision transformer's features are made of.

    Args:
        encoder: As :func:`create_encoder` makes it.
        pool: ``"cls"``, the class token, or ``"mean"``, the mean of the patches' tokens. The
            weights and the place of the normalisation stay as they are.

    Raises:
        InputError: If the encoder is no vision transformer with a class token.
    """
    if type(encoder) not in (VisionTransformer, Eva) or encoder.cls_token is None:
        architecture = cast(dict[str, Any], encoder.pretrained_cfg)["architecture"]
        raise InputError(
            f"pool={pool} (--pool): {architecture} is no vision transformer with a class token; "
            "leave out --pool"
        )
    encoder.reset_classifier(0, _POOLS[pool])  # type: ignore[operator]


def timm_arguments(
    architecture: str, in_chans: int, image_size: int, pool: str | None
) -> dict[str, Any]:
    """Return the arguments that timm needs to make an encoder, beside name, bands and classes.

    Args:
        architecture: As for :func:`create_encoder`.
        in_chans: Bands of the images.
        image_size: Side of the images in pixels.
        pool: See :func:`set_pool`; ``None`` for the architecture's own.

    Returns:
        Arguments of ``timm.create_model``; none for most architectures, and none for an
        architecture that timm does not have.
    """
    if not timm.is_model(architecture):
        return {}
    with torch.device("meta"):
        made = create_encoder(architecture, in_chans, image_size=image_size, pool=pool)
    own = {"num_classes", "in_chans"}
    if getattr(made, "dynamic_img_size", False):  # takes any size without being told
        own.add("img_size")
    recorded = cast(dict[str, Any], made._model_args)
    told = {name: value for name, value in recorded.items() if name not in own}
    return told if pool is None else told | {"global_pool": _POOLS[pool]}


def _patch_side(encoder: nn.Module) -> int | None:
    """Return the side of a patch of a vision transformer that takes any multiple of it."""
    embed = getattr(encoder, "patch_embed", None)
    if not isinstance(encoder, VisionTransformer | Eva) or type(embed) is not PatchEmbed:
        return None
    return None if embed.img_size is None else embed.patch_size[0]


def build_encoder(
    architecture: str,
    in_chans: int,
    weights: Mapping[Any, Any],
    source: str,
    image_size: int | None = None,
) -> nn.Module:
    """Make a timm model without its classifier and load weights into all of its tensors.

    The weights are first compared with a model on the meta device, so that nothing is allocated
    for weights that do not fit.

    Args:
        architecture: As for :func:`create_encoder`.
        in_chans: Bands of the images.
        weights: Tensors under the model's names, as they were read; those of a classifier are
            left out.
        source: Where the weights come from, for the error.
        image_size: Side of the images in pixels. A vision transformer is made for this size if it
            was trained at another size than timm's.

    Raises:
        InputError: If timm has no such model, or a tensor is missing, superfluous, of another shape
            or kind of number, or holds numbers that are not finite.
    """
    with torch.device("meta"):
        empty = create_encoder(architecture, in_chans)
        made_for = _other_size(empty, weights, image_size)
        if made_for is not None:
            empty = create_encoder(architecture, in_chans, image_size=made_for)
    expected = empty.state_dict()
    classifier = cast(dict[str, Any], empty.pretrained_cfg)["classifier"]
    classifiers = (classifier,) if isinstance(classifier, str) else tuple(classifier or ())
    heads = tuple(f"{name}." for name in classifiers)
    given = {
        name: tensor
        for name, tensor in weights.items()
        if name in expected or not str(name).startswith(heads)
    }
    wrong = [f"{name} is missing" for name in expected if name not in given]
    wrong += [f"{name!r:.99} is not part of it" for name in given if name not in expected]
    wrong += [
        f"{name} {fault}"
        for name, tensor in expected.items()
        if name in given and (fault := _fault(given[name], tensor))
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise InputError(
            f"{source}: expected every tensor of {architecture}: {'; '.join(wrong[:3])}{more}"
        )
    encoder = create_encoder(architecture, in_chans, image_size=made_for)
    encoder.load_state_dict(given)
    return encoder


def adapted_weights(
    encoder: nn.Module,
    positions: Sequence[int | None],
    source: str,
    wavelengths: Sequence[float | None] = (),
) -> dict[str, Tensor]:
    """Adapt the weights of an encoder to other bands.

    Args:
        encoder: As :func:`create_encoder` makes it.
        positions: For each new band, its position among the encoder's bands; ``None`` for a band
            that the encoder does not know. An unknown band gets the mean of the weights of the
            known bands, or its wavelength if the encoder is told wavelengths.
        source: Name of the encoder in error messages.
        wavelengths: Wavelengths of the new bands in micrometres; ``None`` where unknown.

    Returns:
        The encoder's tensors, with the first layer or the wavelengths of the new bands.

    Raises:
        InputError: If the first layer is no plain convolution over the bands, or a wavelength that
            the encoder must be told is not known.
    """
    weights = dict(encoder.state_dict())
    if isinstance(encoder, BandModel) and encoder.told.shape[1]:
        waves = [*wavelengths, *[None] * len(positions)]
        rows = []
        for place, at in enumerate(positions):
            wave = waves[place]
            if at is None and wave is None:
                raise InputError(
                    f"{source}: it needs the wavelength of every band, and band {place + 1} has "
                    "none; name the band with --bands, or leave it out there"
                )
            row = encoder.told.mean(0) if at is None else encoder.told[at]
            if at is None and wave is not None:
                row[0] = wave * encoder.micrometre
            rows.append(row)
        return weights | {"told": torch.stack(rows)}
    first = cast(dict[str, Any], encoder.pretrained_cfg).get("first_conv")
    name = f"{first}.weight"
    layer = encoder.get_submodule(first) if isinstance(first, str) else None
    if not isinstance(layer, nn.Conv2d) or layer.groups > 1:
        raise InputError(
            f"{source}: its first layer cannot be adapted to other bands; expected images with its "
            "own bands, or another encoder"
        )
    old = weights[name]
    mean = old.mean(1)
    weights[name] = torch.stack([mean if at is None else old[:, at] for at in positions], dim=1)
    return weights


def _other_size(
    encoder: nn.Module, weights: Mapping[Any, Any], image_size: int | None
) -> int | None:
    """Return the image size if the position embeddings are not those of timm's size."""
    own, given = encoder.state_dict().get("pos_embed"), weights.get("pos_embed")
    if own is None or not isinstance(given, Tensor) or given.shape == own.shape:
        return None
    patch = _patch_side(encoder)
    return image_size if patch and image_size and image_size % patch == 0 else None


def _fault(given: Any, expected: Tensor) -> str | None:
    """Describe what is wrong with a tensor that was read; ``None`` if nothing is."""
    if not isinstance(given, Tensor):
        return f"is a {type(given).__name__}, not a tensor"
    if given.layout != torch.strided or given.is_meta or given.is_quantized:
        return "is no plain tensor (sparse, quantised or without values)"
    if given.shape != expected.shape:
        return f"is {tuple(given.shape)}, not {tuple(expected.shape)}"
    if given.is_complex() or given.is_floating_point() != expected.is_floating_point():
        return f"is {given.dtype}, not {expected.dtype}"
    if given.untyped_storage().nbytes() < given.nbytes:
        return "has fewer values than its shape says"
    if not given.isfinite().all():
        return "has values that are not finite: its training has diverged"
    return None
