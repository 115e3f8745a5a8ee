"""What `evaluate` does once its flags are checked: of a run, or of images against images."""
