"""Parts of `sngan sweep`: the plan of the runs, and what starts them."""
