"""The import worker: from an uploaded archive to verified, content-addressed files and a report."""
