"""The page of sensors: its commands run in order, and print what it says."""

import re
import shlex
from pathlib import Path

import numpy as np
from command_line import rs_otl_here, settings
from drawn_products import CORNER, save, sentinel_1, sentinel_2, texture, zipped

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sensors.md"


def test_the_commands_of_the_page_run_and_print_what_it_says(tmp_path):
    four = {"B02": 10, "B03": 10, "B04": 10, "B08": 10}
    safe = sentinel_2(tmp_path / "sentinel-2", side=60, bands=four)
    zipped(safe).rename(tmp_path / f"{safe.stem}.zip")
    sentinel_1(tmp_path / "sentinel-1", side=60)
    stack = np.stack([texture(120, 120, n, 1200, 7000) for n in range(4)]).astype(np.uint16)
    save(tmp_path / "stack.tif", stack, 10, ("B2", "B3", "B4", "B8"))
    save(tmp_path / "four-bands.tif", stack, 10, ("blue", "green", "red", "nir"))
    places = [(CORNER[0] + 10 * x, CORNER[1] - 10 * y, name) for x, y, name in
              ((20, 20, "a"), (90, 90, "b"))]  # fmt: skip
    rows = "".join(f"{x},{y},{name}\n" for x, y, name in places)
    (tmp_path / "labels.csv").write_text(f"x,y,class\n{rows}")
    text = PAGE.read_text()
    printed = ""
    for block in re.findall(r"^```console\n(.*?)^```", text, re.M | re.S):
        for line in block.splitlines():
            words = shlex.split(line)[1:]
            quick = (
                "epochs=1",
                "views=2",
                "image_size=16",
                "augment=simple",
                "encoder=test_resnet",
            )
            short = settings(*quick) if words[0] == "pretrain" else ()
            printed += rs_otl_here(*words, *short, cwd=tmp_path).stderr
    embed = ["embed", "stack.tif", "--encoder", "s2", "-o", "again.tif"]
    printed += rs_otl_here(*embed, cwd=tmp_path).stderr
    embed = ["embed", "stack.tif", "--encoder", "s2", "-o", "no.tif", "--units", "toa"]
    printed += rs_otl_here(*embed, check=2, cwd=tmp_path).stderr
    shown = re.findall(r"^    (\S.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    assert len(shown) == 3
    for line in shown:
        assert line in printed
