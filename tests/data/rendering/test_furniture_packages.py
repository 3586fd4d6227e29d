from pathlib import Path

import numpy as np
import pytest

from slade_plugin.base.errors import DataError
from slade_plugin.base.files import sha256_of_file
from slade_plugin.data.rendering.furniture_packages import read_packages
from tests.furniture_packages import write_deb, write_packages


def test_the_catalogs_are_read_from_the_packages(tmp_path: Path) -> None:
    found = read_packages(write_packages(tmp_path))
    assert found.versions == {"sweethome3d-furniture": "9.9-1", "sweethome3d": "9.9-2"}
    assert found.sha256["sweethome3d"] == sha256_of_file(tmp_path / "sweethome3d_9.9-2_all.deb")
    assert [model.identifier for model in found.models] == [
        "KatorLegaz/thing1",
        "KatorLegaz/thing2",
        "KatorLegaz/thing3",
        "KatorLegaz/thing4",
        "Scopia/thing1",
        "Scopia/thing2",
        "Scopia/thing3",
    ]
    model = found.models[5]
    assert (model.name, model.category, model.author) == ("Café 2", "Kitchen", "Maker of Scopia")
    assert model.source == "http://www.blendswap.com/blends/view/1234"
    np.testing.assert_array_equal(model.rotation, [[0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    assert found.models[3].category == "Characters"
    assert found.models[4].source is None
    assert found.models[6].source == "http://www.blendswap.com/blends/view/5678"
    np.testing.assert_array_equal(found.models[4].rotation, np.eye(3))
    assert found.libraries["Scopia"].read(model.path).startswith(b"mtllib")
    assert any(name.endswith("grass.jpg") for name in found.program.namelist())


def test_a_library_of_unknown_license_is_left_out(tmp_path: Path) -> None:
    assert set(read_packages(write_packages(tmp_path)).libraries) == {"KatorLegaz", "Scopia"}


def test_missing_and_doubled_packages_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds 0 files sweethome3d-furniture_\*.deb.*apt-get"):
        read_packages(tmp_path / "nothing")
    write_packages(tmp_path)
    write_deb(tmp_path / "sweethome3d_9.8-1_all.deb", {})
    with pytest.raises(DataError, match=r"holds 2 files sweethome3d_\*.deb; expected one"):
        read_packages(tmp_path)


def test_a_package_without_the_libraries_is_named(tmp_path: Path) -> None:
    write_packages(tmp_path)
    write_deb(tmp_path / "sweethome3d_9.9-2_all.deb", {"./usr/share/doc/copyright": b"x"})
    with pytest.raises(DataError, match=r"KatorLegaz, Scopia and no sweethome3d.jar"):
        read_packages(tmp_path)


def test_a_file_that_is_no_package_is_named(tmp_path: Path) -> None:
    write_packages(tmp_path)
    path = tmp_path / "sweethome3d_9.9-2_all.deb"
    whole = path.read_bytes()
    path.write_bytes(b"<html>")
    with pytest.raises(DataError, match="is not a Debian package"):
        read_packages(tmp_path)
    path.write_bytes(whole[:-60])
    with pytest.raises(DataError, match="is damaged"):
        read_packages(tmp_path)
    path.write_bytes(whole[:100])
    with pytest.raises(DataError, match=r"holds no data\.tar|is damaged"):
        read_packages(tmp_path)


def test_ubuntu_s_compression_is_named(tmp_path: Path) -> None:
    write_packages(tmp_path)
    write_deb(tmp_path / "sweethome3d_9.9-2_all.deb", {}, data="data.tar.zst")
    with pytest.raises(DataError, match="compressed with zstd, as Ubuntu does it"):
        read_packages(tmp_path)
