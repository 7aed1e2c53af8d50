"""Encoder directories and checkpoint files whose descriptions or weights are wrong."""

import json
import pickle
import random
import struct
from pathlib import Path
from typing import Any

from harness import Case
from materials import QUICK, Materials, damage, settings

_ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    10**6,
    10**20,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\x1b[31mred",
    "two\nlines",
    "[bold]x[/bold]",
    "\ud800",
    "²",
    "x" * 100_000,
    [],
    {},
    [None],
    ["red", "red", "red"],
    ["red"],
    [0.0, 0.0, 0.0],
    [-1.0, -1.0, -1.0],
    [float("nan")] * 3,
    [1] * 100_000,
    {"a": {"b": {"c": 1}}},
)
_ARCHITECTURES = (
    "resnet18",
    "no_such",
    "vit_huge_patch14_224",
    "test_vit",
    "../x",
    "resnet18.a1_in1k",
)


def _case(numbers: random.Random, materials: Materials, work: Path, name: str, note: str) -> Case:
    """Let a command load the encoder ``name`` in ``work``."""
    how = numbers.choice(("embed", "embed", "evaluate", "verify", "init", "search"))
    if how in ("embed", "search"):
        materials.copy("scene.tif", work)
    elif how != "verify":
        materials.copy("images", work)
    words = {
        "embed": ["embed", "scene.tif", "--encoder", name, *QUICK, "-o", "e.tif"],
        "search": [
            *("search", "scene.tif", "--encoder", name, *QUICK),
            *("--query", "500100,4999900", "-o", "s.geojson"),
        ],
        "evaluate": ["evaluate", name, "--on", "images", "--out", "new"],
        "verify": ["export", name, "--verify"],
        "init": ["pretrain", "images", "--init", name, "--out", "new", *settings()],
    }[how]
    return Case(words, note)


def _keys(values: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the paths to all values of a document."""
    if isinstance(values, dict):
        return [path for key in values for path in _keys(values[key], (*before, key))] + (
            [before] if before else []
        )
    return [before]


def odd_config_value(numbers: random.Random, materials: Materials, work: Path) -> Case:
    path = materials.copy("run/encoder", work) / "config.json"
    values = json.loads(path.read_text())
    keys = numbers.choice(sorted(_keys(values), key=str))
    inner = values
    for key in keys[:-1]:
        inner = inner[key]
    how = numbers.choice(("odd", "odd", "odd", "missing", "new"))
    value = numbers.choice(_ODD)
    if keys[-1] in ("encoder", "architecture") and numbers.random() < 0.7:
        value = numbers.choice(_ARCHITECTURES)
    if how == "missing":
        del inner[keys[-1]]
    elif how == "new":
        inner[str(keys[-1]) + "2"] = value
    else:
        inner[keys[-1]] = value
    path.write_text(json.dumps(values))
    note = f"config.json {'.'.join(map(str, keys))} {how} {value!r:.40}"
    return _case(numbers, materials, work, "encoder", note)


def odd_config(numbers: random.Random, materials: Materials, work: Path) -> Case:
    path = materials.copy("run/encoder", work) / "config.json"
    sound = path.read_text()
    documents: dict[str, bytes] = {
        "deep": b"[" * 100_000,
        "deep and closed": sound.encode().replace(b'"rs_otl": ', b'"rs_otl": ' + b"[" * 900, 1),
        "a list": b"[]",
        "text": b'"x"',
        "a number of 5,000 digits": b'{"rs_otl": ' + b"9" * 5000 + b"}",
        "UTF-16": sound.encode("utf-16"),
        "not UTF-8": b'{"rs_otl": "\xe9"}',
        "byte order mark": b"\xef\xbb\xbf" + sound.encode(),
        "of timm": b'{"architecture": "resnet18", "num_classes": 0}',
        "NaN": sound.encode().replace(b"32", b"NaN", 1),
        "keys twice": sound.encode().replace(b"{", b'{"rs_otl": 1, ', 1),
    }
    name = numbers.choice(sorted(documents))
    path.write_bytes(documents[name])
    return _case(numbers, materials, work, "encoder", f"config.json: {name}")


def damaged_directory(numbers: random.Random, materials: Materials, work: Path) -> Case:
    folder = materials.copy("run/encoder", work)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    likely = [path for path in files if path.name in ("config.json", "model.safetensors")]
    path = numbers.choice(likely * 3 + files)
    how = numbers.choice(("damage", "damage", "delete", "folder", "link"))
    if how == "damage":
        note = damage(path, numbers)
    else:
        path.unlink()
        note = f"{path.name}: {how}"
        if how == "folder":
            path.mkdir()
        elif how == "link":
            path.symlink_to(path.name)
    return _case(numbers, materials, work, "encoder", note)


def odd_safetensors(numbers: random.Random, materials: Materials, work: Path) -> Case:
    path = materials.copy("run/encoder", work) / "model.safetensors"
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    names = sorted(name for name in header if name != "__metadata__")
    name = numbers.choice(names)
    how = numbers.choice(
        ("shape", "type", "offsets", "missing", "renamed", "more", "huge header", "zeros", "NaN")
    )
    entry = header[name]
    if how == "shape":
        entry["shape"] = numbers.choice(([], [0], [-1], [10**12], entry["shape"][::-1], [1.5]))
    elif how == "type":
        entry["dtype"] = numbers.choice(("I64", "F16", "BF16", "BOOL", "F8_E4M3", "X"))
    elif how == "offsets":
        entry["data_offsets"] = numbers.choice(([0, 0], [5, 1], [0, 10**15], [-4, 0]))
    elif how == "missing":
        del header[name]
    elif how == "renamed":
        header[numbers.choice(("", "\x1b", "x" * 5000, "\ud800"))] = header.pop(name)
    elif how == "more":
        header["more"] = {"dtype": "F32", "shape": [0], "data_offsets": [len(data), len(data)]}
    elif how == "zeros":
        data = bytes(len(data))
    elif how == "NaN":
        data = b"\xff" * len(data)
    raw = json.dumps(header).encode()
    size = 2**62 if how == "huge header" else len(raw)
    path.write_bytes(struct.pack("<Q", size) + raw + data)
    return _case(numbers, materials, work, "encoder", f"safetensors: {how} of {name}")


def odd_checkpoint(numbers: random.Random, materials: Materials, work: Path) -> Case:
    import torch  # takes seconds

    source = materials.folder / "run" / "checkpoints" / "last.ckpt"
    sound = torch.load(source, map_location="cpu", weights_only=True)
    values = {
        "hyper_parameters": dict(sound["hyper_parameters"]),
        "state_dict": dict(sound["state_dict"]),
    }
    tensors, settings_ = values["state_dict"], values["hyper_parameters"]
    name = numbers.choice(sorted(tensors))
    how = numbers.choice(("setting", "setting", "setting", "tensor", "tensor", "keys", "document"))
    note = how
    if how == "setting":
        key = numbers.choice(("model", "in_channels", "size", "mean", "std", "rgb"))
        value = numbers.choice((*_ODD, 10**9))
        settings_[key] = value
        note = f"hyper_parameters.{key} = {value!r:.40}"
    elif how == "tensor":
        tensor = tensors[name]
        odd: dict[str, Any] = {
            "text": "x",
            "none": None,
            "a number": 7,
            "a list": [1.0],
            "integers": tensor.long(),
            "complex": tensor.to(torch.complex64),
            "half": tensor.half() if tensor.is_floating_point() else tensor,
            "double": tensor.double(),
            "sparse": tensor.float().reshape(-1, 1).to_sparse(),
            "on meta": tensor.to("meta"),
            "empty": tensor.reshape(-1)[:0],
            "turned": tensor.T if tensor.dim() == 2 else tensor.flip(0) if tensor.dim() else tensor,
            "expanded": torch.zeros(1).expand(10**9),
            "NaN": torch.full_like(tensor.float(), float("nan")),
            "infinite": torch.full_like(tensor.float(), float("inf")),
            "quantised": torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8),
            "nested": {"a": tensor},
        }
        note = numbers.choice(sorted(odd))
        tensors[name] = odd[note]
        note = f"{name}: {note}"
    elif how == "keys":
        note = numbers.choice(("integers", "tuples", "none", "empty", "foreign", "without one"))
        values["state_dict"] = {
            "integers": dict(enumerate(tensors.values())),
            "tuples": {(number,): tensor for number, tensor in enumerate(tensors.values())},
            "none": {None: tensors[name]},
            "empty": {},
            "foreign": {f"net.{key}": tensor for key, tensor in tensors.items()},
            "without one": {key: tensor for key, tensor in tensors.items() if key != name},
        }[note]
        note = f"state_dict: {note}"
    document: Any = values
    if how == "document":
        note = numbers.choice(("a list", "a tensor", "nothing", "text", "state alone", "nested"))
        document = {
            "a list": [values],
            "a tensor": tensors[name],
            "nothing": None,
            "text": "x",
            "state alone": tensors,
            "nested": {"state_dict": values},
        }[note]
    torch.save(document, work / "weights.pth")
    return _case(numbers, materials, work, "weights.pth", f"checkpoint: {note}")


class _Code:
    """What runs code when it is unpickled as Python does it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("executed"),))


def damaged_checkpoint(numbers: random.Random, materials: Materials, work: Path) -> Case:
    path = materials.copy("run/checkpoints/last.ckpt", work, "weights.pth")
    how = numbers.choice(("damage", "damage", "damage", "pickle", "code", "zip"))
    if how == "damage":
        note = damage(path, numbers)
    elif how == "zip":
        path.write_bytes(b"PK\x05\x06" + bytes(18))
        note = "an empty archive"
    else:
        path.write_bytes(pickle.dumps({"state_dict": _Code()} if how == "code" else [1, 2]))
        note = f"a pickle of {'code' if how == 'code' else 'a list'}"

    return _case(numbers, materials, work, "weights.pth", f"checkpoint: {note}")


def odd_place(numbers: random.Random, materials: Materials, work: Path) -> Case:
    what = numbers.choice(
        ("empty folder", "run of no encoder", "link", "loop", "safetensors", "onnx")
    )
    if what == "empty folder":
        (work / "encoder").mkdir()
    elif what == "run of no encoder":
        materials.copy("stopped", work, "encoder")
    elif what == "link":
        (work / "encoder").symlink_to(materials.encoder)
    elif what == "loop":
        (work / "encoder").symlink_to("encoder")
    elif what == "safetensors":
        materials.copy("run/encoder/model.safetensors", work, "encoder")
    else:
        (work / "encoder").write_bytes(b"\x08\x07\x12\x07pytorch")
    return _case(numbers, materials, work, "encoder", f"encoder: {what}")


DRAWS = (
    odd_config_value,
    odd_config_value,
    odd_config_value,
    odd_config,
    damaged_directory,
    odd_safetensors,
    odd_checkpoint,
    odd_checkpoint,
    damaged_checkpoint,
    odd_place,
)
