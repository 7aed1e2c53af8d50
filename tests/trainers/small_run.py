"""What the tests of the tasks train with."""

from lightning.pytorch import Trainer


def small_trainer(epochs=1, **changes):
    """Make a trainer for the CPU that writes and prints nothing."""
    settings = {
        "max_epochs": epochs,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(**(settings | changes))
