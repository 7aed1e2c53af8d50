"""Publishing an exported encoder on Hugging Face's hub, or on a server with the same API."""

from importlib import metadata
from pathlib import Path
from typing import cast

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from rs_otl.errors import InputError
from rs_otl.models import read_config

_CARD = "README.md"
# What the hub itself puts into a new repository.
_OF_THE_HUB = {".gitattributes"}

# Errors of connections, from whichever HTTP library the hub's client uses.
_UNREACHABLE: tuple[type[Exception], ...] = (
    cast(type[Exception], HfHubHTTPError.__bases__[0]),
    OSError,
)


def check_hub_name(name: str) -> None:
    """Check that a name is valid for a repository.

    Args:
        name: ``NAME`` or ``OWNER/NAME``.

    Raises:
        InputError: If it is not.
    """
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"--push-to-hub {name}: expected OWNER/NAME ({reason:.200})") from None


def push_to_hub(directory: str | Path, name: str) -> str:
    """Publish an exported encoder, with its card, in one commit.

    The server is ``$HF_ENDPOINT``, by default Hugging Face's. The account is that of
    ``hf auth login`` or ``$HF_TOKEN``.

    Args:
        directory: What :func:`rs_otl.export.export_encoder` wrote.
        name: Repository, ``NAME`` or ``OWNER/NAME``; it must be new, or empty.

    Returns:
        The repository's address.

    Raises:
        InputError: If the name cannot be used, the directory holds no encoder, the repository holds
            files, or the server refuses or cannot be reached.
    """
    check_hub_name(name)
    read_config(Path(directory))  # before a repository is made for it
    api = HfApi()
    try:
        url = api.create_repo(name, exist_ok=True)
        if others := set(api.list_repo_files(url.repo_id)) - _OF_THE_HUB:
            raise InputError(
                f"{url} holds files already ({min(others)}): expected a new repository; choose "
                "another name, or delete them there"
            )
        files = sorted(path for path in Path(directory).iterdir() if path.is_file())
        api.create_commit(
            url.repo_id,
            [
                CommitOperationAdd(
                    path.name,
                    _card_of(path, url.repo_id) if path.name == _CARD else str(path),
                )
                for path in files
            ],
            commit_message=f"Encoder exported by rs-otl {metadata.version('rs-otl')}",
        )
    except LocalTokenNotFoundError:
        raise InputError(_login(name)) from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status in (401, 403):
            raise InputError(_login(name)) from None
        raise _refused(name, error) from None
    except _UNREACHABLE as error:
        raise InputError(
            f"--push-to-hub {name}: {api.endpoint} cannot be reached ({type(error).__name__}); "
            "--to DIR exports it to this disk"
        ) from None
    except RuntimeError as error:  # the hub's client raises it if a file did not go through
        raise _refused(name, error) from None
    return str(url)


def _refused(name: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    return InputError(f"--push-to-hub {name}: the hub refused the upload ({reason:.300})")


def _login(name: str) -> str:
    return (
        f"--push-to-hub {name}: not allowed to write there; log in with `hf auth login`, or set "
        "HF_TOKEN to a token that may write"
    )


def _card_of(path: Path, repository: str) -> bytes:
    """Return the card, with how to load the encoder from the hub added."""
    card = path.read_text(encoding="utf-8")
    snippet = f"""\
## Load it from the hub

```python
import timm

encoder = timm.create_model("hf-hub:{repository}", pretrained=True).eval()
```

## Load it
"""
    return card.replace("## Load it\n", snippet, 1).encode()
