"""Parts of `sngan sweep`: the plan of the runs, and who starts them."""
