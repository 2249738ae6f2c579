"""The layers: each module imports only from those below it, and bounds are in `limits` alone."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = {"luludb": ROOT / "luludb", "luludb_client": ROOT / "clients/python/luludb_client"}
WORDS = frozenset(f"luludb.{name}" for name in ("errors", "limits", "model", "ids", "times"))
"""Layer 0: what everyone imports and what imports nothing but each other."""
ZMQ_SIDE = frozenset({"zmq", "apsw", "msgpack", "click", "rich"})
THIRD_PARTY_ALLOWED = {
    "luludb.wire": {"msgpack"},
    "luludb.home": {"platformdirs"},
    "luludb.daemon": {"apsw", "zmq"},
    **{
        f"luludb.admin.{name}": {"apsw"}
        for name in ("backup", "compact_offline", "copying", "replacement", "restore")
    },
    "luludb.admin.doctor.inspector": {"apsw"},
    "luludb.cli": {"click", "rich"},
    "luludb_client.pytest_plugin": {"pytest"},
    "luludb_client.testing": {"pytest"},
}
SIDES_ALLOWED = {
    "luludb.cli.serve": {"luludb.daemon"},
}


def modules():
    """Each module's dotted name and its file."""
    for package, directory in PACKAGES.items():
        for path in sorted(directory.rglob("*.py")):
            parts = path.relative_to(directory).with_suffix("").parts
            name = ".".join((package, *parts)).removesuffix(".__init__")
            yield name, path


MODULES = dict(modules())


def imports_of(name):
    """Every module that `name` imports, anywhere in it; names of luludb's own as modules."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                yield from (alias.name for alias in aliases)
            case ast.ImportFrom(module=module, names=aliases, level=level):
                assert level == 0, f"{name} has a relative import"
                for alias in aliases:
                    inner = f"{module}.{alias.name}"
                    yield inner if inner in MODULES else str(module)


def layer_of(name):
    """The layer of a module of luludb's; the package itself, which holds the version, is 0."""
    if name in WORDS or name == "luludb":
        return 0
    top = name.split(".")[1] if "." in name and name.startswith("luludb.") else ""
    if name.startswith("luludb_client") or top == "daemon":
        return 2
    return {"admin": 3, "cli": 4, "__main__": 5}.get(top, 1)


def own_imports(name):
    return [found for found in imports_of(name) if found in MODULES]


def side_of(name):
    return ".".join(name.split(".")[:2]) if name.startswith("luludb.") else name.split(".")[0]


def test_there_is_something_to_look_at():
    assert {"luludb.wire", "luludb.daemon.writer", "luludb.tables.ledger"} <= set(MODULES)
    assert {layer_of(name) for name in MODULES} == {0, 1, 2, 3, 4, 5}
    assert "luludb.wire" in own_imports("luludb.daemon.writer")


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_from_its_own_layer_and_those_below(name):
    above = [found for found in own_imports(name) if layer_of(found) > layer_of(name)]

    assert above == []


@pytest.mark.parametrize("name", sorted(WORDS))
def test_the_vocabulary_imports_the_standard_library_and_itself(name):
    for found in imports_of(name):
        assert found in WORDS or found.split(".")[0] in sys.stdlib_module_names


def test_the_daemon_and_the_client_do_not_know_each_other():
    for name in MODULES:
        if side_of(name) == "luludb.daemon":
            assert [x for x in own_imports(name) if x.startswith("luludb_client")] == [], name
        if side_of(name) == "luludb_client":
            assert [x for x in own_imports(name) if x.startswith("luludb.daemon")] == [], name


def test_only_serve_imports_the_daemon():
    outside = [
        name
        for name in MODULES
        if side_of(name) != "luludb.daemon"
        and any(found.startswith("luludb.daemon") for found in own_imports(name))
    ]

    assert outside == ["luludb.cli.serve"]


@pytest.mark.parametrize("name", MODULES)
def test_other_peoples_packages_are_imported_where_they_belong(name):
    tops = {found.split(".")[0] for found in imports_of(name)}
    others = tops - sys.stdlib_module_names - set(PACKAGES)
    allowed = THIRD_PARTY_ALLOWED.get(name) or THIRD_PARTY_ALLOWED.get(side_of(name), set())

    assert others <= allowed


def test_sql_is_in_the_tables_modules_and_where_settings_are_made():
    statement = re.compile(
        r"\b(SELECT .* FROM|INSERT (OR \w+ )?INTO|DELETE FROM|UPDATE \w+ SET|CREATE TABLE)\b"
    )
    daemon = {name for name in MODULES if side_of(name) == "luludb.daemon"}
    for name in {*daemon, "luludb.wire", "luludb.commands", "luludb.home"}:
        assert not statement.search(MODULES[name].read_text(encoding="utf-8")), name


# Bounds.


def test_every_bound_is_in_limits():
    """A name that ends like a bound is assigned nowhere else."""
    bound = re.compile(r"^[A-Z_]*(_MAX|_MIN)(_\w+)?$")
    allowed = {
        "SOCKET_PATH_BYTES_MAX",  # which of two in limits, by platform
        "SQLITE_VERSION_MIN",  # a version
        "_CONTENT_BYTES_MAX",  # what one in limits leaves
        "_SHORT_BYTES_MAX",  # a fact of ZMTP's frames
        *("_ERROR_BYTES_MAX", "_START_S_MAX", "_STOP_S_MAX"),  # patience of a tool for tests
    }
    found = {}
    for name, path in MODULES.items():
        if name == "luludb.limits":
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets += [node.target] if isinstance(node, ast.AnnAssign) else []
            for target in targets:
                if isinstance(target, ast.Name) and bound.match(target.id):
                    found[target.id] = name
    assert {key: value for key, value in found.items() if key not in allowed} == {}


def test_every_bound_has_its_unit_in_its_name():
    units = re.compile(
        r"_(BYTES|COMMANDS|CHARACTERS|MESSAGES|CONNECTIONS|FRAMES|ROWS|PAGES|CHUNKS|CLIENTS|CHANGES"
        r"|ATTEMPTS|CONTAINERS|ELEMENTS|LINES|DEPTH|COMMITS|SESSIONS|INTEGER|MS|S|DAYS|TRIMMED|FORGOTTEN|KEPT|MEMORY|SHOWN|IDLE|LEVELS|FILES|THREADS)(_|$)"
    )
    tree = ast.parse(MODULES["luludb.limits"].read_text(encoding="utf-8"))
    names = [node.target.id for node in tree.body if isinstance(node, ast.AnnAssign)]

    assert len(names) > 30
    assert [name for name in names if not units.search(f"_{name}")] == []


def test_every_bound_is_used():
    tree = ast.parse(MODULES["luludb.limits"].read_text(encoding="utf-8"))
    names = {node.target.id for node in tree.body if isinstance(node, ast.AnnAssign)}
    text = "\n".join(path.read_text(encoding="utf-8") for path in MODULES.values())

    assert {name for name in names if len(re.findall(rf"\b{name}\b", text)) < 2} == set()


# Sizes, as far as they can be held.


@pytest.mark.parametrize("name", MODULES)
def test_no_function_is_longer_than_60_lines(name):
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    long = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno >= 60
    ]

    assert long == []


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_in_its_first_line_what_it_owns(name):
    docstring = ast.get_docstring(ast.parse(MODULES[name].read_text(encoding="utf-8")))

    assert docstring or MODULES[name].stat().st_size == 0


@pytest.mark.parametrize("name", MODULES)
def test_no_module_has_a_name_that_says_nothing(name):
    assert not re.search(r"util|helper|manager|misc|common", name)
