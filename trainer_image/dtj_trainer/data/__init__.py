"""From files to the batches of one rank: readers, tag schemes, splits, leaks, and the elastic sampler."""
