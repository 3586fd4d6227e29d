"""Packaging of slade-plugin. Tool settings are in pyproject.toml.

Everything else that pip reads is here, so that there is one list of dependencies.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def read_version() -> str:
    """Read the version without importing the package, which needs its dependencies."""
    text = (ROOT / "slade_plugin" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if match is None:
        raise RuntimeError('slade_plugin/__init__.py has no line such as __version__ = "0.1.0"')
    return match.group(1)


INSTALL_REQUIRES = [
    # The host. It pins the next three itself; they are named because the plugin builds on their
    # classes and would break with others (compat.py says on what it relies).
    "powerful-benchmarker==0.9.33",
    "pytorch-metric-learning==0.9.92",
    "record-keeper==0.9.29",
    "easy-module-attribute-getter==0.9.41",
    # The host imports gdown.cached_download.assert_md5sum, which gdown 6 no longer has; versions
    # before 4.5.3 need pkg_resources, which setuptools no longer has.
    "gdown>=4.5.3,<6",
    # pretrainedmodels, which the host imports, needs six without declaring it; python-dateutil 4 no
    # longer brings it.
    "six",
    # The host asks for faiss-gpu by this name; its wheels also run without a GPU.
    "faiss-gpu",
    # Used by the plugin itself. Newer versions are allowed; none is known to fail.
    "torch",
    "torchvision",
    "jsonschema",
    "numpy",
    "scipy",
    "scikit-learn",
    "matplotlib",
    "pillow",
    "jinja2",
    "pyyaml",
    "tabulate",
    "tensorboard",
    "threadpoolctl",
    "tqdm",
]

# Imported only where a config asks for it; icons and furniture: where the data set is built.
# lightly brings pytorch-lightning, torchmetrics and hydra-core along, which nothing here uses.
# Ax 1.4 is to drop AxClient, which the host's search is written for.
FURNITURE = ["moderngl>=5.10"]
ICONS = ["resvg-py>=0.5"]
# torch.onnx.export needs onnxscript; onnxruntime checks what it wrote.
ONNX = ["onnx", "onnxruntime", "onnxscript"]
RAY = ["ray[client]>=2.40,<3"]
SAFETENSORS = ["safetensors"]
SEARCH = ["ax-platform>=1.3,<1.4", "plotly"]
SWAV = ["lightly>=1.6"]
TIMM = ["timm>=1.0"]
UMAP = ["umap-learn>=0.5.8"]

EXTRAS_REQUIRE = {
    "furniture": FURNITURE,
    "icons": ICONS,
    "onnx": ONNX,
    "ray": RAY,
    "safetensors": SAFETENSORS,
    "search": SEARCH,
    "swav": SWAV,
    "timm": TIMM,
    "umap": UMAP,
    # Pinned, so that a check passes or fails alike everywhere; .pre-commit-config.yaml holds the
    # same versions and tests/test_packaging.py compares them.
    "test": [
        *FURNITURE,
        *ICONS,
        *ONNX,
        *RAY,
        *SAFETENSORS,
        *SEARCH,
        *SWAV,
        *TIMM,
        *UMAP,
        "build==1.6.1",
        "cffconvert==2.0.0",
        "codespell==2.4.3",
        "mypy==2.4.1",
        "playwright==1.65.2",
        "pre-commit==4.7.0",
        "pytest==9.2.0",
        "pytest-xdist==3.8.0",
        "ruff==0.17.5",
        # tests/test_packaging.py runs setup.py, and Python 3.12 brings no setuptools along.
        "setuptools>=77",
        "types-PyYAML",
    ],
}

# The config root is next to the package, where it is edited, and is installed inside it.
CONFIG_PACKAGE = "slade_plugin.bench_configs"

setup(
    name="slade-plugin",
    version=read_version(),
    description="SLADE, self-training for deep metric learning, as a powerful-benchmarker plugin",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="slade-plugin developers",
    license="MIT",
    license_files=["LICENSE", "THIRD_PARTY.md"],
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Operating System :: POSIX :: Linux",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    # The code needs 3.11. Tested on 3.11 to 3.14. None that is newer is refused,
    # since none is known to fail.
    python_requires=">=3.11",
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    packages=[*find_packages(include=["slade_plugin", "slade_plugin.*"]), CONFIG_PACKAGE],
    package_dir={"slade_plugin": "slade_plugin", CONFIG_PACKAGE: "bench_configs"},
    package_data={
        "slade_plugin": [
            "py.typed",
            "experiments/leaderboard/page.html",
            "experiments/report/page.html",
            "experiments/results/*.csv",
            "experiments/results/*.json",
            "retrieval/*.html",
        ],
        CONFIG_PACKAGE: ["*.yaml", "*/*.yaml"],
    },
    entry_points={"console_scripts": ["slade-bench = slade_plugin.cli:main"]},
)
