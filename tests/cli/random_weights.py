"""A hub's cache that holds weights of timm's names, random ones."""

import timm
from huggingface_hub import constants
from safetensors.torch import save_model


def shallow(monkeypatch, depth=1):
    """Let timm make deep networks of few blocks, which are the same in all but time."""
    whole = timm.create_model

    def create(name, *arguments, **settings):
        if "vit_" in name or "eva02" in name:
            settings = {"depth": depth} | settings
        if name == "resnet152":
            settings = {"layers": [depth] * 4} | settings
        return whole(name, *arguments, **settings)

    monkeypatch.setattr(timm, "create_model", create)


def put_into_cache(names, folder, monkeypatch):
    """Write random weights to where the hub's client keeps what it has fetched.

    Returns:
        The models, by name.
    """
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    made = {}
    for name in names:
        made[name] = timm.create_model(name, pretrained=False).eval()
        repository = made[name].pretrained_cfg["hf_hub_id"].replace("/", "--")
        kept = folder / f"models--{repository}"
        (kept / "refs").mkdir(parents=True)
        (kept / "refs" / "main").write_text("0" * 40)
        (kept / "snapshots" / ("0" * 40)).mkdir(parents=True)
        save_model(made[name], str(kept / "snapshots" / ("0" * 40) / "model.safetensors"))
    return made
