"""Every architecture of transformers, tiny: asked by calbench and, one text at a time, by transformers."""
