"""What every wing uses: errors, atomic files, seeding, provenance, suggestions for typos."""
