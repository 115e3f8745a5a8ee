"""Parts of `experiments.sweep`: the plan of the runs, and who starts them."""
