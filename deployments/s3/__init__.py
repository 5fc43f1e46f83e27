"""Who may do what in the store's bucket."""
