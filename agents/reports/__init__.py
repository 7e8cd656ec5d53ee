"""Pictures and tables of what an agent did."""
