"""Making other files from a version's own before an engine serves them, and keeping them."""
