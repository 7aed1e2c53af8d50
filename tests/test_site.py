"""The site that `make docs` wrote opens from its folder, without a network."""

from pathlib import Path

import pytest
from browser import CHROMIUM, browser

SITE = Path(__file__).parent.parent / "build" / "docs"
COMPLETE = f"document.readyState === 'complete' && location.href.startsWith('{SITE.as_uri()}')"


@pytest.mark.skipif(not (SITE / "index.html").is_file(), reason="no site: make docs")
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_pages_open_from_the_folder_and_fit_a_phone_and_search_finds(tmp_path):
    with browser(tmp_path) as page:
        for name in ("index", "scenes", "encoders", "notebooks/map", "reference/commands"):
            page.open((SITE / f"{name}.html").as_uri(), COMPLETE)
            page.call(
                "Emulation.setDeviceMetricsOverride",
                width=390,
                height=800,
                deviceScaleFactor=1,
                mobile=True,
            )
            assert page.evaluate("document.documentElement.scrollWidth") == 390, name
            for event in page.events:
                method, told = event.get("method"), event.get("params", {})
                assert method not in {"Runtime.exceptionThrown", "Network.loadingFailed"}, told
                assert method != "Log.entryAdded" or told["entry"]["level"] != "error", told
                if method == "Network.requestWillBeSent":
                    assert told["request"]["url"].startswith(("file:", "data:")), told
        page.open(f"{SITE.as_uri()}/search.html?q=pseudo-label", COMPLETE)
        page.wait("document.querySelectorAll('#search-results li').length > 3")
