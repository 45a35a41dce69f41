"""From MLflow's aliases to what serves: the follower, and rollback, which works without MLflow."""
