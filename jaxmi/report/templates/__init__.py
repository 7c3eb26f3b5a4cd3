"""Pages and READMEs as Jinja templates, filled by one environment."""

from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

import jinja2


def render(
    name: str, filters: Mapping[str, Callable[..., Any]] | None = None, **values: Any
) -> str:
    """Fill a template of this folder.

    Args:
      name: The template's file name. Values are escaped in `*.html.jinja` and in no other.
      filters: Filter name -> function, for this template.
      **values: The template's variables; a variable that is missing raises.

    Returns:
      The text, with the template's own newline at its end.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(
            lambda file: resources.files(__name__).joinpath(file).read_text(encoding="utf-8")
        ),
        undefined=jinja2.StrictUndefined,
        autoescape=jinja2.select_autoescape(("html.jinja",)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= filters or {}
    return environment.get_template(name).render(**values)
