"""YAML files with a fault, and what is said of each; {path} stands for the file."""

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MISREAD = (
    "means different things to different readers; write true, false or a plain number, or put text in quotes"
)
TAG = "is not allowed; a config is plain data"

FAULTS: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "{path}: empty; write a mapping of keys, such as `seed: 0`"),
    "comments": ("# nothing\n\n", "{path}: empty; write a mapping of keys, such as `seed: 0`"),
    "a list": ("- seed: 1\n", "{path}: holds no mapping; write keys, such as `seed: 0`"),
    "a word": ("hello\n", "{path}: holds no mapping; write keys, such as `seed: 0`"),
    "a dash line": ("---\n", "{path}: holds no mapping; write keys, such as `seed: 0`"),
    "two documents": (
        "seed: 1\n---\nseed: 2\n",
        "{path}:2: not valid YAML (but found another document)",
    ),
    "binary": (bytes(range(256)), "{path}: not UTF-8 at byte 128; save it as UTF-8 text"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0", "{path}: not UTF-8 at byte 0; save it as UTF-8 text"),
    "Latin-1": ("name: é\n".encode("latin1"), "{path}: not UTF-8 at byte 6; save it as UTF-8 text"),
    "UTF-16": ("seed: 1\n".encode("utf-16"), "{path}: not UTF-8 at byte 0; save it as UTF-8 text"),
    "NUL": ("seed: 1\0\n", "{path}: not valid YAML (not plain text)"),
    "escape": ("name: \x1b[31m\n", "{path}: not valid YAML (not plain text)"),
    "indentation": (
        "model:\n  name: mlp\n dropout: 0\n",
        "{path}:3: not valid YAML (expected <block end>, but found '<block mapping start>')",
    ),
    "a tab": (
        "model:\n\tname: mlp\n",
        "{path}:2: not valid YAML (found character '\\t' that cannot start any token)",
    ),
    "an open list": (
        "hidden: [4, 2\nbias: true\n",
        "{path}:2: not valid YAML (expected ',' or ']', but got ':')",
    ),
    "two colons": ("a: b: c\n", "{path}:1: not valid YAML (mapping values are not allowed here)"),
    "an at sign": ("a: @x\n", "{path}:1: not valid YAML (found character '@' that cannot start any token)"),
    "a duplicate key": (
        "seed: 1\nbias: true\nseed: 2\n",
        "{path}:3: the key 'seed' appears twice; keep one of them",
    ),
    "a duplicate key below": (
        "model:\n  bias: true\n  bias: true\n",
        "{path}:3: the key 'bias' appears twice; keep one of them",
    ),
    "a number as key": ("1: 2\n", "{path}:1: the key 1 is not text; put it in quotes"),
    "null as key": ("~: 2\n", "{path}:1: the key null is not text; put it in quotes"),
    "a list as key": ("[a]: 2\n", '{path}:1: the key ["a"] is not text; put it in quotes'),
    "a python object": (
        "seed: !!python/object/apply:os.system [ls]\n",
        f"{{path}}:1: the tag 'tag:yaml.org,2002:python/object/apply:os.system' {TAG}",
    ),
    "a python name": (
        "seed: 1\nname: !!python/name:os.system\n",
        f"{{path}}:2: the tag 'tag:yaml.org,2002:python/name:os.system' {TAG}",
    ),
    "a python object as root": (
        "!!python/object:os.system {}\n",
        f"{{path}}:1: the tag 'tag:yaml.org,2002:python/object:os.system' {TAG}",
    ),
    "a tag of one's own": ("seed: !mine 1\n", f"{{path}}:1: the tag '!mine' {TAG}"),
    "a tag with an escape": ("seed: !%1b%5b31m 1\n", f"{{path}}:1: the tag '!\\x1b[31m' {TAG}"),
    "bytes": ("seed: !!binary aGk=\n", f"{{path}}:1: the tag 'tag:yaml.org,2002:binary' {TAG}"),
    "a set": ("seed: !!set {a}\n", f"{{path}}:1: the tag 'tag:yaml.org,2002:set' {TAG}"),
    "a merge": ("a:\n  <<: {b: 1}\n", f"{{path}}:2: the tag 'tag:yaml.org,2002:merge' {TAG}"),
    "no integer": ("seed: !!int x\n", "{path}:1: 'x' cannot be read as int; write it plainly"),
    "no boolean": ("bias: !!bool x\n", "{path}:1: 'x' cannot be read as bool; write it plainly"),
    "a huge integer": (
        f"seed: {'9' * 5000}\n",
        f"{{path}}:1: '{'9' * 56}... cannot be read as int; write it plainly",
    ),
    "a number that is a list": ("seed: !!int [1]\n", f"{{path}}:1: the tag 'tag:yaml.org,2002:int' {TAG}"),
    "a list that is a number": ("hidden: !!seq 1\n", f"{{path}}:1: the tag 'tag:yaml.org,2002:seq' {TAG}"),
    "an alias bomb": (BOMB, "{path}:1: aliases (*name) are not allowed; write the value out"),
    "an alias of itself": ("a: &a [*a]\n", "{path}:1: aliases (*name) are not allowed; write the value out"),
    "too large": (
        "# " + "x" * 1_000_000,
        "{path}: 1000002 bytes; a config has at most 1000000",
    ),
    "deep": ("a: " + "[" * 60 + "]" * 60 + "\n", "{path}:1: nested deeper than 50 levels"),
    "very deep": ("a: " + "[" * 500 + "]" * 500 + "\n", "{path}: nested deeper than 50 levels"),
    "on": ("bias: on\n", f"{{path}}:1: on {MISREAD}"),
    "No": ("seed: 1\nbias: No\n", f"{{path}}:2: No {MISREAD}"),
    "off as key": ("off: 1\n", f"{{path}}:1: off {MISREAD}"),
    "0x10": ("seed: 0x10\n", f"{{path}}:1: 0x10 {MISREAD}"),
    "010": ("seed: 010\n", f"{{path}}:1: 010 {MISREAD}"),
    "-0_7": ("seed: -0_7\n", f"{{path}}:1: -0_7 {MISREAD}"),
    "12:30:45": ("seed: 12:30:45\n", f"{{path}}:1: 12:30:45 {MISREAD}"),
    "1:30 in a list": ("hidden: [4, 1:30]\n", f"{{path}}:1: 1:30 {MISREAD}"),
    "a date": ("seed: 2020-01-01\n", f"{{path}}:1: 2020-01-01 {MISREAD}"),
}
