"""An experiment's configuration and the named presets."""
