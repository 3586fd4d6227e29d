"""Downloads of published data sets: resumable, checked, unpacked safely."""
