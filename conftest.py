"""Put components of your own here (``@calbench.calibrator("my-method")``): every suite sees them."""
