"""What a user names: layers, losses, optimizers, schedules; a network over flat buffers."""
