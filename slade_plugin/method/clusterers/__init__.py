"""Clusterers, which turn the pool into pseudo labels."""

from slade_plugin.method.clusterers.clusterer import Clusterer, Clustering, UnlabeledPool
from slade_plugin.method.clusterers.hdbscan import HDBSCAN
from slade_plugin.method.clusterers.k_means import KMeans
from slade_plugin.method.clusterers.true_labels import TrueLabels
from slade_plugin.method.clusterers.ward import Ward

__all__ = ["HDBSCAN", "Clusterer", "Clustering", "KMeans", "TrueLabels", "UnlabeledPool", "Ward"]
