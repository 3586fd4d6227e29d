"""The pixels of Glyphs, Icons and Furniture."""
