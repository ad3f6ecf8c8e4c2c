"""docs/encoders.md names every reason and every condition there is."""

from __future__ import annotations

import io
import re

import soundfile
from PIL import Image

from monitor.embed import audio
from monitor.embed.conditions import measure
from monitor.embed.images import Decoded
from tests.data import ROOT


def test_every_reason_and_condition_is_documented() -> None:
    text = (ROOT / "docs" / "encoders.md").read_text()
    documented = set(re.findall(r"`([a-z0-9_]+)`", text))
    source = "".join(path.read_text() for path in sorted((ROOT / "monitor" / "embed").glob("*.py")))
    reasons = set(re.findall(r'Missing\(\s*"([a-z0-9_]+)"', source))
    reasons |= set(re.findall(r'"((?:audio|pdf|video|kind|image|fetch|inputs)_[a-z_]+)"', source))
    assert len(reasons) > 30
    assert sorted(reasons - documented) == []
    found = measure(Decoded(Image.new("RGB", (9, 9)), Image.new("L", (9, 9)), 9, 9, "PNG", 1))
    assert sorted(set(found) - {"v"} - documented) == []
    out = io.BytesIO()
    soundfile.write(out, [0.1] * 1000, 8000, format="WAV")
    heard = audio.measure(out.getvalue())
    assert isinstance(heard, dict)
    assert sorted({*heard, "unmeasured", "page", "pages"} - documented) == []
