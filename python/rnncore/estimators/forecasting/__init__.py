"""How RNNForecaster forecasts: windows of series in numbers, linear part, network, scores."""
