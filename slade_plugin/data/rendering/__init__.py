"""The pixels of Glyphs and Icons."""
