"""Map icons to the concepts they draw, the classes of ``Icons``; no images.

Ours, not the paper's. The npm package ``@iconify/json`` holds some 240 icon sets as JSON, one file
a set: ``{"prefix", "info": {"license", "category", ...}, "width", "height", "icons": {name:
{"body": svg, ...}}}``. A *concept* is an icon name without its style ("bell-outline" and
"bell-24-filled" are "bell"); its instances are the drawings of independent sets, one of each set.

The tables below are facts about the package: which sets are a restyling of another, which names
mean one picture, and which mean different pictures in different sets. They were found by comparing
names and drawings; what they miss is label noise.
"""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slade_plugin.base.errors import DataError

PACKAGE = "@iconify/json"
PACKAGE_VERSION = "2.2.535"
"""The version the published numbers are of; others work and give other images."""

HOW_TO_GET = (
    f"Fetch it with `npm pack {PACKAGE}@{PACKAGE_VERSION}` (104 MB) and unpack it with "
    "`tar xzf iconify-json-*.tgz package/package.json package/json`; then name the folder "
    "`package`."
)

# SPDX names. Not OFL and MPL: changed files must stay under them.
PERMISSIVE = frozenset(
    "Apache-2.0 BSD-3-Clause CC-BY-3.0 CC-BY-4.0 CC0-1.0 ISC MIT Unlicense".split()
)
# Their names are products, file types, countries and faces, not concepts.
OTHER_CATEGORIES = frozenset(("Logos", "Programming", "Flags / Maps", "Emoji"))
# Earlier versions, weights and forks of a set that is taken: not independent drawings.
RESTYLED = frozenset(
    "bx bxs devicon-line fa-brands fa-regular fa-solid fa6-brands fa6-regular fa6-solid "
    "fa7-brands fa7-regular famicons feather heroicons-outline heroicons-solid ic icon-park-solid "
    "icon-park-twotone material-symbols-light mono-icons pepicons pepicons-print "
    "streamline-guidance uim uis uit".split()
)

STYLE = re.compile(
    r"-(?:outlined?|filled|fill|solid|linear|line|bold|light|thin|regular|duotone|two-?tone|"
    r"rounded|round|sharp|alt|bulk|stroke|basic|icon|micro|mini|o|f|s|0?[1-9]|12|16|20|24|32)$"
)
# These end like a style or a variant's number and mean something else.
WHOLE_NAME = re.compile(
    r"(?:battery|brightness|clock|dice|filter|heading|level|number|signal|volume|wifi)-\d|"
    r"arrow-(?:down|left|right|up)-to-line|(?:align|chart|command)-line|(?:format|text)-bold|"
    r"mars-stroke|square-rounded|(?:street|traffic)-light"
)

# One thing, several words: the first is used.
_ONE_THING = """
check checkmark tick; chevron angle; cog gear; file document; house home; image picture photo;
mail envelope email; message chat comment; microphone mic; minus subtract; off slash; plus add;
thumbs thumb; trash bin; user person; users people; x xmark times
"""
# One picture, several names (in any word order): the first is the class.
_ONE_PICTURE = """
airplane plane aeroplane; align-center text-align-center format-align-center;
align-justify text-align-justify format-align-justify;
align-left text-align-left format-align-left; align-right text-align-right format-align-right;
angry angry-face; archive archive-box; at at-sign at-symbol; ban circle-slash; bath bathtub;
battery-charging battery-charge; battery-empty battery-0; bell notification-bell;
bell-off notification-off; bicycle bike; bold text-bold format-bold;
bolt lightning flash zap thunder lightning-bolt; box package; brush paintbrush paint-brush;
burger hamburger; cake birthday-cake; calendar date; camera photo-camera;
cart-minus shopping-cart-minus; cart-plus shopping-cart-plus; chart-line line-chart;
check-square checkbox; chevrons-down chevron-double-down angles-down;
chevrons-left chevron-double-left angles-left; chevrons-right chevron-double-right angles-right;
chevrons-up chevron-double-up angles-up; clock time; close x-mark;
cloud-download cloud-arrow-down; cloud-upload cloud-arrow-up; color-picker eyedropper;
contrast circle-half; copy duplicate clone; cpu chip microchip; credit-card creditcard;
crosshair crosshairs; crown king; css css3; cursor mouse-pointer;
dollar dollar-sign currency-dollar; door door-closed;
dots-horizontal more-horizontal more-horiz ellipsis-horizontal ellipsis-h ellipsis three-dots;
dots-vertical more-vertical more-vert ellipsis-vertical ellipsis-v three-dots-vertical;
drop droplet water-drop; euro euro-sign currency-euro; exclamation exclamation-mark; eye view;
file-x file-remove; filter funnel; fire flame; fridge refrigerator; fullscreen full-screen;
gamepad game-controller controller; gauge speedometer; gem gemstone; git-branch branch;
globe earth world; graduation-cap academic-cap; grid layout-grid grid-view;
hard-drive harddrive hdd; hashtag hash; heading header; headphones headphone; heart love;
heart-pulse heartbeat; hourglass hour-glass; infinity infinite;
info information info-circle information-circle; italic text-italic format-italic;
keyboard keypad; lifebuoy life-ring; lightbulb bulb light-bulb;
list list-ul bullet-list list-bullet; list-ordered list-numbered ordered-list numbered-list;
loading loader spinner; lock lock-closed; lock-open unlock; login log-in sign-in;
logout log-out sign-out; magic-wand wand magic; map-pin location-pin location-marker map-marker;
mars gender-male; megaphone bullhorn; menu bars hamburger-menu;
message message-circle message-bubble; mobile mobile-phone smartphone; money banknote cash;
monitor desktop display; music music-note; palette color-palette; paperclip attachment attach;
percent percentage; phone telephone call; phone-incoming call-incoming;
phone-outgoing call-outgoing; pill capsule; pound pound-sign currency-pound;
power power-off power-button; printer print; puzzle puzzle-piece; qr-code qrcode;
question help question-circle help-circle question-mark question-mark-circle; refresh reload;
rewind backward; rss feed; sad frown; save floppy-disk floppy diskette; scissors cut scissor;
search magnifying-glass magnifier; send paper-plane; shopping-basket basket; shopping-cart cart;
shuffle random; skip-back step-backward; skip-forward step-forward; smiley smile happy face-smile;
sofa couch; star favorite favourite; store shop; sun sunny; t-shirt shirt tshirt;
tag label price-tag; target bullseye; thumbs-down dislike; toggle-off toggle-left;
toggle-on toggle-right; trash trash-can; trending-down trend-down; trending-up trend-up;
truck delivery-truck; tv television; underline text-underline format-underline;
unlink broken-link; user-minus user-remove; users group user-group;
utensils cutlery fork-knife restaurant; venus gender-female; verified badge-check verified-badge;
video video-camera; video-off video-camera-off; volume-down volume-low volume-1;
volume-mute volume-off volume-x; volume-up volume-high volume-2;
warning exclamation-triangle alert-triangle warning-triangle; wheelchair accessible; wifi wi-fi;
wrench tool spanner; x-circle close-circle cross-circle; x-square close-square cross-square;
yen yen-sign currency-yen; zoom-in search-plus; zoom-out search-minus
"""
_AMBIGUOUS = """
accessibility adjust alarm alert apps arrow-forward back badge block brightness cancel caret-down
caret-left caret-right caret-up certificate chart circle clear cloudy computer cross dashboard
data delete diamond down edit error expand female football fork forward import layout left library
like line location loop male maximize minimize more move movie mute next note notification off
open paper pen pin pointer polygon previous radio record remove reorder right rotate run scale
scan screen setting settings share signal stop support switch text timer triangle-down
triangle-left triangle-right triangle-up university up volume water widget window-restore zoom
"""
_WORDS = {
    word: words[0]
    for words in (group.split() for group in _ONE_THING.split(";"))
    for word in words[1:]
}


def _in_one_order(name: str) -> str:
    """Return the name with each word in its usual form, sorted: sets differ in the order."""
    return "-".join(sorted({_WORDS.get(word, word) for word in name.split("-")}))


_SAME_PICTURE = {
    _in_one_order(name): names[0]
    for names in (group.split() for group in _ONE_PICTURE.split(";"))
    for name in names
}
_DROPPED = frozenset(map(_in_one_order, _AMBIGUOUS.split()))


@dataclass(frozen=True)
class Drawing:
    """One icon of one set.

    Attributes:
        set_prefix: The set's short name, e.g. "tabler".
        name: The icon's name in it.
        body: What stands inside of the SVG element.
        view_box: Left, top, width, height.
    """

    set_prefix: str
    name: str
    body: str
    view_box: tuple[float, float, float, float]


def concept_of(name: str) -> str | None:
    """Return the concept of an icon name; None if the name is not specific enough."""
    while not WHOLE_NAME.fullmatch(name) and STYLE.search(name):
        name = STYLE.sub("", name)
    name = _in_one_order(name)
    name = _SAME_PICTURE.get(name, name)
    return name if len(name) > 1 and name not in _DROPPED else None


def is_taken(icon_set: Mapping[str, Any]) -> bool:
    """Whether a set is independent, monochrome, of concepts and permissively licensed."""
    info = icon_set["info"]
    return (
        info.get("license", {}).get("spdx") in PERMISSIVE
        and info.get("category") not in OTHER_CATEGORIES
        and not info.get("palette", False)
        and icon_set["prefix"] not in RESTYLED
    )


def drawings_of(icon_set: Mapping[str, Any]) -> dict[str, Drawing]:
    """Map each concept to the set's drawing of it; the plainest (shortest) name wins.

    Animated icons are left out (a still of them is half drawn), and so are hidden ones, which
    their set has withdrawn.
    """
    found: dict[str, Drawing] = {}
    icons = icon_set["icons"]
    for name in sorted(icons, key=lambda name: (len(name), name)):
        icon = icons[name]
        concept = concept_of(name)
        if concept is None or concept in found:
            continue
        if icon.get("hidden") or "<animate" in icon["body"]:
            continue
        size = [
            float(icon.get(key, icon_set.get(key, default)))
            for key, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
        ]
        found[concept] = Drawing(
            icon_set["prefix"], name, icon["body"], (size[0], size[1], size[2], size[3])
        )
    return found


def read_package(folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """Read the unpacked npm package.

    Args:
        folder: The folder ``package``, with ``package.json`` and ``json/*.json``.

    Returns:
        The package's version, and the sets that are used, by prefix.

    Raises:
        DataError: If the folder is not the package, or holds no set that can be used.
    """
    try:
        version = json.loads((folder / "package.json").read_text(encoding="utf-8"))["version"]
        paths = sorted((folder / "json").glob("*.json"))
        sets = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        taken = [icon_set for icon_set in sets if is_taken(icon_set)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder} is not the unpacked npm package {PACKAGE}: {error!r}. Expected the files "
            f"package.json and json/*.json in it. {HOW_TO_GET}"
        ) from error
    if not taken:
        raise DataError(
            f"{folder / 'json'} holds {len(sets)} icon sets, none that can be used; expected "
            f"about 120. {HOW_TO_GET}"
        )
    return str(version), sorted(taken, key=lambda icon_set: icon_set["prefix"])


def find_concepts(icon_sets: list[dict[str, Any]], min_drawings: int) -> dict[str, list[Drawing]]:
    """Map each concept to its drawings (by set), if there are at least ``min_drawings``."""
    concepts: dict[str, list[Drawing]] = defaultdict(list)
    for icon_set in icon_sets:
        for concept, drawing in drawings_of(icon_set).items():
            concepts[concept].append(drawing)
    return {
        concept: drawings
        for concept, drawings in sorted(concepts.items())
        if len(drawings) >= min_drawings
    }
