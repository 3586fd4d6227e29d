"""What image files are really there: sizes, damage, hashes, duplicates, a picture of them."""
