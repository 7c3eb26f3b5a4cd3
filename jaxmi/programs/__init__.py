"""Labelling programs as data: language, parser, evaluation, random draws and fairness."""
