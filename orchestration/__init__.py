"""The machinery: ingest, LOSO runs and searches on Ray. The science is in `dadnet`."""

import dadnet as dadnet  # before all other imports: it guards those of a command
from dadnet.base.boundary import check_packages

check_packages()
