"""The machinery: ingest, LOSO runs and searches on Ray. The science is in `dadnet`."""
