"""Data sets that a program may download, with their sources."""

from pathlib import Path

from slade_plugin.base.errors import DataError
from slade_plugin.data.downloads.extraction import extract
from slade_plugin.data.downloads.fetching import Archive, fetch

ARCHIVES = {
    # https://data.caltech.edu/records/65de6-vp158, which gives the MD5
    # 97eceeb196236b17998738112f37df78; the SHA-256 is that of TensorFlow Datasets' checksums.
    "CUB200Files": Archive(
        url="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
        file_name="CUB_200_2011.tgz",
        size=1_150_585_339,
        sha256="0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
        place="cub2011",  # the host's, so that its CUB200 finds the files as well
        folder="CUB_200_2011",
    ),
}
"""Name of the data set -> its archive. The other sources want a person: a form, a password, a
license, or an account."""


def download(archive: Archive, root: Path) -> Path:
    """Download and unpack an archive to ``root / place / folder``; keep the archive.

    Args:
        archive: What to download.
        root: The host's ``dataset_root``; made if it is not there.

    Returns:
        The unpacked folder.

    Raises:
        DataError: If the folder already exists, or for the reasons of `fetch` and `extract`.
    """
    place = root / archive.place
    folder = place / archive.folder
    if folder.exists():
        raise DataError(
            f"{folder} exists already, but does not hold the whole data set: `slade-bench data "
            "verify` says what is missing. Move it away to download it again."
        )
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{place} cannot be made: {error.strerror}. Expected a folder that can be written; "
            "name another one."
        ) from error
    return extract(fetch(archive, place), archive.folder, place)
