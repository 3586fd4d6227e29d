"""Unpack one folder of a tar archive: whole or not at all, and nothing outside its place."""

import tarfile
import tempfile
import zlib
from pathlib import Path

from tqdm import tqdm

from slade_plugin.base.errors import DataError


def extract(archive: Path, folder: str, root: Path) -> Path:
    """Unpack ``folder`` of an archive to ``root / folder``.

    It is unpacked next to its place and renamed, so an interrupted call leaves nothing that looks
    like the data. Only plain files and folders are accepted, without owners and special modes.

    Args:
        archive: A tar file, compressed or not.
        folder: The folder to unpack, at the top of the archive; the rest is left out.
        root: Destination folder (must exist).

    Returns:
        ``root / folder``.

    Raises:
        DataError: If it already exists, the archive is damaged, does not hold the folder or holds
            links or paths that lead out of it, or the disk is full.
    """
    target = root / folder
    if target.exists():
        raise DataError(
            f"{target} exists already; expected no such folder. Move it away to unpack {archive}."
        )

    def plain_only(member: tarfile.TarInfo, destination: str) -> tarfile.TarInfo | None:
        if not (member.isfile() or member.isdir()):
            raise DataError(
                f"{archive} holds {member.name}, which is a link or a device; expected only files "
                "and folders. Nothing was unpacked: get the archive from its own source."
            )
        inside = tarfile.data_filter(member, destination)
        return inside if Path(inside.name).parts[:1] == (folder,) else None

    try:
        with tempfile.TemporaryDirectory(dir=root, prefix=".unpacking-") as temporary:
            with tarfile.open(archive) as tar:
                members = tqdm(tar, desc=f"Unpacking {archive.name}", disable=None)
                for member in members:
                    tar.extract(member, temporary, filter=plain_only)
            unpacked = Path(temporary) / folder
            if not unpacked.is_dir():
                raise DataError(f"{archive} holds no folder {folder}; is it the right archive?")
            unpacked.rename(target)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{archive} cannot be unpacked to {root}: {reason}. Nothing was left behind. Expected "
            "a whole archive without paths that lead out of it, free space and a writable folder."
        ) from error
    return target
