"""Random programs: a seed gives a sound graph over all ops, and its inputs."""
