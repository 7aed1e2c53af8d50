"""Addresses: how servers are read, GDAL's names for their files, and what may be printed."""

import os
import re
import string
import threading
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry
from urllib3.exceptions import HTTPError

from rs_otl.errors import InputError

# How GDAL reads from a server; the environment overrides each setting.
REMOTE = {
    # Do not list the folder or ask for files beside the raster.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # The header of a GeoTIFF with many tiles in one request.
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "CPL_VSIL_CURL_CACHE_SIZE": str(64 * 2**20),
    # Each wait is about twice the one before.
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    # 0 is a connection that fails or is dropped, which GDAL would not try again.
    "GDAL_HTTP_RETRY_CODES": "0,429,500,502,503,504",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    # A server that sends less than so many bytes a second for so many seconds has stalled.
    "GDAL_HTTP_LOW_SPEED_LIMIT": "100",
    "GDAL_HTTP_LOW_SPEED_TIME": "30",
    # All that an address may end in: what another thread forbids must not apply to this one.
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": " ".join(
        set(string.digits + string.ascii_lowercase + string.punctuation) - {","}
    ),
}
# Parameters of a query that are not secret: those of STAC's searches.
_SEARCHED = ("collections", "ids", "bbox", "datetime", "limit", "intersects", "filter", "query",
             "filter-lang", "sortby")  # fmt: skip
_ADDRESS = re.compile(r"(\b[a-z][a-z0-9+]*://)(?:[^\s/@'\"?]*@)?([^\s'\"?]*)(\?[^\s'\"#]*)?", re.I)

# Schemes of addresses, and how GDAL's names for them begin.
_SCHEMES = {"https": "/vsicurl/https://", "http": "/vsicurl/http://", "s3": "/vsis3/",
            "gs": "/vsigs/", "az": "/vsiaz/"}  # fmt: skip
# How GDAL's names of files on servers begin.
ON_SERVERS = ("/vsicurl/", "/vsicurl?", "/vsis3/", "/vsigs/", "/vsiaz/", "/vsiadls/", "/vsioss/",
              "/vsiswift/")  # fmt: skip


def is_address(text: str) -> bool:
    """Whether a text names something on a server, or in one of GDAL's virtual file systems."""
    return text.startswith("/vsi") or text.partition("://")[0].lower() in _SCHEMES


def gdal_address(address: str) -> str:
    """Return GDAL's name for what lies at an address."""
    scheme, found, rest = address.partition("://")
    return _SCHEMES[scheme.lower()] + rest if found and not address.startswith("/") else address


def dataset_name(text: str) -> str:
    """Return a short name, as of a folder, for the images of a folder, a catalog or a search."""
    text = text.partition("#")[0] if is_address(text) else text.partition("#asset=")[0]
    if not is_address(text):
        path = Path(text).resolve()
        listed = path.suffix.lower() in (".json", ".geojson")
    else:
        parts = urlsplit(text)
        asked = parse_qs(parts.query).get("collections")
        path, listed = Path("/", parts.netloc, parts.path.lstrip("/")), True
        if asked:
            path = Path(asked[0].replace("/", "-"))
    if listed and path.stem.lower() in ("catalog", "collection", "item", "items", "search"):
        path = path.parent
    elif listed and path.suffix.lower() in (".json", ".geojson"):
        return path.stem
    return path.name


def public(text: str) -> str:
    """Remove what may be secret from the addresses in a text.

    Args:
        text: An address, or a message with some.

    Returns:
        The text without names and passwords before a host, and without the queries of signed
        addresses; the parameters of STAC's searches are kept.
    """

    def plain(found: re.Match[str]) -> str:
        pairs = (found[3] or "")[1:].split("&")
        kept = "&".join(pair for pair in pairs if pair.partition("=")[0] in _SEARCHED)
        return found[1] + found[2] + (f"?{kept}" if kept else "")

    return re.sub(r"(/vsi\w+)\?[^\s'\"]*", r"\1", _ADDRESS.sub(plain, text))


def why_not(name: str) -> str | None:
    """Ask a web server for the first bytes of a raster that GDAL cannot open.

    Args:
        name: GDAL's name for the raster.

    Returns:
        What is wrong in a few words; ``None`` if nothing is, or it is not on a web server.
    """
    address = name.removeprefix("/vsicurl/")
    if urlsplit(address).scheme not in ("http", "https"):
        return None
    try:
        start = first_bytes(address).lstrip()
    except InputError as error:
        return str(error).removeprefix(f"{public(address)}: ")
    kinds = {b"<": "a page of text", b"{": "JSON"}
    return f"not an image but {kinds[start[:1]]}" if start[:1] in kinds else None


def first_bytes(address: str) -> bytes:
    """Read the first bytes of what a web server has at an address.

    Raises:
        InputError: The server does not give them.
    """
    few = {"Range": "bytes=0-63"}
    try:
        with _session().get(address, headers=few, timeout=timeouts(), stream=True) as answer:
            if answer.ok:
                start: bytes = answer.raw.read(64, decode_content=True)
                return start
            reason = f"HTTP {answer.status_code} {answer.reason}".rstrip()
            if answer.status_code in (401, 403):
                reason += ", which may want a signed address or credentials"
    except (requests.RequestException, HTTPError) as error:
        reason = failure_in_words(error)
    except (ValueError, OSError) as error:
        reason = type(error).__name__
    raise InputError(f"{public(address)}: {reason}")


def failure_in_words(error: BaseException) -> str:
    """Say why a request failed, without the address that the libraries' messages hold."""
    texts: list[str] = []
    inner: BaseException | None = error
    while inner is not None and len(texts) < 9:
        texts.append(f"{type(inner).__name__} {inner}")
        below = getattr(inner, "reason", None) or (inner.args[0] if inner.args else None)
        inner = below if isinstance(below, BaseException) else inner.__context__
    whole = " ".join(texts)
    for pattern, words in (
        ("ReadTimeout|timed out", f"the server has sent nothing for {timeouts()[1]:g} seconds"),
        ("NameResolution|getaddrinfo", "no such host"),
        ("refused", "the server refuses connections"),
        ("SSL|certificate", "no secure connection"),
        ("RemoteDisconnected|IncompleteRead|reset|Protocol", "the server drops the connection"),
        ("too many 429", "HTTP 429, too many requests"),
        ("too many 50", "the server fails (HTTP 50x)"),
    ):
        if re.search(pattern, whole):
            return words
    return f"no answer ({type(error).__name__})"


def _setting(key: str) -> float:
    """Return one of GDAL's settings, from the environment or else from ``REMOTE``."""
    try:
        return max(0.0, float(os.environ.get(key, REMOTE[key])))
    except ValueError:
        return float(REMOTE[key])


def timeouts() -> tuple[float, float]:
    """Seconds to wait for a connection and for the next bytes."""
    connect, read = map(_setting, ("GDAL_HTTP_CONNECTTIMEOUT", "GDAL_HTTP_LOW_SPEED_TIME"))
    return connect or 10.0, read or 30.0


def delay() -> float:
    """Seconds to wait before a request is made again."""
    return _setting("GDAL_HTTP_RETRY_DELAY")


def retries() -> Retry:
    """Return how often, and after which waits, a request is made again."""
    return Retry(
        total=int(_setting("GDAL_HTTP_MAX_RETRY")),
        backoff_factor=delay(),
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=None,  # a search is posted, and changes nothing
        raise_on_status=False,
    )


_local = threading.local()


def _session() -> requests.Session:
    if not hasattr(_local, "session"):
        _local.session = requests.Session()
        for scheme in ("http://", "https://"):
            _local.session.mount(scheme, HTTPAdapter(max_retries=retries()))
    session: requests.Session = _local.session
    return session
