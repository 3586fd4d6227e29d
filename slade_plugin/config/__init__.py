"""Names, arguments and values of the YAML configs."""
