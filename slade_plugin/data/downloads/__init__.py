"""Data sets from where they are published: fetched with resuming, checked, unpacked safely."""
