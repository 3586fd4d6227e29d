"""Images and labels: data sets, splits, leakage, checks and downloads."""
