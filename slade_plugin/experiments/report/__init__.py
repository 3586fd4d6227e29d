"""Pictures of trained experiments, gathered in one HTML page: parts of the `report` command."""
