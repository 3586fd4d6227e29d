"""Image files on disk: listing, decoding, and a cache of resized images."""
