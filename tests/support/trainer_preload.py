"""What every rank would import and work out anew, of the library that makes the model: a third of a small job's time.

Imported by the server that ranks are forked from.
"""

import gc

import trainer_jobs  # noqa: F401
import transformers.models.bert.modeling_bert  # noqa: F401  (the tests' model; transformers imports it when it is asked for)
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

# Compiles the patterns for all models there are, whichever is asked for, and keeps them.
get_checkpoint_conversion_mapping("bert")
# What is here now is never collected: the ranks' collectors would only look at it, and copy its pages.
gc.collect()
gc.freeze()
