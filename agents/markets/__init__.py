"""Markets as agents learn on them: with a teacher's answers and with embeddings."""
