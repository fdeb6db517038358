import sys

# Before anything else, and in words that every Python reads: pip would first download a gigabyte.
if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    this = ".".join(map(str, sys.version_info[:2]))
    sys.exit("bn_graph needs Python 3.10 to 3.13, for which there is TensorFlow; this is " + this)

import re  # noqa: E402
from pathlib import Path  # noqa: E402

from setuptools import find_packages, setup  # noqa: E402

HERE = Path(__file__).parent

setup(
    name="bn-graph",
    version=re.search(r'__version__ = "(.+)"', (HERE / "bn_graph" / "__init__.py").read_text(encoding="utf-8"))[1],
    description='The 2016 TensorFlow tutorial "Using Batch Normalization", running again, step by step',
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT AND CC-BY-SA-3.0",
    packages=find_packages(include=["bn_graph", "bn_graph.*"]),
    package_data={
        "bn_graph": ["data/*"],
        "bn_graph.comparison": [
            "report.html",
            "report.css",
            "reference/*.json",
            "reference/graph/*.meta",
            "reference/state/*.npz",
        ],
    },
    scripts=[
        "scripts/run_tutorial.py",
        "scripts/run_cluster.py",
        "scripts/compare_with_notebook.py",
        "scripts/export_model.py",
        "scripts/audit_graph.py",
        "scripts/recalibrate.py",
    ],
    python_requires=">=3.10,<3.14",
    # Both ends of each range are tested: the oldest in .ci/oldest.txt, the newest by what pip chooses.
    install_requires=[
        "tensorflow>=2.16.1,<2.22",
        "tf-slim>=1.1,<1.2",
        "numpy>=1.26,<2.6",
        "scikit-learn>=1.5,<1.10",
        "psutil>=5.9.8,<8",  # how much memory is free
        "grpcio>=1.59,<2",  # asks who answers in a cluster; TensorFlow brings it anyway
        "wrapt>=1.15,<2.6",  # mends tf-slim when it is imported; TensorFlow brings it anyway
        "tqdm>=4.66,<5",  # the progress bar
        "matplotlib>=3.8,<3.12",  # --plot
        "pillow>=10.3,<14",  # knows our own pictures again; matplotlib brings it anyway
        "scipy>=1.13,<1.19",  # the tests of a comparison; scikit-learn brings it anyway
        "jinja2>=3.1,<4",  # the page of a comparison
        "filelock>=3.20.3,<5",  # one run to a folder of checkpoints; older ones follow a link and empty what is there
    ],
    extras_require={
        "test": [
            "pytest>=8,<10",
            "hypothesis>=6.100,<7",
            "setuptools>=70.1",  # builds the tests' wheel
            "sarif-pydantic>=0.6,<0.7",  # knows what a log in SARIF has
            "fissix>=24.4.24,<25",  # that of `original`
        ],
        "original": ["fissix>=24.4.24,<25"],  # compare_with_notebook.py --original: Python 2 as Python 3
        "browser": ["selenium>=4.20,<5"],  # drives Chromium in the tests marked `browser`
        "lint": ["ruff>=0.17,<0.18"],
        "bench": ["torch>=2.15,<2.16", "jax>=0.10.2,<0.11", "optax>=0.2.8,<0.3", "keras>=3.15,<3.16"],  # peers
        "lessons": ["jupyterlab>=4.2,<5", "ipykernel>=6.29,<7", "ipywidgets>=8.1,<9"],  # opens and runs the notebooks
    },
)
