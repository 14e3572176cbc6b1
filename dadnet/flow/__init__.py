"""From frames to optical flow, and the flow store."""
