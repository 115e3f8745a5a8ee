"""The pure half of training: one iteration, its state, and where arrays live on devices."""
