"""What `experiments.sweep` is made of: the plan of the runs, and who starts them."""
