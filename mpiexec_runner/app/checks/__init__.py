"""What ``doctor`` looks at: one file a subject, each check a function from a folder to findings."""
