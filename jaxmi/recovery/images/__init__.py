"""Search on images: the best conditions over all templates and metrics, joined by a form."""
