"""The trail: one facade, `Trail`, over the themes writing, snapshot, asking, keeping and state."""
