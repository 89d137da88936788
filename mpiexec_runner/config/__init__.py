"""One YAML file turned into settings and tasks."""
