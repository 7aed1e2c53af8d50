"""The tutorials on adapting and on Sentinel-2: their commands run in order, as printed."""

import re
import shlex
from pathlib import Path

from command_line import rs_otl_here, settings, undrawn
from drawn_products import sentinel_2

PAGES = Path(__file__).resolve().parent.parent / "docs"


def page(name):
    """Return the commands of a page, and the lines that it says are printed."""
    text = (PAGES / name).read_text()
    console = "".join(re.findall(r"^```console\n(.*?)^```", text, re.M | re.S))
    lines = console.replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines], re.findall(r"^    (\w.*)$", text, re.M)


def test_imagenet_weights_are_adapted_compared_and_exported(tmp_path):
    commands, (bands, _) = page("tutorial-adapt.md")
    told = []
    smaller = {"synthetic@40": "synthetic@4", "image_size=64": "image_size=32", "1,5": "1"}
    with undrawn():
        for words in commands:
            told.append(rs_otl_here(*(smaller.get(word, word) for word in words), cwd=tmp_path))
    assert bands in told[0].stderr
    assert "runs/adapted minus each of the others" in told[1].stdout
    assert (tmp_path / "my_encoder" / "model.safetensors").is_file()


def test_a_product_of_sentinel_2_becomes_an_encoder_and_a_map(tmp_path):
    sentinel_2(tmp_path / "sentinel-2", side=512)
    text = (PAGES / "tutorial-sentinel-2.md").read_text()
    (labels,) = re.findall(r"^```text\n(.*?)^```", text, re.M | re.S)
    (tmp_path / "labels.csv").write_text(labels)
    commands, shown = page("tutorial-sentinel-2.md")
    told = ""
    for words in commands:
        small = settings("epochs=1", "clusters=8", "encoder=test_resnet", "image_size=64")
        with undrawn():
            done = rs_otl_here(*words, *(small if words[0] == "pretrain" else ()), cwd=tmp_path)
        told += done.stdout + done.stderr
    for line in shown:  # the number of features and the time are those of the small encoder
        assert re.split(r" \d+ features| \d+\.\d s", line)[0] in told, line
    assert (tmp_path / "next.tif").is_file()
