"""Recipes and ``--set`` values that YAML, pydantic or the machine's memory stumble over."""

import random
from pathlib import Path

from harness import Case
from materials import TINY, Materials, settings

_WORDS = (
    "!!int x",
    "!!bool maybe",
    "!!float one",
    "!!timestamp never",
    "!!binary ###",
    "!!python/object/apply:os.system [exit]",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "!unknown x",
    "2021-02-30",
    "2021-13-45T99:99:99",
    "12:99:99",
    "[",
    "{",
    "&a [*a]",
    "*nothing",
    "'",
    '"\\ud800"',
    '"\\x1b[31m"',
    "\t",
    "%",
    "@",
    "`",
    "|",
    "? ",
    "- 1",
    "a: b: c",
    "~",
    "",
    "[]",
    "{}",
    "[1, 2]",
    "{a: 1}",
    "yes",
    "0x10",
    "0o17",
    "1_000",
    "1e3",
    "\udcff",
    "²",
    "\x00" * 0 + "\x7f",
)
_NUMBERS = (
    "-1",
    "0",
    "-0.0",
    ".nan",
    ".inf",
    "-.inf",
    "1e300",
    "1e-300",
    "1e26",
    "1e14",
    "100000000000000",
    "1" + "0" * 26,
    str(2**31),
    str(2**63),
    str(2**64),
    str(-(2**63) - 1),
    "9" * 5000,
    "1." + "0" * 5000,
    "1.5",
    "true",
)
# More of these is more of honest work.
_LEFT_ALONE = {"epochs", "dataset"}
# Such a value asks for more than any machine has.
_ABSURD = {
    "image_size": ("1000000", "100000000000000", "1" + "0" * 26),
    "hidden": ("100000000000000", "1" + "0" * 26),
    "views": ("1" + "0" * 26, "100000000000000"),
    "heads": ("1" + "0" * 26, "100000000000000"),
    "batch_size": ("1" + "0" * 26,),
    "chunks": ("1" + "0" * 26,),
    "clusters": ("1" + "0" * 26, "1000000"),
    "lr": ("1e300", ".inf", ".nan"),
    "momentum": (".nan", "1e300"),
    "weight_decay": (".nan", ".inf", "1e300"),
    "temperature": (".nan", "1e-300", "1e300"),
    "decay": (".inf", ".nan"),
    "workers": ("1000000", "1" + "0" * 26),
    "seed": (str(2**64), "1" + "0" * 26),
    "warmup": (str(2**64),),
    "knn_every": (str(2**64),),
    "relabel_every": (str(2**64),),
    "division": (str(2**64),),
    "milestones": ("[" + str(2**64) + "]", "[.nan]"),
}
# What a run that has begun, but whose training fails, leaves.
_RUN = ("new", "new/*")


def _key(numbers: random.Random, materials: Materials) -> str:
    return numbers.choice(sorted(set(materials.program["recipe"]) - _LEFT_ALONE))


def _pretrain(
    materials: Materials, work: Path, note: str, *more: str, codes: tuple[int, ...] = (0, 2)
) -> Case:
    materials.copy("images", work)
    words = ["pretrain", "images", "--out", "new", *settings(), *more]
    return Case(words, note, codes=codes, makes=("new/encoder/config.json",))


def yaml_trap(numbers: random.Random, materials: Materials, work: Path) -> Case:
    setting = f"{_key(numbers, materials)}={numbers.choice(_WORDS)}"
    return _pretrain(materials, work, setting[:60], "--set", setting)


def odd_number(numbers: random.Random, materials: Materials, work: Path) -> Case:
    setting = f"{_key(numbers, materials)}={numbers.choice(_NUMBERS)}"
    return _pretrain(materials, work, setting[:60], "--set", setting)


def asked_for_too_much(numbers: random.Random, materials: Materials, work: Path) -> Case:
    known = [key for key in _ABSURD if key in materials.program["recipe"]]
    key = numbers.choice(known)
    setting = f"{key}={numbers.choice(_ABSURD[key])}"
    return _pretrain(materials, work, setting[:60], "--set", setting)


def odd_setting(numbers: random.Random, materials: Materials, work: Path) -> Case:
    settings = (
        "=",
        "lr",
        "=1",
        "lr==1",
        "lr=1=2",
        " lr = 0.1 ",
        "LR=1",
        "\x1b=1",
        "\udcff=1",
        "x" * 5000 + "=1",
        "lr\n=1",
        "1=1",
        "null=1",
        "__class__=1",
        "model_config=1",
        "lr.x=1",
    )
    setting = numbers.choice(settings)
    return _pretrain(materials, work, repr(setting)[:60], "--set", setting)


def odd_pair(numbers: random.Random, materials: Materials, work: Path) -> Case:
    """Two keys at values that are odd together."""
    pairs = (
        ("chunks=3", "batch_size=2"),
        ("chunks=19", "batch_size=19"),
        ("chunks=7", "views=3"),
        ("clusters=2", "batch_size=2"),
        ("clusters=19", "batch_size=3"),
        ("views=1", "batch_size=2"),
        ("labels=instance", "clusters=null"),
        ("labels=kmeans", "clusters=19"),
        ("labels=sinkhorn", "clusters=2"),
        ("relabel=reuse", "relabel_every=2"),
        ("temperature=0.1", "relabel=fresh"),
        ("temperature=1e-12", "lr=0.1"),
        ("milestones=[1]", "milestone_lrs=[1e300]"),
        ("lr=1e300", "momentum=0.9"),
        ("lr=1e30", "views=2"),
        ("hidden=1", "heads=3"),
        ("cache=disk", "workers=0"),
        ("cache=none", "workers=1"),
        ("cache=ram", "image_size=16"),
        ("image_size=16", "augment=simple"),
        ("encoder=resnet18", "image_size=16"),
        ("encoder=vit_tiny_patch16_224", "image_size=32"),
        ("encoder=no_such_encoder", "views=2"),
        ("encoder=swin_tiny_patch4_window7_224", "image_size=33"),
        ("precision=bf16", "views=2"),
        ("supervised=true", "clusters=2"),
        ("freeze_batch_norm=true", "views=2"),
        ("keep_duplicates_together=false", "division=10"),
    )
    pair = numbers.choice(pairs)
    words = [word for setting in pair for word in ("--set", setting)]
    case = _pretrain(materials, work, " ".join(pair), *words)
    # Training that diverges leaves its run, to look at.
    return Case(case.words, case.note, makes=case.makes, leaves=_RUN if "lr=1e" in pair[0] else ())


def recipe_file(numbers: random.Random, materials: Materials, work: Path) -> Case:
    sound = "\n".join(setting.replace("=", ": ", 1) for setting in TINY)
    bomb = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)
    ]
    contents: dict[str, str | bytes] = {
        "empty": "",
        "a list": "- 1\n- 2\n",
        "text": "just words",
        "a number": "7",
        "binary": bytes(range(256)),
        "UTF-16": sound.encode("utf-16"),
        "not UTF-8": b"dataset: caf\xe9\n",
        "NUL": sound + "\n\0",
        "deep lists": "[" * 5000,
        "deep mappings": "\n".join(" " * n + "a:" for n in range(1500)),
        "deep and closed": "lr: " + "[" * 2000 + "]" * 2000,
        "alias bomb": "\n".join(bomb),
        "alias bomb as a value": "\n".join([*bomb, "lr: *a9"]),
        "an alias of itself": "lr: &a [*a]",
        "merge of itself": "a: &a\n  <<: *a\n",
        "merge of a number": sound + "\n<<: 7",
        "key twice": sound + "\nlr: 0.1\nlr: 0.2",
        "two documents": sound + "\n---\n" + sound,
        "a list as a key": "? [a, b]\n: 1",
        "a number as a key": "1: 2",
        "null as a key": "~: 2",
        "a date": sound + "\nseed: 2021-02-30",
        "a tag": sound + "\nseed: !!python/name:os.system",
        "a number of 5,000 digits": sound + "\nseed: " + "9" * 5000,
        "tabs": sound.replace(": ", ":\t"),
        "no line ends": sound.replace("\n", " "),
        "control characters": sound + "\nlr: \x07",
        "long": sound + "\n# " + "x" * 5_000_000,
        "many keys": "\n".join(f"key{n}: {n}" for n in range(20_000)),
        "long key": "k" * 2_000 + ": 1",
        "another data set": sound + "\ndataset: other",
        "sound": sound,
    }
    name = numbers.choice(sorted(contents))
    content = contents[name]
    raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    (work / "recipe.yaml").write_bytes(raw)
    materials.copy("images", work)
    words = ["pretrain", "images", "--out", "new", "--recipe", "recipe.yaml"]
    # A recipe that says little is completed by defaults that take minutes.
    words += settings()
    return Case(words, f"recipe: {name}", makes=("new/encoder/config.json",))


def odd_recipe_name(numbers: random.Random, materials: Materials, work: Path) -> Case:
    (work / "folder.yaml").mkdir()
    (work / "loop.yaml").symlink_to("loop.yaml")
    names = ("", ".", "folder.yaml", "loop.yaml", "quick.yaml", "../quick", "pretrain", "Quick")
    name = numbers.choice(names)
    return _pretrain(materials, work, f"recipe {name!r}", "--recipe", name, codes=(2,))


DRAWS = (
    yaml_trap,
    odd_number,
    odd_number,
    asked_for_too_much,
    odd_pair,
    recipe_file,
    odd_setting,
    odd_recipe_name,
)
