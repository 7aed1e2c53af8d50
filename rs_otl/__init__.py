"""rs-otl: representation learning without labels for remote-sensing imagery."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rs_otl.models import load_encoder

__all__ = ["load_encoder"]


def __getattr__(name: str) -> Any:
    # Imported on first use: torch and timm take seconds, `rs-otl --help` must not.
    if name == "load_encoder":
        from rs_otl.models import load_encoder

        return load_encoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
