"""Programs -> weights, without training: networks whose mechanism is known."""
