"""Networks whose mechanism is known: compiled from programs, or trained to hold stated variables.

Compiled, on pairs: `compile`, and what it calls. On images: the files whose names begin with image.
Trained: `trained` makes the key, `interchange_training` trains, `causal_model` says to what labels.
Both: `key` says what holds which variable; `disguise` and `decoys` change how the weights look.
"""
