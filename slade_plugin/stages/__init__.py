"""The stages teacher, pseudo labels, student and baseline, each rerunnable on its own."""
