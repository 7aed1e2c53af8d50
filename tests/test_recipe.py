import pytest
import yaml

from rs_otl.datasets.catalogue import CATALOGUE
from rs_otl.errors import InputError
from rs_otl.recipe import Recipe, find_recipe, make_recipe, read_recipe, recipe_for

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
