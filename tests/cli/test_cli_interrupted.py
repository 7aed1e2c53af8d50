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
        ("pretrain aid --dry-run", None),
        ("transfer --from aid --to hmhr --dry-run --json", None),
        ("embed a.tif --encoder e -o b.tif --dry-run", None),
        *(
            (f"pretrain {words}", f"rs-otl pretrain {kept} --out runs/supervised/x --resume")
            for words, kept in (
                ("--supervised --no-keep-duplicates-together x", "x"),
                ("--keep-duplicates-together --supervised data/x", "data/x"),
                ("--supervised --set=epochs=3 x", "x"),
                ("--supervised --root=d x", "--root=d x"),
                ("x --set supervised=true", "x"),
                ("x --set=supervised=yes --set supervised=True", "x"),
                ("x --recipe labelled.yaml", "x"),
                ("--recipe=labelled.yaml x --root d", "x --root d"),
            )
        ),
        ("-q pretrain x --supervised --out=r", "rs-otl -q pretrain x --out=r --resume"),
        ("pretrain x --set supervised=false", "rs-otl pretrain x --resume"),
        ("pretrain x --recipe no-such.yaml", "rs-otl pretrain x --resume"),
        ("pretrain --supervised", "rs-otl pretrain --resume"),
        ("embed a.tif --encoder e -o b.tif", "rs-otl embed a.tif --encoder e -o b.tif --resume"),
        ("reproduce table-8 --seeds 3", "rs-otl reproduce table-8 --seeds 3"),
        ("evaluate runs/a --on hmhr", None),
        ("", None),
    ],
)
def test_control_c_says_what_to_type_to_go_on(typed, to_go_on, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labelled.yaml").write_text("supervised: true")
    assert command_to_go_on(shlex.split(typed)) == to_go_on
    assert not capsys.readouterr().err
