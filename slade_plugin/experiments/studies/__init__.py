"""Studies: settings x seeds x data sets, from one YAML file to one report."""
