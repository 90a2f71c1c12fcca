"""`python -m dtj_cluster`."""

import sys

from dtj_cluster.cli import main

sys.exit(main())
