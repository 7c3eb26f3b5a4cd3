"""Results as figures, pages and tables."""

from jaxmi.drawing import import_matplotlib

import_matplotlib()  # before the modules of this folder, which import it
