"""Runs, caches and unfinished embeddings that were damaged or changed by hand."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

from harness import Case
from materials import QUICK, UNFINISHED, Materials, damage, settings

_TEXTS: dict[str, bytes] = {
    "empty": b"",
    "a list": b"- 1\n- 2\n",
    "JSON list": b"[1, 2]",
    "text": b"just words",
    "binary": bytes(range(256)),
    "null": b"null",
    "a tag": b"dataset: !!python/name:os.system\n",
    "a date": b"dataset: 2021-02-30\n",
    "unknown key": b"no_such_key: 1\n",
    "deep": b"[" * 20_000,
    "NUL": b"\0",
    "not UTF-8": b"dataset: caf\xe9\n",
    "digits": b"seed: " + b"9" * 5000,
}
_STOPPED = ("stopped", "stopped/*")
# A log that TensorBoard begins before a checkpoint is read.
_EVENTS = ("stopped/tensorboard/*",)


def _resume(materials: Materials, work: Path, note: str, codes: tuple[int, ...] = (0, 2)) -> Case:
    materials.copy("images", work)
    words = ["pretrain", "images", "--out", "stopped", "--resume"]
    return Case(words, note, codes=codes, changes=_STOPPED, leaves=_EVENTS)


def damaged_run_file(numbers: random.Random, materials: Materials, work: Path) -> Case:
    """One file of a stopped run; then it is resumed."""
    run = materials.copy("stopped", work)
    files = sorted(path for path in run.rglob("*") if path.is_file() and path.name != ".lock")
    likely = [path for path in files if path.suffix in (".yaml", ".json", ".ckpt", ".csv")]
    path = numbers.choice(likely)
    how = numbers.choice(("damage", "damage", "text", "delete", "folder"))
    if how == "damage":
        note = damage(path, numbers)
    elif how == "text":
        name = numbers.choice(sorted(_TEXTS))
        path.write_bytes(_TEXTS[name])
        note = f"{path.name}: {name}"
    else:
        path.unlink()
        if how == "folder":
            path.mkdir()
        note = f"{path.name}: {how}"
    return _resume(materials, work, f"resume, {note}")


def changed_recipe(numbers: random.Random, materials: Materials, work: Path) -> Case:
    """A run's recipe, changed by hand before it is resumed."""
    path = materials.copy("stopped", work) / "recipe.yaml"
    lines = path.read_text().splitlines()
    changes = (
        *("clusters: 4", "clusters: null", "encoder: resnet18", "encoder: x", "views: 3"),
        *("heads: 2", "hidden: 8", "image_size: 48", "dataset: other", "dataset: class0"),
        *(
            "batch_size: 4",
            "seed: 2",
            "epochs: 1",
            "init: nothing",
            "init: run",
            "supervised: true",
        ),
        *("precision: bf16", "augment: simple", "relabel: reuse", "division: 2", "cache: none"),
        *(
            "labels: kmeans",
            "method: kmeans",
            "lr: 1.0e+300",
            "milestones: [1]",
            "temperature: 0.1",
        ),
    )
    change = numbers.choice(changes)
    key = change.partition(":")[0]
    if not any(line.startswith(f"{key}:") for line in lines):
        lines.append(change)
    path.write_text("\n".join(change if line.startswith(f"{key}:") else line for line in lines))
    return _resume(materials, work, f"resume with {change}")


def changed_images(numbers: random.Random, materials: Materials, work: Path) -> Case:
    materials.copy("stopped", work)
    case = _resume(materials, work, "")
    how = numbers.choice(("one less", "one more", "one other", "renamed", "none", "class gone"))
    folder = work / "images"
    path = folder / "class0" / "00.png"
    if how == "one less":
        path.unlink()
    elif how == "one more":
        shutil.copy(path, path.with_name("99.png"))
    elif how == "one other":
        path.write_bytes((folder / "class1" / "05.png").read_bytes())
    elif how == "renamed":
        path.rename(path.with_name("98.png"))
    elif how == "none":
        shutil.rmtree(folder)
    else:
        shutil.rmtree(folder / "class0")
    return Case(case.words, f"resume, images: {how}", codes=(2,), changes=_STOPPED, leaves=_EVENTS)


def changed_checkpoint(numbers: random.Random, materials: Materials, work: Path) -> Case:
    """A checkpoint whose labels, weights or counters are not those of the run."""
    import torch  # takes seconds

    path = materials.copy("stopped", work) / "checkpoints" / "last.ckpt"
    values = torch.load(path, map_location="cpu", weights_only=True)
    keys = _tensors_and_numbers(values)
    inner, key = numbers.choice(keys)
    value = inner[key]
    odd: list[Any] = [None, "x", -1, 10**12, float("nan"), [], {}]
    if isinstance(value, torch.Tensor):
        odd += [
            value.reshape(-1)[:0],
            value.double(),
            torch.zeros(3),
            torch.full_like(value.float(), 1e9),
        ]
        odd += [torch.full(tuple(value.shape), float("nan"))]
    number = numbers.randrange(len(odd))
    inner[key] = odd[number]
    torch.save(values, path)
    return _resume(materials, work, f"checkpoint {key} = {odd[number]!r:.40}")


def _tensors_and_numbers(values: Any) -> list[tuple[Any, Any]]:
    """List where the checkpoint keeps its values, as containers and keys."""
    items = values.items() if isinstance(values, dict) else enumerate(values)
    found: list[tuple[Any, Any]] = []
    for key, value in list(items):
        if isinstance(value, dict | list) and value:
            found += _tensors_and_numbers(value)
        found.append((values, key))
    return found


def foreign_checkpoint(numbers: random.Random, materials: Materials, work: Path) -> Case:
    import torch  # takes seconds

    path = materials.copy("stopped", work) / "checkpoints" / "last.ckpt"
    how = numbers.choice(("state alone", "of Lightning", "a list", "empty", "encoder"))
    if how == "encoder":
        source = materials.encoder / "encoder.pth"
        if source.exists():
            shutil.copy(source, path)
        else:
            path.write_bytes(b"")
    else:
        sound = torch.load(path, map_location="cpu", weights_only=True)
        documents: dict[str, Any] = {
            "state alone": sound["state_dict"],
            "of Lightning": {
                "state_dict": {"layer.weight": torch.zeros(2, 2)},
                "epoch": 3,
                "global_step": 9,
                "pytorch-lightning_version": "2.2.0",
                "loops": {},
                "callbacks": {},
                "optimizer_states": [],
                "lr_schedulers": [],
            },
            "a list": [1],
            "empty": {},
        }
        torch.save(documents[how], path)
    return _resume(materials, work, f"checkpoint: {how}")


def unrelated_run(numbers: random.Random, materials: Materials, work: Path) -> Case:
    """A broken run beside a sound one must not stop the sound one."""
    materials.copy("images", work)
    shutil.copytree(materials.folder / "run", work / "runs" / "pretrain" / "images")
    other = work / "runs" / numbers.choice(("pretrain", "adapt", "a b")) / "other"
    other.mkdir(parents=True)
    name = numbers.choice(sorted(_TEXTS))
    path = other / "recipe.yaml"
    path.write_bytes(_TEXTS[name])
    if numbers.random() < 0.2:
        path.unlink()
        path.mkdir()
        name = "a folder"
    (other / "encoder").mkdir()
    words = ["evaluate", "images", "--on", "images"]
    if numbers.random() < 0.4:
        materials.copy("scene.tif", work)
        words = ["embed", "scene.tif", "--encoder", "images", *QUICK, "-o", "e.tif"]
        # The name of the data set is also that of a folder here, which is no encoder.
    changes = ("runs/pretrain/images", "runs/pretrain/images/*", "runs")
    return Case(words, f"a run beside: recipe.yaml {name}", codes=(0,), changes=changes)


def damaged_features(numbers: random.Random, materials: Materials, work: Path) -> Case:
    """Cached features that are damaged are extracted again."""
    materials.copy("images", work)
    materials.copy("run", work)
    shutil.copytree(materials.folder / "runs" / "features", work / "runs" / "features")
    path = numbers.choice(sorted((work / "runs" / "features").iterdir()))
    note = damage(path, numbers)
    words = ["evaluate", "run", "--on", "images"]
    changes = ("run", "run/*", "runs/features/*")
    return Case(words, f"features: {note}", codes=(0,), changes=changes)


def damaged_part(numbers: random.Random, materials: Materials, work: Path) -> Case:
    """An unfinished embedding that is damaged, or of something else, and resumed."""
    materials.copy("scene.tif", work)
    part = materials.copy("part.tif.part", work)
    files = sorted(path for path in part.iterdir() if path.is_file())
    path = numbers.choice(files)
    how = numbers.choice(("damage", "text", "delete", "folder", "value", "longer"))
    note = how
    if how == "damage":
        note = damage(path, numbers)
    elif how == "text":
        name = numbers.choice(sorted(_TEXTS))
        path = part / "state.json"
        path.write_bytes(_TEXTS[name])
        note = name
    elif how in ("delete", "folder"):
        path.unlink()
        if how == "folder":
            path.mkdir()
    elif how == "longer":
        path = part / "0.f32"
        with path.open("ab") as file:
            file.write(bytes(10**6))
    else:
        state = part / "state.json"
        values = json.loads(state.read_text())
        key = numbers.choice(sorted(values))
        values[key] = numbers.choice((None, 7, "x\x1b", [], {}, [[1]], "x" * 10_000))
        state.write_text(json.dumps(values))
        path, note = state, f"{key} = {values[key]!r:.30}"
    # The encoder by the name that it was begun with.
    materials.copy("run", work)
    words = ["embed", "scene.tif", "--encoder", "run", *UNFINISHED, "-o", "part.tif"]
    words.append("--resume")
    changes = ("part.tif.part", "part.tif.part/*")
    return Case(words, f"unfinished embedding, {path.name}: {note}", changes=changes)


def replaced_scene(numbers: random.Random, materials: Materials, work: Path) -> Case:
    """Another scene under the same name between stop and resume."""
    materials.copy("run", work)
    materials.copy("part.tif.part", work)
    scene = materials.copy("scene.tif", work)
    content = bytearray(scene.read_bytes())
    content[len(content) // 2] ^= 0xFF
    scene.write_bytes(content)
    words = ["embed", "scene.tif", "--encoder", "run", *UNFINISHED, "-o", "part.tif"]
    words.append("--resume")
    return Case(words, "another scene under the same name", codes=(2,))


def odd_resume(numbers: random.Random, materials: Materials, work: Path) -> Case:
    materials.copy("images", work)
    materials.copy("run", work)
    (work / "empty").mkdir()
    (work / "file").write_text("x")
    out = numbers.choice(("run", "empty", "missing", "file", "images", "."))
    words = ["pretrain", "images", "--out", out, "--resume"]
    if numbers.random() < 0.3:
        words = ["pretrain", "images", "--out", out, *settings()]
    return Case(words, f"{' '.join(words[4:5]) or 'begin'} in {out}", changes=("run/.lock",))


def damaged_finished_run(numbers: random.Random, materials: Materials, work: Path) -> Case:
    """A finished run, damaged, is evaluated, exported or embedded with."""
    run = materials.copy("run", work)
    materials.copy("images", work)
    materials.copy("scene.tif", work)
    files = [
        path
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.suffix in (".yaml", ".json", ".ckpt", ".safetensors", ".csv")
    ]
    path = numbers.choice(files)
    note = damage(path, numbers)
    words = numbers.choice(
        (
            ["evaluate", "run", "--on", "images"],
            ["export", "run", "--to", "exported"],
            ["embed", "scene.tif", "--encoder", "run", *QUICK, "-o", "e.tif"],
            ["bench", "labels", "--encoder", "run", "--on", "images", "--clusters", "3",
             "--rounds", "1", "--plot", "plots"],
            ["transfer", "--from", "run", "--to", "images", "--frozen", "--out", "new"],
        )
    )  # fmt: skip
    return Case(words, f"finished run, {note}", changes=("run", "run/*"))


DRAWS = (
    damaged_run_file,
    damaged_run_file,
    damaged_run_file,
    changed_recipe,
    changed_images,
    changed_checkpoint,
    changed_checkpoint,
    foreign_checkpoint,
    unrelated_run,
    damaged_features,
    damaged_part,
    damaged_part,
    replaced_scene,
    odd_resume,
    damaged_finished_run,
)
