"""Self-contained HTML pages with embedded pictures; scripts are allowed only by hash."""

import base64
import io
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

SIDE = 112  # pixels of a thumbnail


def data_uri(content: bytes, media_type: str) -> str:
    """Return bytes as a data URI."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def thumbnail_uri(picture: Image.Image) -> str:
    """Return a small copy of a picture as a data URI."""
    picture = picture.convert("RGB")
    is_small = max(picture.size) <= SIDE
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    # JPEG blurs the strokes of tiny pictures.
    picture.save(buffer, format="PNG" if is_small else "JPEG")
    return data_uri(buffer.getvalue(), f"image/{'png' if is_small else 'jpeg'}")


def render_page(template: str, **content: Any) -> str:
    """Fill a template of the package; every text is escaped.

    Args:
        template: Its path in the package.
        **content: The variables of the template; a missing one is an error.
    """
    environment = Environment(
        loader=PackageLoader("slade_plugin", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**content)
