"""The SwAV stage before the teacher: settings, views, training, trunk file."""
