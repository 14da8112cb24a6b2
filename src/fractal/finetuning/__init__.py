"""An encoder that learns: tuned end to end on labels of whole responses, as one more expert beside the frozen ones."""
