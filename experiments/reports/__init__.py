"""A page of tables and figures from finished runs (`sngan report`)."""
