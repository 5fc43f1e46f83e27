"""Access rights to the store's bucket."""
