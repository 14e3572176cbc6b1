"""A page in headless Chromium."""

from pathlib import Path


def show(browser, path: Path, width: int = 1440, scheme: str = "light") -> None:
    """Open a page in a viewport of exactly this width (a window cannot be so narrow)."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(path.as_uri())
