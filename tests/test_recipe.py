import os
import re

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from rs_otl.datasets.catalogue import CATALOGUE
from rs_otl.errors import InputError
from rs_otl.recipe import (
    Recipe,
    find_recipe,
    make_recipe,
    parse_yaml,
    read_recipe,
    recipe_for,
    recipe_keys,
    shipped_recipes,
)

LARGE = ("eurosat", "patternnet", "resisc45", "aid")
SMALL = ("hmhr", "siri-whu", "ucmerced")


@pytest.mark.parametrize("dataset", LARGE + SMALL)
def test_the_paper_recipes_are_those_of_section_4_3(dataset):
    recipe, name = recipe_for(dataset)
    assert name == f"pretrain/{dataset}"
    small = dataset in SMALL
    assert recipe.epochs == (64 if small else 300)
    assert recipe.milestones == ((32, 48) if small else (160, 240))
    assert (recipe.lr, recipe.milestone_lrs) == (0.03, (0.003, 0.0006))
    assert (recipe.encoder, recipe.image_size, recipe.clusters) == ("resnet18", 224, 128)
    assert (recipe.augment, recipe.views, recipe.batch_size) == ("strong", 10, 128)
    assert (recipe.momentum, recipe.weight_decay) == (0.9, 5e-4)
    assert recipe.init == ("patternnet" if small else None)
    assert dataset in CATALOGUE


@pytest.mark.parametrize(
    ("dataset", "epochs", "milestones", "every", "clusters"),
    [
        ("cifar10", 1600, (960, 1280), 4, 128),
        ("cifar100", 1600, (960, 1280), 4, 512),
        ("svhn", 400, (240, 320), 1, 128),
        ("imagenet", 450, (160, 300, 380), 1, 3000),
    ],
)
def test_the_recipes_of_photographs_are_those_of_the_authors_programs(
    dataset, epochs, milestones, every, clusters
):
    recipe, name = recipe_for(f"{dataset}@uneven-100")
    assert name == f"pretrain/{dataset}"
    assert recipe.dataset == f"{dataset}@uneven-100"
    assert (recipe.epochs, recipe.milestones, recipe.relabel_every) == (epochs, milestones, every)
    assert (recipe.lr, recipe.momentum, recipe.weight_decay) == (0.05, 0, 5e-4)
    assert recipe.milestone_lrs[:2] == (0.005, 0.0005)
    assert (recipe.encoder, recipe.image_size, recipe.clusters) == ("alexnet_bn", 224, clusters)
    assert (recipe.views, recipe.views_apart, recipe.reduction) == (2, True, "sum")
    assert len(recipe.label_batch_sizes) == 4
    assert recipe.orientations == (1 if dataset == "svhn" else 2)


def test_resnet_50_has_appendix_ds_schedule():
    recipe, _ = recipe_for("cifar10", "resnet50")
    assert (recipe.encoder, recipe.image_size, recipe.clusters) == ("resnet50", 32, 128)
    assert (recipe.epochs, recipe.lr) == (300, 0.01)
    assert (recipe.milestones, recipe.milestone_lrs) == ((160, 240), (0.001, 0.0005))
    assert (recipe.augment, recipe.operations) == ("strong", 8)


def test_anything_without_a_recipe_of_its_own_takes_the_quick_one():
    recipe, name = recipe_for("some/folder")
    assert name == "quick"
    assert (recipe.dataset, recipe.image_size) == ("some/folder", 64)


def test_settings_win_over_the_file_and_are_read_as_yaml():
    recipe, _ = recipe_for(
        "aid", None, ["lr=5e-3", "milestones=[3]", "milestone_lrs=[1e-3]", "init=null", "heads=2"]
    )
    assert (recipe.lr, recipe.milestones, recipe.milestone_lrs) == (0.005, (3,), (0.001,))
    assert (recipe.init, recipe.heads) == (None, 2)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("cluster=3", "unknown key 'cluster'; did you mean 'clusters'"),
        ("zzz=3", "unknown key 'zzz'"),
        ("lr=fast", "lr = 'fast'"),
        ("clusters=1", "clusters = 1"),
        ("augment=weak", "augment = 'weak'"),
        ("milestones=[3]", "1 milestones need as many milestone_lrs"),
        ("method=instance", "method = instance goes with clusters = null"),
        ("lr", "expected key=value"),
        ("lr=[", "expected a YAML value"),
    ],
)
def test_a_wrong_setting_is_named(setting, message):
    with pytest.raises(InputError, match=message.replace("[", r"\[").replace("=", "=")):
        recipe_for("aid", None, [setting])


def test_milestones_move_with_the_epochs_and_this_is_said(capsys):
    recipe, _ = recipe_for("aid", None, ["epochs=30"])
    assert (recipe.milestones, recipe.milestone_lrs) == ((16, 24), (0.003, 0.0006))
    assert "milestones [160, 240] of 300 epochs become [16, 24] of 30" in capsys.readouterr().err
    recipe, _ = recipe_for("aid", None, ["epochs=2"])
    assert (recipe.milestones, recipe.milestone_lrs) == ((1,), (0.003,))
    recipe, _ = recipe_for("aid", None, ["epochs=30", "milestones=[5]", "milestone_lrs=[0.01]"])
    assert recipe.milestones == (5,)
    with pytest.raises(InputError, match=r"milestones \[40\] with epochs = 30"):
        recipe_for("aid", None, ["epochs=30", "milestones=[40]", "milestone_lrs=[0.01]"])


def test_milestones_must_ascend():
    with pytest.raises(InputError, match="must ascend"):
        make_recipe({"dataset": "x", "milestones": [4, 2], "milestone_lrs": [1, 2]}, "here")


@pytest.mark.parametrize(
    ("content", "message"), [(b"- a list", "key: value"), (b"a: [", "YAML"), (b"\xff", "YAML")]
)
def test_a_file_that_is_no_recipe_is_named(tmp_path, content, message):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_recipe(path)


def test_unknown_recipes_are_answered_with_those_there_are():
    with pytest.raises(InputError, match=r"'quik'.*pretrain/aid.*quick"):
        find_recipe("quik")
    with pytest.raises(InputError, match="cannot be read"):
        read_recipe(find_recipe("quick").with_name("absent.yaml"))


def test_a_recipe_survives_being_written_and_read(tmp_path):
    recipe, _ = recipe_for("hmhr")
    text = yaml.safe_dump(recipe.model_dump(mode="json"))
    assert Recipe.model_validate(yaml.safe_load(text)) == recipe


TRAPS = (
    "!!int x",
    "!!bool maybe",
    "!!float one",
    "!!timestamp never",
    "!!python/object/apply:os.system [exit]",
    "!unknown x",
    "2021-02-30",
    "&a [*a]",
    "*nothing",
    "[" * 999,
    "9" * 5000,
    "'",
    "\udcff",
    "\x07",
)


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: ascii(trap)[:20])
def test_a_value_that_yaml_stumbles_over_is_named_with_its_line_and_key(trap, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"views: 2\nlr: {trap}\nheads: 1\n", encoding="utf-8", errors="surrogateescape")
    with pytest.raises(InputError, match="expected") as refused:
        read_recipe(path)
    assert str(refused.value).startswith(str(path))
    # Not where no character can be told from another.
    assert "line 2" in str(refused.value) or trap in ("[" * 999, "'", "\udcff", "\x07")
    with pytest.raises(InputError, match=r"^--set lr="):
        recipe_for("aid", None, [f"lr={trap}"])


def test_a_wrong_tag_is_named_by_its_key(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("views: 2\n\nlr: !!float one\n")
    with pytest.raises(InputError, match=r"recipe.yaml, line 3, key 'lr': .*could not convert"):
        read_recipe(path)


@given(st.text() | st.text("!&*[]{}:-?'\"|#%@`~<,. \n\tab01e", max_size=60))
@example("? [a]\n: 1")
@example("<<: {a: 1}")
@example("0x" + "f" * 6000)
@example("1:" * 3000 + "1")
def test_any_text_is_read_or_refused(text):
    try:
        values = parse_yaml(text, "here")
        if isinstance(values, dict):
            make_recipe(values, "here")
    except InputError as error:
        assert str(error).startswith("here")  # noqa: PT017


def test_what_is_longer_than_a_recipe_is_not_parsed(tmp_path):
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 99))
    with pytest.raises(InputError, match=r"line 2.*an alias"):
        parse_yaml(bomb, "here")
    path = tmp_path / "recipe.yaml"
    path.write_text("#" * 2**24)
    with pytest.raises(InputError, match="65,536 characters at most"):
        read_recipe(path)
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(InputError, match="expected a file"):
        read_recipe(tmp_path / "pipe.yaml")


def test_a_key_given_twice_is_refused():
    with pytest.raises(InputError, match="line 3, key 'lr': given twice"):
        parse_yaml("lr: 1\nviews: 2\nlr: 3", "here")


def numbers():
    """Return the names of the keys that are numbers, or lists of them."""
    return [key.name for key in recipe_keys("quick") if re.search(" (to|below) ", key.allowed)]


@pytest.mark.parametrize("key", numbers())
@pytest.mark.parametrize(
    "value", ["1" + "0" * 26, "1.0e+300", ".inf", ".nan", "-1", "0x" + "f" * 6000]
)
def test_every_number_has_bounds(key, value):
    listed = key.startswith(("milestone", "label_batch"))
    if value == "-1" and key in ("scale", "offset"):
        value = "-1.0e+300"
    with pytest.raises(InputError, match=rf"{key}(\.0)? = .*(less|greater|finite|number|integer)"):
        recipe_for("aid", None, [f"{key}={f'[{value}]' if listed else value}"])


def test_a_bound_is_named_with_its_key():
    with pytest.raises(InputError, match=r"image_size = 1000000: .* less than or equal to 4096"):
        recipe_for("aid", None, ["image_size=1000000"])
    with pytest.raises(InputError, match=r"chunks = 129: expected .* batch_size = 128"):
        recipe_for("some/folder", None, ["chunks=129"])


@pytest.mark.parametrize("key", ["dataset", "encoder", "init"])
@pytest.mark.parametrize("value", [r'"a/\ud800"', r'"a\0b"', "x" * 5000])
def test_a_name_that_no_file_can_have_is_refused(key, value):
    with pytest.raises(InputError, match=f"{key} = "):
        recipe_for("aid", None, [f"{key}={value}"])


def test_an_unknown_key_is_answered_with_all_keys():
    with pytest.raises(InputError, match=r"'zzz'; expected one of dataset, encoder.*seed$"):
        recipe_for("aid", None, ["zzz=3"])


def test_an_empty_name_of_a_recipe_is_no_recipe():
    with pytest.raises(InputError, match="recipe '': expected a YAML file or one of adapt"):
        recipe_for("aid", "")


@pytest.mark.parametrize("name", shipped_recipes())
def test_the_keys_of_every_recipe_are_described(name):
    keys = {key.name: key for key in recipe_keys(name)}
    assert list(keys) == list(Recipe.model_fields)
    assert all(key.meaning and key.allowed for key in keys.values())
    for key, value in yaml.safe_load(find_recipe(name).read_text()).items():
        assert keys[key].value == (tuple(value) if isinstance(value, list) else value)
    assert keys["image_size"].allowed == "16 to 4,096"
    assert keys["lr"].allowed == "above 0 to 1000"
    assert keys["clusters"].allowed == "2 to 2,147,483,647 or null"
    assert keys["augment"].allowed == "simple, strong"
