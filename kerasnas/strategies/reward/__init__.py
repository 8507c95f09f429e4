"""Models of the reward, each with its own uncertainty."""
