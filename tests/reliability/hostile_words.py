"""Command lines with missing, unknown and odd options and values."""

import random
from pathlib import Path

from harness import Case
from materials import QUICK, Materials, settings

ODD = (
    "",
    " ",
    "-1",
    "0",
    "1",
    "1.5",
    "1e9",
    "nan",
    "inf",
    "-inf",
    "true",
    "null",
    "None",
    "9" * 30,
    "9" * 5000,
    "\x1b[31mred",
    "two\nlines",
    "\u2028",
    "\udcff\udcfe",
    "²",
    "٣",
    "a,b",
    "1,2,3,4",
    ",",
    ".",
    "no/such/file",
    "~",
    "-",
    "x" * 5000,
    "%s{0}$HOME",
    "[bold]x[/]",
    "http:x.tif",
    "EPSG:0",
    "EPSG:99999999",
    "PROJCS[",
    "cuda:7",
    "timm/no_such",
    "timm/",
    "ResNet18_Weights.NO_SUCH",
    "torchgeo/NoSuch",
)
# Each needs a network, or asks for hours of honest work.
_LEFT_ALONE = {"--download", "--rounds", "--rows", "--debug", "--nodes", "--devices", "--strategy"}


def _sound(command: str, materials: Materials, work: Path) -> list[str]:
    """Return a sound command line, and copy what it reads."""
    encoder = str(materials.encoder)
    needs = {
        "datasets": ["images"],
        "pretrain": ["images"],
        "transfer": ["images"],
        "evaluate": ["images"],
        "export": ["run"],
        "embed": ["scene.tif"],
        "map": ["scene.tif", "labels.geojson"],
        "search": ["scene.tif"],
        "view": ["scene.tif", "embeddings.tif"],
        "tile": ["scene.tif"],
        "cluster": ["scene.tif", "embeddings.tif"],
        "suggest": ["embeddings.tif", "labels.geojson"],
        "change": ["embeddings.tif"],
        "index": ["embeddings.tif"],
    }
    for name in needs.get(command, ()):
        materials.copy(name, work)
    materials.copy("images/class0/00.png", work, "image.png")
    lines = {
        "datasets": ["--check", "images"],
        "pretrain": ["images", "--out", "new", *settings()],
        "transfer": ["--from", encoder, "--to", "images", "--out", "new", *settings()],
        "evaluate": [encoder, "--on", "images", "--out", "new"],
        "export": ["run", "--to", "new"],
        "embed": ["scene.tif", "--encoder", encoder, "-o", "e.tif", *QUICK],
        "map": [
            *("scene.tif", "--encoder", encoder, "--labels", "labels.geojson", "-o", "m.tif"),
            *QUICK,
        ],
        "search": [
            *("scene.tif", "--encoder", encoder, "--query", "500100,4999900", "-o", "s.geojson"),
            *QUICK,
        ],
        "view": ["scene.tif", "--embeddings", "embeddings.tif", "-o", "v.html"],
        "tile": ["scene.tif", "-o", "new", "--tile", "32"],
        "cluster": ["embeddings.tif", "-k", "3", "--scene", "scene.tif", "-o", "c.tif"],
        "suggest": ["embeddings.tif", "--labels", "labels.geojson", "-n", "3", "-o", "p.geojson"],
        "change": ["embeddings.tif", "embeddings.tif", "-o", "d.tif"],
        "index": ["embeddings.tif", "-o", "archive"],
        "augmentations": ["image.png", "-o", "a.png", "--image-size", "32"],
        "bench": ["labels", "--rows", "200", "--clusters", "4", "--rounds", "1"],
        "doctor": [],
    }
    return [command, *lines.get(command, [])]


def _command(numbers: random.Random, materials: Materials) -> str:
    # reproduce asks for hours of honest work.
    return numbers.choice(sorted(set(materials.program["options"]) - {"reproduce"}))


def _case(words: list[str], note: str, **more: object) -> Case:
    # Encoders are cached by name where they are evaluated.
    return Case(words, note, **more)  # type: ignore[arg-type]


def odd_value(numbers: random.Random, materials: Materials, work: Path) -> Case:
    command = _command(numbers, materials)
    words = _sound(command, materials, work)
    options = [
        option
        for option in materials.program["options"][command]
        if not option["flag"] and not _LEFT_ALONE & set(option["names"])
    ]
    value = numbers.choice(ODD)
    if not options:
        return _case([*words, value], f"{value[:40]!r} more")
    name = numbers.choice(options)["names"][0]
    # Instead of its value, since the last of two would not always win.
    if name in words:
        position = words.index(name)
        words[position + 1] = value
    else:
        words += [name, value]
    return _case(words, f"{name} {value[:40]!r}", changes=("images/*", "run/*"))


def odd_argument(numbers: random.Random, materials: Materials, work: Path) -> Case:
    command = _command(numbers, materials)
    words = _sound(command, materials, work)
    value = numbers.choice(ODD)
    if len(words) > 1 and not words[1].startswith("-"):
        words[1] = value
    else:
        words.append(value)
    return _case(words, f"argument {value[:40]!r}")


def missing_word(numbers: random.Random, materials: Materials, work: Path) -> Case:
    words = _sound(_command(numbers, materials), materials, work)
    position = numbers.randrange(len(words))
    note = f"without {words[position][:40]!r}"
    return _case(words[:position] + words[position + 1 :], note)


def unknown_word(numbers: random.Random, materials: Materials, work: Path) -> Case:
    words = _sound(_command(numbers, materials), materials, work)
    word = numbers.choice(("--no-such", "-q", "--", "---", "-\udcff", "--set", "--outt", "\x07"))
    words.insert(numbers.randrange(len(words) + 1), word)
    return _case(words, f"{word!r} too many")


def shuffled_words(numbers: random.Random, materials: Materials, work: Path) -> Case:
    words = _sound(_command(numbers, materials), materials, work)
    rest = words[1:]
    numbers.shuffle(rest)
    return _case([words[0], *rest], "words in another order")


def existing_output(numbers: random.Random, materials: Materials, work: Path) -> Case:
    commands = {
        "pretrain": "--out",
        "export": "--to",
        "embed": "-o",
        "map": "-o",
        "search": "-o",
        "view": "-o",
        "tile": "-o",
        "augmentations": "-o",
    }
    command = numbers.choice(sorted(commands))
    words = _sound(command, materials, work)
    name = words[words.index(commands[command]) + 1]
    where = work / name
    how = numbers.choice(("file", "folder", "link", "nothing behind a link", "no folder"))
    if how == "file":
        where.write_bytes(b"keep me")
    elif how == "folder":
        where.mkdir()
        (where / "keep me").write_bytes(b"keep me")
    elif how == "link":
        (work / "kept").write_bytes(b"keep me")
        where.symlink_to("kept")
    elif how == "nothing behind a link":
        where.symlink_to("missing")
    else:
        words[words.index(commands[command]) + 1] = f"no/such/folder/{name}"
    codes = (0, 2) if how in ("nothing behind a link", "no folder") else (2,)
    return Case(words, f"output: {how}", codes=codes)


def names_of_devices(numbers: random.Random, materials: Materials, work: Path) -> Case:
    command = numbers.choice(("embed", "map", "tile", "augmentations", "pretrain", "evaluate"))
    words = _sound(command, materials, work)
    words[1] = numbers.choice(("/dev/zero", "/dev/null", "/proc/self/mem", "/dev/stdin", "/"))
    if words[1] == "/" and command in ("pretrain", "evaluate"):
        words[1] = "/dev"
    return Case(words, f"reads {words[1]}", codes=(2,))


DRAWS = (
    odd_value,
    odd_value,
    odd_argument,
    missing_word,
    unknown_word,
    shuffled_words,
    existing_output,
    names_of_devices,
)
