"""Multiple-instance learning on ragged bags: aggregations, objectives, the head and its training."""
