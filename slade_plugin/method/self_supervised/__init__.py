"""The SwAV stage before the teacher: settings, views, training, the file it leaves."""
