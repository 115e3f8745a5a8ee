"""What every room uses: errors, files, output, compilation, provenance."""
