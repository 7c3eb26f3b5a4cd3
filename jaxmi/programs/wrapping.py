"""What people write around a program's statements: imports, constants, a function or a lambda.

`unwrap` takes the statements out of a Python file. A text without a function, a lambda or one
expression at its end is *bare statements*, our own form and the one that we print; it takes less of
the wrapping.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from jaxmi.programs import language as lang
from jaxmi.programs.language import ProgramError

MODULES = ("np", "numpy", "math")
"""Modules that may stand before a function, as in `np.sqrt`, without an import too."""

RESERVED = (
    *(name for name in lang.FUNCTIONS if name not in lang.FREE_NAMES),
    *lang.IMAGE_FUNCTIONS,
    lang.TEMPLATE,
    *MODULES,
)
"""Names that no variable may have."""

_IMPORTED = {"numpy": "numpy", "math": "math", "typing": None, "__future__": None}
"""Modules that may be imported -> the module whose functions are known."""


@dataclass(frozen=True)
class Unwrapped:
    """The statements of a program, without what was around them."""

    body: list[ast.stmt]

    is_bare: bool
    """The text is bare statements."""

    inputs: tuple[str, ...]
    """The inputs, by the names that the text gives them."""

    modules: dict[str, str] = field(default_factory=dict)
    """Name -> the module that it stands for."""

    functions: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Imported name -> module and function."""


def fail(node: ast.AST, message: str) -> NoReturn:
    """Refuse a text because of a node."""
    raise ProgramError(position_of(node), message)


def position_of(node: Any) -> lang.Position:
    """Return where a node begins."""
    return lang.Position(getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1)


def dotted(node: ast.expr) -> str:
    """Return the text of a name, or of a name of a module; "" of anything else."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id=module), attr=name):
            return f"{module}.{name}"
    return ""


def unwrap(tree: ast.Module, kind: lang.Kind) -> Unwrapped:
    """Take a program's statements out of a Python file.

    Imports of known modules, docstrings and a block `if __name__ == "__main__":` are dropped.
    Constants before the function, and defaults of its arguments, become statements. Arguments get
    the inputs' names, and variables that had these names get others.

    Raises:
      ProgramError: if the file holds more than one function, or unknown imports.
    """
    imports = _Imports(kind)
    body = imports.without(without_strings(tree.body))
    inputs = lang.SIGNATURES[kind].inputs
    before, function, after = _split(body)
    if function is not None:
        for statement in after:
            if not _is_main_guard(statement):
                is_function = isinstance(statement, ast.FunctionDef)
                hint = "write its statements where it is called" if is_function else "delete this"
                fail(statement, f"one function, and nothing after it; {hint}")
        is_bare = False
        arguments = function.args
        if isinstance(function, ast.Lambda):
            inside: list[ast.stmt] = [_returned(function.body)]
        else:
            inside = imports.without(without_strings(function.body))
            for extra in (*function.decorator_list, *getattr(function, "type_params", ())):
                fail(extra, "a function takes plain arguments, without more")
            if function.returns is not None:
                check_annotation(function.returns, kind)
        reserved = {*imports.modules, *imports.functions}
        scope = _Scope(before, function, arguments, inside, kind, reserved)
        body, inputs = scope.statements(), scope.inputs
    elif body and isinstance(body[-1], ast.Expr) and all(map(_is_constant, body[:-1])):
        is_bare = False
        body = [*body[:-1], _returned(body[-1].value)]
    else:
        is_bare = True
        imports.check_used(tree)
    if not body:
        message = "the program is empty; it ends in `return` with the label"
        raise ProgramError(lang.Position(1, 1), message)
    return Unwrapped(body, is_bare, inputs, imports.modules, imports.functions)


def check_annotation(node: ast.expr, kind: lang.Kind) -> None:
    """Accept int, float and bool as types, and np.ndarray where there are images."""
    types = ("int", "float", "bool")
    if lang.SIGNATURES[kind].image is not None:
        types = (*types, "np.ndarray", "numpy.ndarray")
    if dotted(node) not in types:
        fail(node, f"an annotation other than {', '.join(types)}; leave it out")


def _split(
    body: list[ast.stmt],
) -> tuple[list[ast.stmt], ast.FunctionDef | ast.Lambda | None, list[ast.stmt]]:
    """Split a file into constants, the function or lambda if there is one, and what follows."""
    for i, statement in enumerate(body):
        match statement:
            case ast.FunctionDef():
                return body[:i], statement, body[i + 1 :]
            case ast.Assign(targets=[ast.Name()], value=ast.Lambda() as function):
                return body[:i], function, body[i + 1 :]
            case ast.Expr(value=ast.Lambda() as function) if i == len(body) - 1:
                return body[:i], function, []
        if not _is_constant(statement):
            break
    return body, None, []


def _is_constant(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Pass)


def _is_main_guard(statement: ast.stmt) -> bool:
    match statement:
        case ast.If(
            test=ast.Compare(
                left=ast.Name(id="__name__"),
                ops=[ast.Eq()],
                comparators=[ast.Constant(value="__main__")],
            ),
            orelse=[],
        ):
            return True
    return False


def _returned(value: ast.expr) -> ast.Return:
    return ast.copy_location(ast.Return(value), value)


def without_strings(body: list[ast.stmt]) -> list[ast.stmt]:
    """Leave out docstrings, and other strings that stand alone."""
    return [
        statement
        for statement in body
        if not (
            isinstance(statement, ast.Expr)
            and isinstance(statement.value, ast.Constant)
            and isinstance(statement.value.value, str)
        )
    ]


class _Imports:
    """The imports of a file, and what their names stand for."""

    def __init__(self, kind: lang.Kind) -> None:
        self._kind: lang.Kind = kind
        self.modules = {"np": "numpy", "numpy": "numpy", "math": "math"}
        self.functions: dict[str, tuple[str, str]] = {}
        self._names: list[tuple[ast.stmt, str]] = []

    def without(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """Return statements without imports, which are remembered."""
        rest = []
        for statement in body:
            if isinstance(statement, ast.Import):
                for alias in statement.names:
                    self._add_module(statement, alias)
            elif isinstance(statement, ast.ImportFrom):
                self._add_names(statement)
            else:
                rest.append(statement)
        return rest

    def check_used(self, tree: ast.Module) -> None:
        """Refuse an import before bare statements that use nothing of it."""
        used = {node.id for node in names_in([tree])}
        for statement, name in self._names:
            if name not in used:
                message = "import of something that is not used; delete the line"
                fail(statement, f"{message} (np.sqrt, math.floor and the like need none)")

    def _add_module(self, statement: ast.Import, alias: ast.alias) -> None:
        module = self._known(statement, alias.name)
        name = alias.asname or alias.name
        if module is not None:
            self._check_name(statement, name)
            self.modules[name] = module
        self._names.append((statement, name))

    def _add_names(self, statement: ast.ImportFrom) -> None:
        module = self._known(statement, "." * statement.level + (statement.module or ""))
        for alias in statement.names:
            name = alias.asname or alias.name
            self._names.append((statement, name))
            if module is not None and name != "*":
                self._check_name(statement, name)
                self.functions[name] = module, alias.name

    def _known(self, statement: ast.stmt, module: str) -> str | None:
        if module not in _IMPORTED:
            known = "numpy and math (np.sqrt, math.floor and the like need no import)"
            fail(statement, f"import of {module[:40]}; a program may import {known}")
        return _IMPORTED[module]

    def _check_name(self, statement: ast.stmt, name: str) -> None:
        kinds: set[lang.Kind] = {*lang.KIND_OF.values(), self._kind}
        inputs = {name for kind in kinds for name in lang.INPUTS[kind]}
        if name in inputs:
            fail(statement, f"import as {name}, which is an input; use another name")


class _Scope:
    """Names of a function: its arguments become the inputs, and no variable takes their place."""

    def __init__(
        self,
        before: list[ast.stmt],
        function: ast.FunctionDef | ast.Lambda,
        arguments: ast.arguments,
        inside: list[ast.stmt],
        kind: lang.Kind,
        reserved: set[str],
    ) -> None:
        self._before, self._inside = before, inside
        self._function = function
        self._kind: lang.Kind = kind
        self._names = lang.SIGNATURES[kind].inputs
        self._reserved = reserved
        self._parameters, self._defaults = self._read_arguments(arguments)
        self._used = {node.id for node in names_in((*before, *inside))}
        self._used |= {*self._parameters, *(name for name, _, _ in self._defaults), *self._names}
        self._used |= {*RESERVED, *reserved}

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs, by the names that the text gives them."""
        names = {new: old for old, new in self._parameters.items()}
        return tuple(names.get(name, name) for name in self._names)

    def statements(self) -> list[ast.stmt]:
        """Return constants, defaults and the function's statements, in the language's names."""
        constants = dict.fromkeys(_assigned(self._before))
        variables = dict.fromkeys([name for name, _, _ in self._defaults])
        variables |= dict.fromkeys(_assigned(self._inside))
        taken = {new for old, new in self._parameters.items()}
        outer: dict[str, str] = {}
        for name in constants:
            hidden = name in self._parameters or name in variables
            outer[name] = self._fresh(name) if hidden or name in taken else name
        inner = dict(outer)
        for name in variables:
            clash = name in taken and name not in self._parameters
            clash = clash or (name in self._names and name in constants)
            inner[name] = self._fresh(name) if clash else name
        inner |= self._parameters
        self._check_constants(set(constants))
        for node in names_in(self._inside):
            if node.id in taken and node.id not in inner:
                message = f"unknown name {node.id!r}; the inputs are {', '.join(self.inputs)}"
                fail(node, message)
        for _, value, _ in self._defaults:
            _rename(value, outer)
        for statement in self._before:
            _rename(statement, outer)
        for statement in self._inside:
            _rename(statement, inner)
        defaults = [
            ast.copy_location(ast.Assign([ast.copy_location(_target(inner[name]), at)], value), at)
            for name, value, at in self._defaults
        ]
        return [*self._before, *defaults, *self._inside]

    def _check_constants(self, constants: set[str]) -> None:
        """Refuse constants that use inputs, which have no value before the function."""
        open_names = {"p"} - set(self._parameters)
        closed_names = set(self._names) - constants - open_names
        for node in names_in(self._before):
            if isinstance(node.ctx, ast.Load) and node.id in closed_names:
                fail(node, f"{node.id} has no value before the function; use it inside")

    def _read_arguments(
        self, arguments: ast.arguments
    ) -> tuple[dict[str, str], list[tuple[str, ast.expr, ast.arg]]]:
        """Return argument -> input; and further arguments with their defaults."""
        extras = (*arguments.posonlyargs, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
        for extra in extras:
            if extra is not None:
                fail(extra, "a function takes plain arguments, without more")
        parameters: dict[str, str] = {}
        defaults = []
        names = [argument.arg for argument in arguments.args]
        expected = f"the function's arguments are {', '.join(self._names)}, in this order"
        first_default = len(names) - len(arguments.defaults)
        fewest = len([name for name in self._names if name != "p"])
        for i, argument in enumerate(arguments.args):
            if argument.annotation is not None:
                check_annotation(argument.annotation, self._kind)
            if names.index(argument.arg) < i:
                fail(self._function, f"{expected}; {argument.arg} stands there twice")
            if argument.arg in RESERVED or argument.arg in self._reserved:
                fail(argument, f"{argument.arg} is a function; use another name for the argument")
            if i >= first_default:
                default = arguments.defaults[i - first_default]
                if not _is_number(default):
                    fail(default, "a default that is no number; write the number, or leave it out")
                if i >= fewest:
                    defaults.append((argument.arg, default, argument))
                    continue
            if i >= len(self._names):
                fail(argument, f"{expected}; a further argument needs a default, as in `k=3`")
            is_other = argument.arg in self._names and argument.arg != self._names[i]
            if is_other or (len(names) < fewest and argument.arg != self._names[i]):
                fail(self._function, expected)
            parameters[argument.arg] = self._names[i]
        if not names:
            fail(self._function, expected)
        return parameters, defaults

    def _fresh(self, name: str) -> str:
        """Return a name that nothing has."""
        while name in self._used:
            name += "_"
        self._used.add(name)
        return name


def _is_number(node: ast.expr) -> bool:
    """Return whether a default is a number or the name of a constant."""
    if isinstance(node, ast.UnaryOp):
        node = node.operand
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float)
    return isinstance(node, ast.Name)


def names_in(nodes: Iterable[ast.AST]) -> Iterator[ast.Name]:
    """Yield all names in some nodes."""
    for node in nodes:
        for part in ast.walk(node):
            if isinstance(part, ast.Name):
                yield part


def _target(name: str) -> ast.Name:
    return ast.Name(name, ast.Store())


def _assigned(statements: list[ast.stmt]) -> list[str]:
    """Return all names that statements give a value."""
    return [node.id for node in names_in(statements) if isinstance(node.ctx, ast.Store)]


def _rename(part: ast.AST, names: dict[str, str]) -> None:
    for node in names_in([part]):
        node.id = names.get(node.id, node.id)
