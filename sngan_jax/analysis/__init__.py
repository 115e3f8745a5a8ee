"""What a trained discriminator is: its singular values, and how Lipschitz it is."""
