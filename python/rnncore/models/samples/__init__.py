"""What models are trained on, checked: sequences, pairs of them, values after a vector, streams."""
