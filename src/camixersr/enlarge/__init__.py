"""One picture: array to array or file to file, in memory or from disk to disk."""
