"""Text -> program: what is read, and where and why the rest is refused."""

from importlib import resources
from typing import get_args

import pytest

from jaxmi.programs import language as lang
from jaxmi.programs.language import (
    Assign,
    Binary,
    Call,
    Choice,
    Compare,
    Connected,
    If,
    Name,
    Number,
    Position,
    Program,
    ProgramError,
    Return,
    Unary,
)
from jaxmi.programs.parse import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    MAX_NAMES,
    MAX_SIZE,
    MAX_TEMPLATES,
    parse,
)

X, Y, P = Name("x"), Name("y"), Name("p")
IMAGE = Name("image")


def pairs(text: str) -> Program:
    return parse(text, "pairs")


def value(text: str, kind: lang.Kind = "pairs") -> lang.Expression:
    """What the program `return text` returns."""
    (statement,) = parse(f"return {text}", kind).body
    assert isinstance(statement, Return)
    return statement.value


EXPRESSIONS = {
    "7": Number(7),
    "0x10": Number(16),
    "1_000": Number(1000),
    "2.5e3": Number(2500.0),
    "True": Number(True),
    "9223372036854775807": Number(2**63 - 1),
    "x": X,
    "(((x)))": X,
    "+x": X,
    "-7": Unary("-", Number(7)),
    "not x": Unary("not", X),
    "x + y * p": Binary("+", X, Binary("*", Y, P)),
    "x - y - p": Binary("-", Binary("-", X, Y), P),
    "x ** y ** p": Binary("**", X, Binary("**", Y, P)),
    "-x ** -y": Unary("-", Binary("**", X, Unary("-", Y))),
    "x / y // p % 2": Binary("%", Binary("//", Binary("/", X, Y), P), Number(2)),
    "x < y": Compare(X, (("<", Y),)),
    "x < y <= p != 3": Compare(X, (("<", Y), ("<=", P), ("!=", Number(3)))),
    "x > y >= p == 3": Compare(X, ((">", Y), (">=", P), ("==", Number(3)))),
    "(x < y) < p": Compare(Compare(X, (("<", Y),)), (("<", P),)),
    "x and y and p": Connected("and", (X, Y, P)),
    "x and y or p": Connected("or", (Connected("and", (X, Y)), P)),
    "x and (y and p)": Connected("and", (X, Connected("and", (Y, P)))),
    "x if y else p": Choice(Y, X, P),
    "sqrt(x)": Call("sqrt", (X,)),
    "np.sqrt(x) + math.sqrt(x)": Binary("+", Call("sqrt", (X,)), Call("sqrt", (X,))),
    "numpy.floor(x)": Call("floor", (X,)),
    "min(x, y, p)": Call("min", (X, Y, P)),
}


@pytest.mark.parametrize(("text", "node"), EXPRESSIONS.items())
def test_expressions_are_read_as_python_reads_them(text: str, node: lang.Expression) -> None:
    assert value(text) == node


def test_statements_are_read_as_python_reads_them() -> None:
    text = "z = 1; z **= x\nif x: z -= 1\nelif y:\n\tpass\nelse:\n  if p: y = 2\n  z = 3\nreturn z"
    branches = ((X, (Assign("z", Number(1), "-"),)), (Y, ()))
    otherwise = (If(((P, (Assign("y", Number(2)),)),)), Assign("z", Number(3)))
    body = (Assign("z", Number(1)), Assign("z", X, "**"), If(branches, otherwise))
    assert pairs(text) == Program("pairs", (*body, Return(Name("z"))))


@pytest.mark.parametrize("otherwise", ["  if y: return 2", "  pass\n  if y: return 2\n  pass"])
def test_an_if_alone_in_else_is_an_elif(otherwise: str) -> None:
    chain = pairs("if x: return 1\nelif y: return 2\nreturn 3")
    assert pairs(f"if x: return 1\nelse:\n{otherwise}\nreturn 3") == chain
    assert pairs(f"if x: return 1\nelse:\n{otherwise}\n  x = 1\nreturn 3") != chain


@pytest.mark.parametrize(
    "text",
    [
        "return x+y",
        "return (x +\n  y)\n",
        "\n\n# words\nreturn x \\\n  + y  # more\n",
        "'''What it does.'''\nreturn x + y",
        "pass\nreturn x + y",
        "def label(x, y):\n  return x + y",
        "def any_name(x, y, p): return x + y",
        '"""Words."""\ndef label(x, y):\n  """Words."""\n  return x + y\n',
        "return x + y\r\n",
    ],
)
def test_layout_comments_and_a_function_around_it_are_no_part_of_a_program(text: str) -> None:
    assert pairs(text) == pairs("return x + y")


def test_a_function_need_not_name_all_inputs_to_use_them() -> None:
    assert pairs("def label(x):\n  return x + y + p") == pairs("return x + y + p")


def test_images_are_read() -> None:
    template = Call("template", (Number(6),))
    assert value("l1(image, template(6))", "image") == Call("l1", (IMAGE, template))
    assert value("mean(template(59999))", "image") == Call(
        "mean", (Call("template", (Number(59999),)),)
    )
    program = parse("clue = template(6)\nreturn cosine(clue, image) > sqrt(.5)", "image")
    assert program.body[0] == Assign("clue", template)
    assert program.templates == (6,)
    assert parse("x = mean(image)\nreturn x", "image").body[0] == Assign(
        "x", Call("mean", (IMAGE,))
    )


def test_further_inputs_may_be_named() -> None:
    assert parse("return t + x", "pairs", ["t"]).body == (Return(Binary("+", Name("t"), X)),)
    with pytest.raises(ProgramError, match="unknown name 't'"):
        pairs("return t + x")


def test_nodes_stand_where_python_says() -> None:
    program = pairs("z = 1\nif x:\n    return z + (\n        sqrt(y))\nreturn 0")
    at = {type(node): node.position for node in lang.walk(program)}
    assert at[If] == Position(2, 1)
    assert at[Binary] == Position(3, 12)
    assert at[Call] == Position(4, 9)


def test_the_published_programs_have_the_stated_sizes() -> None:
    folder = resources.files("jaxmi.programs").joinpath("published")
    transformer = pairs(folder.joinpath("transformer.txt").read_text())
    assert transformer.size == 56
    cnn = parse(folder.joinpath("cnn.txt").read_text(), "image")
    assert cnn.size == 10
    assert cnn.templates == (6,)


REFUSED = {
    # Python's syntax
    "return (1": (1, 8, "not Python: '(' was never closed"),
    "return 1 +": (1, 11, "not Python: invalid syntax"),
    "if x:\nreturn 1": (2, 1, "not Python: expected an indented block"),
    "return x if y": (1, 8, "not Python: expected 'else'"),
    "return 0777": (1, 8, "not Python: leading zeros"),
    "if x:\n\ty = 1\n        y = 2\nreturn y": (3, 1, "not Python: inconsistent use of tabs"),
    # Characters
    "return x\x00": (1, 9, "character U+0000"),
    "z = 1\nreturn \u0445": (2, 8, "character U+0445"),
    "return 1  # caf\u00e9": (1, 16, "character U+00E9"),
    "\ufeffreturn 1": (1, 1, "character U+FEFF"),
    "return x\v": (1, 9, "character U+000B"),
    "return '\ud800'": (1, 9, "character U+D800"),
    # Statements
    "import numpy as np\nreturn 1": (1, 1, "import"),
    "x = 1\nfrom math import sqrt\nreturn 1": (2, 1, "import"),
    "for i in x: pass\nreturn 1": (1, 1, "a loop"),
    "if x:\n  while y: pass\nreturn 1": (2, 3, "a loop"),
    "x\nreturn 1": (1, 1, "an expression whose value is not used"),
    "z: str = 1\nreturn z": (1, 4, "an annotation"),
    "x: int = 1\nreturn x": (1, 1, "an annotation of an input"),
    "del x\nreturn 1": (1, 1, "Python's Delete"),
    "class A: pass\nreturn 1": (1, 1, "a class"),
    "x = y = 1\nreturn x": (1, 1, "one name at a time"),
    "x, y = y, x\nreturn x": (1, 1, "one name at a time"),
    "a, b[0] = y, x\nreturn x": (1, 4, "only a plain name"),
    "a, b = 1, 2, 3\nreturn a": (1, 1, "one name at a time"),
    "x.real = 1\nreturn x": (1, 1, "only a plain name"),
    "x <<= 1\nreturn x": (1, 1, "operator << is not part of the language"),
    "return": (1, 1, "return has no value; it must give the label"),
    "": (1, 1, "the program is empty"),
    "# words": (1, 1, "the program is empty"),
    "x = 1": (1, 1, "nothing is returned"),
    # Names
    "return w": (1, 8, "unknown name 'w'; the inputs are x, y, p"),
    "z = z + 1\nreturn z": (1, 5, "unknown name 'z'"),
    "z += 1\nreturn z": (1, 1, "z has no value yet"),
    "return sqrt": (1, 8, "unknown name 'sqrt'"),
    "sqrt = 1\nreturn 1": (1, 1, "sqrt is a function"),
    "l1 = 1\nreturn 1": (1, 1, "l1 is a function"),
    "np = 1\nreturn 1": (1, 1, "np is a function"),
    # Expressions
    "return x & y": (1, 8, "operator & is not part of the language"),
    "return 1 + ~x": (1, 12, "operator ~ is not part of the language"),
    "return 1 < x in y": (1, 8, "comparisons are < <= > >= == !="),
    "return [x]": (1, 8, "a list"),
    "return x[0]": (1, 8, "a subscript"),
    "return x.real": (1, 8, "an attribute"),
    "return np.pi": (1, 8, "an attribute"),
    "return (z := 1)": (1, 9, "an assignment inside an expression"),
    "return lambda: 1": (1, 8, "a lambda"),
    "return f'{x}'": (1, 8, "an f-string"),
    "return 'a'": (1, 8, "a str"),
    "return 1j": (1, 8, "a complex"),
    "return None": (1, 8, "None is not part"),
    "return 9223372036854775808": (1, 8, "the number is too large"),
    "return 1e999": (1, 8, "the number is too large"),
    # Calls
    "return round(x)": (1, 8, "round of an input alone is no label"),
    "return round(x / 3, 1, 2)": (1, 8, "round takes 1..2 numbers, not 3"),
    "return np.int(x)": (1, 8, "not one of the language's functions"),
    "return np.min(x, y)": (1, 8, "not one of the language's functions"),
    "return os.sqrt(x)": (1, 8, "not one of the language's functions"),
    "return l1(x, y)": (1, 8, "not one of the language's functions"),
    "return abs(x)(y)": (1, 8, "not one of the language's functions"),
    "return int(x, 2)": (1, 8, "int takes 1 number"),
    "return min(x)": (1, 8, "min takes 2..16 numbers"),
    f"return max({'x, ' * 16}x)": (1, 8, "max takes 2..16 numbers"),
    "return min(x, *y)": (1, 15, "functions take plain arguments"),
    "return max(x, y, key=abs)": (1, 18, "functions take plain arguments"),
    # Functions
    "def f(): return 1": (1, 1, "the function's arguments are x, y, p, in this order"),
    "def f(y, x): return 1": (1, 1, "the function's arguments are x, y, p, in this order"),
    "def f(x, x): return 1": (1, 1, "the function's arguments are x, y, p, in this order"),
    "def f(x, y=[]): return 1": (1, 12, "a default that is no number"),
    "def f(x, *y): return 1": (1, 11, "a function takes plain arguments"),
    "def f(x, /, y): return 1": (1, 7, "a function takes plain arguments"),
    "def f(x: str): return 1": (1, 10, "an annotation other than int, float, bool"),
    "def f(x) -> None: return 1": (1, 13, "an annotation other than int, float, bool"),
    "@f\ndef f(x): return 1": (1, 2, "a function takes plain arguments"),
    "async def f(x): return 1": (1, 1, "Python's AsyncFunctionDef"),
    "def f(x): return 1\nx = 1": (2, 1, "one function, and nothing after it"),
    "def f(x):\n  def g(x): return 1\n  return 1": (2, 3, "a function inside the program"),
    "def f(x):\n  'words'": (1, 1, "the program is empty"),
}


def refusal(text: str, kind: lang.Kind = "pairs") -> ProgramError:
    with pytest.raises(ProgramError) as caught:
        parse(text, kind)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(("text", "expected"), REFUSED.items())
def test_what_is_no_program_is_refused_where_it_begins(
    text: str, expected: tuple[int, int, str]
) -> None:
    line, column, words = expected
    error = refusal(text)
    assert error.position == Position(line, column)
    assert str(error).startswith(f"line {line}, column {column}: {words}")


IMAGES_REFUSED = {
    "return image": (8, "an image stands only in l1"),
    "return mean(image) + image": (22, "an image stands only in l1"),
    "return not image": (12, "an image stands only in l1"),
    "return sqrt(image)": (13, "an image stands only in l1"),
    "return template(6)": (8, "an image stands only in l1"),
    "return l1(image)": (8, "l1 takes two images"),
    "return l1(image, 3)": (8, "l1 takes two images"),
    "return mean(image, image)": (8, "mean takes one image"),
    "return l1(image, template(60000))": (18, "template takes one whole number in 0..59999"),
    "return l1(image, template(-1))": (18, "template takes one whole number in 0..59999"),
    "return l1(image, template(1.0))": (18, "template takes one whole number in 0..59999"),
    "return l1(image, template(True))": (18, "template takes one whole number in 0..59999"),
    "i = 6; return l1(image, template(i))": (25, "template takes one whole number in 0..59999"),
    "return l1(image, np.template(6))": (18, "not one of the language's functions"),
    "return np.l1(image, image)": (8, "not one of the language's functions"),
    "return x": (8, "unknown name 'x'; the inputs are image"),
    "image = template(6); return 1": (1, "an image is given a new name"),
    "t = template(6); t = template(7); return 1": (18, "an image is given a new name"),
    "t = template(6); t = 1; return 1": (18, "an image is given a new name"),
    "t = template(6); t += 1; return 1": (18, "an image is given a new name"),
    "z = 1; z = template(6); return z": (8, "an image is given a new name"),
    "if mean(image): t = template(6)": (17, "an image is given a new name"),
    "def f(x, y): return 1": (10, "the function's arguments are image"),
    "def f(): return 1": (1, "the function's arguments are image"),
}


@pytest.mark.parametrize(("text", "expected"), IMAGES_REFUSED.items())
def test_images_stand_only_where_images_are_wanted(text: str, expected: tuple[int, str]) -> None:
    column, words = expected
    assert str(refusal(text, "image")).startswith(f"line 1, column {column}: {words}")


def nested(n: int) -> str:
    return "".join(f"{' ' * i}if x:\n" for i in range(n)) + f"{' ' * n}y = 1\n"


def test_sizes_are_limited_and_the_limits_are_allowed() -> None:
    for most, text in (
        (MAX_CHARACTERS, lambda n: "return 1".ljust(n)),
        (MAX_SIZE // 2, lambda n: "x=1\n" * (n - 1) + "return 1"),
        (MAX_DEPTH - 1, lambda n: f"return {'-' * n}x"),
        (MAX_DEPTH - 1, lambda n: f"return x{' + x' * n}"),
        (MAX_DEPTH - 1, lambda n: nested(n) + "return 1"),
    ):
        assert pairs(text(most))
        assert refusal(text(most + 1))
    names = [f"t{i} = template({i})\n" for i in range(MAX_TEMPLATES + 1)]
    assert parse("".join(names[:-1]) + "return 1", "image")
    assert "a program names at most 16 images" in str(refusal("".join(names) + "return 1", "image"))


def test_a_number_is_not_a_truth_value_nor_a_float() -> None:
    one, truth, float_one = value("1"), value("True"), value("1.0")
    assert len({one, truth, float_one}) == 3
    assert value("2 + 1") != value("2 + 1.0")
    assert value("min(0, 1)") != value("min(0, True)")
    assert value("x < 1") != value("x < True")


def test_every_kind_has_a_signature_whose_inputs_and_functions_its_programs_know() -> None:
    assert tuple(lang.SIGNATURES) == get_args(lang.Kind)
    for kind, signature in lang.SIGNATURES.items():
        inputs, functions = ", ".join(signature.inputs), ", ".join(signature.functions)
        assert str(refusal("return unknown", kind)).endswith(f"the inputs are {inputs}")
        assert str(refusal("return unknown(1)", kind)).endswith(f"functions: {functions}")
    more = set(lang.SIGNATURES["image"].functions) - set(lang.SIGNATURES["pairs"].functions)
    assert more == {*lang.IMAGE_FUNCTIONS, lang.TEMPLATE}


def test_places_are_no_part_of_what_a_node_says() -> None:
    near, far = value("x + 1"), value("(\n\n  x   +\n 1)")
    assert near.position != far.position
    assert near == far
    assert hash(near) == hash(far)
    assert near != value("x + 2")
    assert near != "x + 1"


def test_names_are_at_most_so_many() -> None:
    free = MAX_NAMES - len(lang.INPUTS["pairs"])
    lines = [f"v{i} = x" for i in range(free + 1)]
    parse("\n".join([*lines[:free], "v0 = y", "return v0"]), "pairs")
    with pytest.raises(
        ProgramError, match=f"line {free + 1}, column 1: more than {MAX_NAMES} names"
    ):
        parse("\n".join([*lines, "return v0"]), "pairs")
