"""An encoder's training and licence in words, for its STAC item and its model card."""

from collections.abc import Mapping
from typing import Any

from rs_otl.datasets.catalogue import CATALOGUE, base_name
from rs_otl.errors import counted
from rs_otl.spec import EncoderConfig

_PAPER = "Li et al., Remote Sensing 2022, doi:10.3390/rs14143361"


def training_note(config: EncoderConfig, recipe: Mapping[str, Any]) -> str:
    """Describe in a sentence how an encoder was trained.

    Args:
        config: The encoder's description.
        recipe: How the encoder was trained; may be empty.
    """
    what = f"A {config.encoder} for overhead imagery"
    if config.epochs == 0:
        return f"{what}, with random weights."
    if config.epochs is None:
        return f"{what}, trained elsewhere on {config.dataset}."
    contrast = recipe.get("contrast", 0)
    ways = ["by output translation"] * (contrast < 1) + ["by contrasting views"] * (contrast > 0)
    how = "with labels" if config.supervised else f"without labels, {' and '.join(ways)}"
    source = "Chen et al., ICML 2020" if contrast == 1 else _PAPER
    start = f", starting from {recipe['init']}" if recipe.get("init") else ""
    return (
        f"{what}, trained {how} for {counted(config.epochs, 'epoch')} on {config.dataset}{start} "
        f"(rs-otl; {source})."
    )


def licence_note(config: EncoderConfig) -> str:
    """Describe what is known of the licences; the licence of the weights is not guessed.

    Args:
        config: The encoder's description.
    """
    if config.epochs == 0:
        return "The weights are random: nothing trained them."
    entry = CATALOGUE.get(base_name(config.dataset))
    images = entry.licence if entry else "not known to rs-otl"
    if config.epochs is None:  # trained elsewhere
        weights = "`rs-otl encoders` names the licence of timm's and torchgeo's weights."
    else:
        weights = (
            "The code that trained it is under the MIT licence; the licence of the weights is not "
            "stated."
        )
    return f"{weights} Licence of the training images: {images}."
