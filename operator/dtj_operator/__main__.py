"""`python -m dtj_operator` is `dtj-operator`."""

import sys

from dtj_operator.cli.operator import main

sys.exit(main())
