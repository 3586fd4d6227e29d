"""SLADE itself: equations, losses, miners, the student's step, pseudo labels, SwAV, trunks."""
