import pytest
import yaml
from huggingface_hub import ModelCard

from rs_otl.export import CardScore, export_encoder
from rs_otl.export.facts import training_note
from rs_otl.models import Encoder, create_encoder


def test_the_header_is_in_the_form_of_hugging_face(exported):
    card = ModelCard.load(exported[2] / "README.md")
    assert card.data.library_name == "timm"
    assert card.data.license == "unknown"
    assert "torchgeo" in card.data.tags


def test_it_says_what_the_encoder_expects_and_how_it_was_trained(exported):
    text = (exported[2] / "README.md").read_text()
    for fact in ("red, green, blue, nir", "8-bit counts", "0.5-8 m", "Xia et al.", "0.4000"):
        assert fact in text
    recipe = text.split("```yaml\n")[1].split("```")[0]
    assert yaml.safe_load(recipe)["lr"] == 0.03


def test_scores_stand_in_the_header_and_in_a_table(tmp_path, described):
    scores = [CardScore("aid", "kNN, k = 10", 0.5444, 0.5, 0.59), CardScore("field", "x", 1, 1, 1)]
    encoder = Encoder(create_encoder("resnet18", 4), described())
    export_encoder(encoder, tmp_path / "one", scores=scores)
    card = ModelCard.load(tmp_path / "one" / "README.md")
    first, _ = card.data.eval_results
    assert (first.dataset_name, first.metric_value) == ("AID", 54.4)
    assert "| aid | kNN, k = 10 | 54.4 | 50.0 to 59.0 |" in card.text


def test_no_scores_and_other_origins_are_said_plainly(described, lite):
    assert "None yet" in (lite[2] / "README.md").read_text()
    config = described()
    for change, expected in (
        ({"epochs": 0}, "random weights"),
        ({"epochs": None}, "trained elsewhere"),
        ({"supervised": True}, "with labels"),
    ):
        assert expected in training_note(config.model_copy(update=change), {})
    assert "starting from timm/x" in training_note(config, {"init": "timm/x"})
    both = training_note(config, {"contrast": 0.5})
    assert "by output translation and by contrasting views" in both
    alone = training_note(config, {"contrast": 1.0})
    assert "by contrasting views" in alone
    assert "translation" not in alone
    assert "Li et al." not in alone


@pytest.mark.parametrize(
    ("epochs", "said", "not_said"),
    [
        (3, "The code that trained it is under the MIT licence", "elsewhere"),
        (None, "`rs-otl encoders` names the licence", "MIT"),
        (0, "nothing trained them", "training images"),
    ],
)
def test_licences_are_those_of_what_trained_it(epochs, said, not_said, described, tmp_path):
    config = described().model_copy(update={"epochs": epochs})
    export_encoder(Encoder(create_encoder("resnet18", 4), config), tmp_path / "one")
    for name in ("README.md", "item.json"):
        text = (tmp_path / "one" / name).read_text()
        assert said in text
        assert not_said not in text
    item = (tmp_path / "one" / "item.json").read_text()
    assert ("rs_otl:training_data" in item) == (epochs != 0)
