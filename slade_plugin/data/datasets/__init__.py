"""Data sets the plugin adds to the host's, and the view of a pool under pseudo labels."""

from slade_plugin.data.datasets.cars196_files import Cars196Files
from slade_plugin.data.datasets.comp_cars import CompCars
from slade_plugin.data.datasets.cub200_files import CUB200Files
from slade_plugin.data.datasets.fashion200k import Fashion200k
from slade_plugin.data.datasets.folder_images import FolderImages
from slade_plugin.data.datasets.furniture import Furniture
from slade_plugin.data.datasets.glyphs import Glyphs
from slade_plugin.data.datasets.icons import Icons
from slade_plugin.data.datasets.in_shop import InShop
from slade_plugin.data.datasets.na_birds import NABirds
from slade_plugin.data.datasets.pseudo_labeled_dataset import PseudoLabeledDataset

__all__ = [
    "CUB200Files",
    "Cars196Files",
    "CompCars",
    "Fashion200k",
    "FolderImages",
    "Furniture",
    "Glyphs",
    "Icons",
    "InShop",
    "NABirds",
    "PseudoLabeledDataset",
]
