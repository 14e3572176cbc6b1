"""What tests are made of: clips, models, records, command lines."""
