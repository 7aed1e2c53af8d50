"""Folders with links, odd names, few images, splits, and things that are no images."""

import os
import random
import shutil
import socket
from pathlib import Path

from harness import Case
from materials import Materials, draw, draw_images, settings, write_scene


def _case(numbers: random.Random, folder: str, note: str, materials: Materials) -> Case:
    how = numbers.choice(("check", "check", "pretrain", "evaluate"))
    words = {
        "check": ["datasets", "--check", folder, "--json"],
        "pretrain": ["pretrain", folder, "--out", "new", *settings()],
        "evaluate": ["evaluate", str(materials.encoder), "--on", folder, "--out", "new"],
    }[how]
    return Case(words, note)


def links(numbers: random.Random, materials: Materials, work: Path) -> Case:
    folder = materials.copy("images", work)
    how = numbers.choice(("loop", "loop above", "broken", "to itself", "class twice", "outside"))
    if how == "loop":
        (folder / "again").symlink_to(".")
    elif how == "loop above":
        (folder / "class0" / "up").symlink_to("..")
    elif how == "broken":
        (folder / "class0" / "broken.png").symlink_to("nothing.png")
    elif how == "to itself":
        (folder / "class0" / "self.png").symlink_to("self.png")
    elif how == "class twice":
        (folder / "class2").symlink_to("class0")
    else:
        (folder / "class2").symlink_to(materials.folder / "images" / "class1")
    return _case(numbers, "images", f"links: {how}", materials)


def odd_names(numbers: random.Random, materials: Materials, work: Path) -> Case:
    folder = materials.copy("images", work)
    names: tuple[str | bytes, ...] = (
        "two\nlines",
        "\x1b[31mred",
        "[bold]markup",
        " ",
        "été",
        "e\u0301te\u0301",
        "\u2028",
        "a,b;c",
        '"quoted"',
        "%s",
        "-o",
        "x" * 250,
        "²",
        "CON",
        b"caf\xe9",
        b"\xff\xfe",
    )
    name = os.fsencode(numbers.choice(names))
    if numbers.random() < 0.5:
        os.rename(os.fsencode(folder / "class0"), os.fsencode(folder) + b"/" + name)
    else:
        source = os.fsencode(folder / "class0" / "00.png")
        os.rename(source, os.path.dirname(source) + b"/" + name[:240] + b".png")
    return _case(numbers, "images", f"named {name[:40]!r}", materials)


def few_images(numbers: random.Random, materials: Materials, work: Path) -> Case:
    count = numbers.choice((0, 1, 2, 3, 4, 5))
    classes = numbers.choice((1, 2))
    (work / "few").mkdir()
    draw_images(work / "few", classes, count)
    more = numbers.choice(
        ([], ["clusters=2"], ["clusters=2", "batch_size=2"], ["clusters=null", "labels=instance"])
    )
    words = ["pretrain", "few", "--out", "new", *settings(*more)]
    if numbers.random() < 0.4:
        words = ["evaluate", str(materials.encoder), "--on", "few", "--out", "new"]
    return Case(words, f"{classes} classes of {count} images, {' '.join(more)}")


def remainder(numbers: random.Random, materials: Materials, work: Path) -> Case:
    """The last batch of a pass holds one image."""
    images = numbers.choice((11, 21, 41))
    (work / "odd").mkdir()
    draw_images(work / "odd", 1, images)
    size = numbers.choice((2, 4, 8, 10))
    relabel = numbers.choice(("fresh", "reuse"))
    more = (f"batch_size={size}", f"relabel={relabel}", "clusters=2")
    words = ["pretrain", "odd", "--out", "new", *settings(*more)]
    return Case(words, f"{images} images in batches of {size}, {relabel}", codes=(0,))


def splits(numbers: random.Random, materials: Materials, work: Path) -> Case:
    names = numbers.choice((("train", "test"), ("Train", "Val", "Test"), ("train", "val", "extra")))
    top = work / "data"
    for name in names:
        draw_images(top / name, 2, 3)
    return _case(numbers, "data", f"{', '.join(names)} above the classes", materials)


def nested(numbers: random.Random, materials: Materials, work: Path) -> Case:
    depth = numbers.choice((1, 2, 40))
    where = work / "top"
    for level in range(depth):
        where = where / f"level{level}"
    shutil.copytree(materials.folder / "images", where)
    return _case(numbers, "top", f"classes {depth} levels down", materials)


def layouts(numbers: random.Random, materials: Materials, work: Path) -> Case:
    """Names under which copies of the catalogue's data sets go round."""
    names = (
        ("aid", "AID_dataset"),
        ("aid", "AID"),
        ("ucmerced", "UCMerced_LandUse/UCMerced_LandUse/Images"),
        ("ucmerced", "ucmerced_landuse/images"),
        ("resisc45", "NWPU-RESISC45"),
        ("resisc45", "resisc45/train"),
        ("eurosat", "EuroSAT_RGB"),
        ("eurosat-rgb", "EuroSAT_RGB"),
        ("patternnet", "PatternNet/PatternNet/images"),
        ("siri-whu", "12class_tif"),
    )
    name, layout = numbers.choice(names)
    shutil.copytree(materials.folder / "images", work / "root" / layout)
    words = numbers.choice(
        (
            ["datasets", name, "--root", "root"],
            ["datasets", name, "--check", "root"],
            ["evaluate", str(materials.encoder), "--on", name, "--root", "root", "--out", "new"],
        )
    )
    return Case(words, f"{name} as {layout}")


def not_images(numbers: random.Random, materials: Materials, work: Path) -> Case:
    folder = materials.copy("images", work)
    what = numbers.choice(("pipe", "socket", "folder", "hidden", "unreadable", "notes", "runs"))
    where = folder / "class0"
    if what == "pipe":
        os.mkfifo(where / "pipe.png")
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(where / "s.png"))
    elif what == "folder":
        (where / "folder.png").mkdir()
    elif what == "hidden":
        shutil.move(where / "00.png", where / ".00.png")
        (folder / ".git").mkdir()
        shutil.copy(where / "01.png", folder / ".git" / "01.png")
    elif what == "unreadable":
        (where / "00.png").chmod(0)
    elif what == "notes":
        (folder / "labels.csv").write_text("a,b\n")
        (where / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    else:
        (folder / "runs" / "pretrain" / "x").mkdir(parents=True)
        shutil.copy(where / "01.png", folder / "runs" / "pretrain" / "x" / "curves.png")
    case = _case(numbers, "images", f"a {what} among images", materials)
    return Case(case.words, case.note, unprivileged=what == "unreadable")


def mixed(numbers: random.Random, materials: Materials, work: Path) -> Case:
    """Files that differ in bands, bits or size."""
    folder = materials.copy("images", work)
    what = numbers.choice(("16-bit", "bands", "floats", "sizes", "scenes", "suffixes"))
    for number in range(numbers.choice((1, 6, 12))):
        path = folder / "class1" / f"{number:02}.tif"
        (folder / "class1" / f"{number:02}.png").unlink()
        pixels = draw(3, 40, seed=number)
        if what == "16-bit":
            pixels = pixels.astype("uint16") * 40
        elif what == "bands":
            pixels = draw(13, 40, seed=number).astype("uint16") * 40
        elif what == "floats":
            pixels = pixels.astype("float32") / 255
        elif what == "sizes":
            pixels = draw(3, 300 + number, seed=number)
        elif what == "scenes":
            pixels = draw(3, 300, seed=number)
        write_scene(path, pixels, **({} if what == "scenes" else {"crs": None, "transform": None}))
    return _case(numbers, "images", f"mixed {what}", materials)


def scene_folders(numbers: random.Random, materials: Materials, work: Path) -> Case:
    """Folders of scenes: by year, a file a band, in other units."""
    what = numbers.choice(("years", "bands", "units", "one", "small", "mixed"))
    top = work / "scenes"
    top.mkdir()
    for number in range(1 if what == "one" else 4):
        pixels = draw(1 if what == "bands" else 3, 288, seed=number, high=3000).astype("uint16")
        name = f"t{number}.tif"
        if what == "years":
            name = f"{2019 + number % 2}/t{number}.tif"
            (top / str(2019 + number % 2)).mkdir(exist_ok=True)
        elif what == "bands":
            band = ("SR_B2", "SR_B3", "SR_B4", "QA_PIXEL")[number]
            name = f"LC08_L2SP_023032_20210622_02_T1_{band}.TIF"
        elif what == "units" and number % 2:
            pixels = (pixels / 10_000).astype("float32")
        elif what == "small":
            pixels = pixels[:, : 17 + number, : 17 + number]
        elif what == "mixed" and number == 3:
            pixels = pixels[:2]
        write_scene(top / name, pixels)
    words = ["pretrain", "scenes", "--out", "new", *settings()]
    if numbers.random() < 0.5:
        words = ["datasets", "--check", "scenes", "--json"]
    return Case(words, f"scenes: {what}")


def here(numbers: random.Random, materials: Materials, work: Path) -> Case:
    """The working folder itself is the data set."""
    shutil.copytree(materials.folder / "images", work, dirs_exist_ok=True)
    words = numbers.choice(
        (
            ["pretrain", ".", *settings()],
            ["pretrain", ".", "--out", "new", *settings()],
            ["datasets", "--check", "."],
            ["pretrain", "./", "--out", ".", *settings()],
            ["pretrain", str(work) + "//", "--out", "class0", *settings()],
        )
    )
    return Case(words, f"{words[1]} as data set")


DRAWS = (
    links,
    odd_names,
    odd_names,
    few_images,
    few_images,
    remainder,
    splits,
    nested,
    layouts,
    not_images,
    mixed,
    scene_folders,
    here,
)
