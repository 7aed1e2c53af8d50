import shlex

import pytest

from rs_otl.cli.interrupted import command_to_go_on


@pytest.mark.parametrize(
    ("typed", "to_go_on"),
    [
        ("pretrain aid", "rs-otl pretrain aid --resume"),
        (
            "pretrain 'my images' --recipe quick --set lr=0.1 --set=views=2 --out runs/a --root d",
            "rs-otl pretrain 'my images' --out runs/a --root d --resume",
        ),
        (
            "pretrain data/aid --supervised --division 2",
            "rs-otl pretrain data/aid --out runs/supervised/aid --resume",
        ),
        (
            "pretrain --root d --supervised aid",
            "rs-otl pretrain --root d aid --out runs/supervised/aid --resume",
        ),
        (
            "pretrain s2 --bands B04,B08 --scale 0.1 --offset=-1 --units toa --accelerator cpu",
            "rs-otl pretrain s2 --accelerator cpu --resume",
        ),
        ("pretrain aid --resume", "rs-otl pretrain aid --resume"),
        (
            "transfer --from aid --to hmhr --finetune --shots 1,5 --no-keep-duplicates-together",
            "rs-otl transfer --from aid --to hmhr --shots 1,5 --resume",
        ),
        ("transfer --from aid --to hmhr --frozen", None),
        ("embed a.tif --encoder e -o b.tif", "rs-otl embed a.tif --encoder e -o b.tif --resume"),
        ("reproduce table-8 --seeds 3", "rs-otl reproduce table-8 --seeds 3"),
        ("evaluate runs/a --on hmhr", None),
        ("", None),
    ],
)
def test_control_c_says_what_to_type_to_go_on(typed, to_go_on):
    assert command_to_go_on(shlex.split(typed)) == to_go_on
