"""Filters: the grammar as a tree, errors with their column, bounds, and the SQL's answers against a model in Python."""

import string
from typing import Any, Final

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import String, column, create_engine, literal, select, union_all

from update_manager.adapters.db import rsql_sql
from update_manager.adapters.db.session import Database
from update_manager.domain.rsql import MAX_COMPARISONS, MAX_DEPTH, MAX_LENGTH, Both, Comparison, Either, Node, parse
from update_manager.errors import RsqlSyntaxError, RsqlUnknownField
from update_manager.testing import make_targets, ok


def is_(field: str, operator: str, *values: str, column: int = 1) -> Comparison:
    return Comparison(field, operator, values, column)


def bare(node: Node) -> Any:
    """Without columns."""
    match node:
        case Comparison(field, operator, values):
            return field, operator, values
        case _:
            return type(node).__name__, [bare(part) for part in node.parts]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("==", "=="),
        ("=eq=", "=="),
        ("=EQ=", "=="),
        ("=li=", "=="),
        ("=is=", "is"),
        ("!=", "!="),
        ("=ne=", "!="),
        ("=not=", "not"),
        ("=lt=", "<"),
        ("<", "<"),
        ("=le=", "<="),
        ("<=", "<="),
        ("=gt=", ">"),
        (">", ">"),
        ("=ge=", ">="),
        (">=", ">="),
    ],
)
def test_every_operator_is_known_with_and_without_blanks(written: str, meant: str) -> None:
    assert bare(parse(f"  name {written} x ")) == bare(parse(f"name{written}x"))
    assert parse(f"name{written}x") == is_("name", meant, "x")
    assert parse(f"name {written} 'x y'") == is_("name", meant, "x y")


def test_lists_have_their_own_operators() -> None:
    assert parse("name=in=(a, 'b c',\"d\")") == is_("name", "in", "a", "b c", "d")
    assert parse("name=OUT=(a)") == is_("name", "out", "a")


def test_and_binds_tighter_than_or_and_parentheses_tighter_than_both() -> None:
    a, b, c = is_("a", "==", "1"), is_("b", "==", "2", column=6), is_("c", "==", "3", column=11)
    assert parse("a==1;b==2,c==3") == Either((Both((a, b)), c))
    assert parse("a==1,b==2;c==3") == Either((a, Both((b, c))))
    found = parse("(a==1,b==2);c==3")
    assert isinstance(found, Both) and isinstance(found.parts[0], Either)
    assert parse("a==1 and b==2") == Both((a, is_("b", "==", "2", column=10)))
    assert parse("a==1 OR b==2") == Either((a, is_("b", "==", "2", column=9)))


def test_words_that_only_begin_like_and_or_or_are_names() -> None:
    assert parse("order==x;android==y") == Both((is_("order", "==", "x"), is_("android", "==", "y", column=10)))


def test_quotes_hold_anything_and_escape_themselves() -> None:
    assert parse(r"name=='it\'s; (a), \"b\" \\ =='") == is_("name", "==", r"""it's; (a), \"b\" \ ==""")
    assert parse('name==""') == is_("name", "==", "")
    assert parse("attribute.a.b-c_d==x") == is_("attribute.a.b-c_d", "==", "x")


@pytest.mark.parametrize(
    ("query", "column", "words"),
    [
        ("", 1, "expected a field name, found the end"),
        ("   ", 4, "expected a field name"),
        ("name", 5, "expected an operator"),
        ("name=", 5, "expected an operator"),
        ("name=x=1", 5, "expected an operator"),
        ("name==", 7, "expected a value"),
        ("name==a b", 9, "expected ; (and), , (or) or the end, found 'b'"),
        ("name==a;", 9, "expected a field name"),
        ("name==a,,name==b", 9, "expected a field name, found ','"),
        ("(name==a", 9, "expected )"),
        ("name==a)", 8, "found ')'"),
        ("name=='a", 7, "a quoted value that never ends"),
        ("name=in=a", 9, "expected ( after =in="),
        ("name=in=(a", 11, "expected ) or ,"),
        ("name=in=()", 10, "expected a value"),
        ("name==a and", 12, "expected a field name"),
        ("==a", 1, "expected a field name"),
    ],
)
def test_a_syntax_error_tells_its_column(query: str, column: int, words: str) -> None:
    with pytest.raises(RsqlSyntaxError) as caught:
        parse(query)
    assert caught.value.info["column"] == column and words in caught.value.message
    assert caught.value.info["hint"]


def test_length_depth_and_number_are_bounded() -> None:
    with pytest.raises(RsqlSyntaxError, match="at most"):
        parse("name==" + "x" * MAX_LENGTH)
    deep = MAX_DEPTH * "(" + "a==1" + MAX_DEPTH * ")"
    assert parse(deep) == is_("a", "==", "1", column=MAX_DEPTH + 1)
    with pytest.raises(RsqlSyntaxError, match="nested deeper"):
        parse(f"({deep})")
    with pytest.raises(RsqlSyntaxError, match="nested deeper"):
        parse("(" * MAX_LENGTH)
    assert isinstance(parse(",".join(["a==1"] * MAX_COMPARISONS)), Either)
    with pytest.raises(RsqlSyntaxError, match="comparisons"):
        parse(",".join(["a==1"] * (MAX_COMPARISONS + 1)))


@given(st.text(max_size=60) | st.text(alphabet="ab=!<>;,()'\"\\ *ino ut", max_size=40))
def test_whatever_is_written_parses_or_tells_its_column(query: str) -> None:
    try:
        parse(query)
    except RsqlSyntaxError as error:
        assert 1 <= error.info["column"] <= len(query) + 1


DIALECT = create_engine("postgresql+psycopg://").dialect
WORD = st.text(alphabet=string.ascii_letters + string.digits + "._-*%äß", min_size=1, max_size=8)
VALUE = st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=10)
OPERATORS = ("==", "!=", "<", "<=", ">", ">=", "is", "not")
WRITTEN = {"is": "=is=", "not": "=not="}


def trees(depth: int = 3) -> st.SearchStrategy[Node]:
    single = st.builds(
        lambda field, operator, value: is_(field, operator, value), WORD, st.sampled_from(OPERATORS), VALUE
    )
    several = st.builds(
        lambda field, operator, values: is_(field, operator, *values),
        WORD,
        st.sampled_from(("in", "out")),
        st.lists(VALUE, min_size=1, max_size=3),
    )
    leaf: st.SearchStrategy[Node] = single | several
    if depth == 0:
        return leaf
    some = st.lists(trees(depth - 1), min_size=2, max_size=3).map(tuple)
    return leaf | some.map(Both) | some.map(Either)


def written(node: Node) -> str:
    """A tree as text, with parentheses around everything."""
    match node:
        case Both(parts):
            return ";".join(f"({written(part)})" for part in parts)
        case Either(parts):
            return ",".join(f"({written(part)})" for part in parts)
        case Comparison(field, operator, values):
            quoted = ["'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'" for value in values]
            if operator in ("in", "out"):
                return f"{field}={operator}=({','.join(quoted)})"
            return f"{field}{WRITTEN.get(operator, operator)}{quoted[0]}"


@given(trees())
def test_what_is_written_from_a_tree_parses_to_the_same_tree(tree: Node) -> None:
    assert bare(parse(written(tree))) == bare(tree)


@given(trees(2))
def test_every_tree_over_known_fields_becomes_sql_with_all_values_bound(tree: Node) -> None:
    def known(node: Node) -> Node:
        match node:
            case Comparison(field, operator, values, column):
                names = ("name", "controllerid", "attribute.x", "tag", "type", "assignedds.version", "description")
                return Comparison(names[len(field) % len(names)], operator, values, column)
            case Both(parts):
                return Both(tuple(known(part) for part in parts))
            case Either(parts):
                return Either(tuple(known(part) for part in parts))

    query = written(known(tree))
    if len(query) <= MAX_LENGTH:
        sql = str(rsql_sql.target_condition(query).compile(dialect=DIALECT))
        assert "'" not in sql.replace("ESCAPE '/'", "").replace("''", ""), f"a value is written into the SQL: {sql}"


@pytest.mark.parametrize(
    "field", ["label", "attribute.", "attribute", "metadata", "tenant_id", "security_token", "x.y.z"]
)
def test_an_unknown_field_is_named_with_its_column_and_the_known_ones(field: str) -> None:
    with pytest.raises(RsqlUnknownField) as caught:
        rsql_sql.target_condition(f"name==a;{field}==x")
    assert caught.value.info["column"] == 9
    assert "controllerid" in caught.value.info["hint"] and "attribute.<key>" in caught.value.info["hint"]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("createdat=gt=yesterday", rsql_sql.TARGET),
        ("createdat=gt=999999999999999999999", rsql_sql.TARGET),
        ("id==abc", rsql_sql.ROLLOUT),
        ("id==1*", rsql_sql.ROLLOUT),
        ("active==perhaps", rsql_sql.ACTION),
        ("weight=in=(1,two)", rsql_sql.ACTION),
    ],
)
def test_a_value_of_the_wrong_kind_is_an_error_with_column(query: str, fields: rsql_sql.Fields) -> None:
    with pytest.raises(RsqlSyntaxError) as caught:
        rsql_sql.condition(query, fields)
    assert caught.value.info["column"] == 1 and caught.value.info["hint"].startswith("give ")


# What the database answers, story by story.

FLEET = {
    "Pump-1": {"name": "Pump One", "description": "in Kiel"},
    "pump-2": {"name": "50% off", "description": ""},
    "valve_1": {"name": "a*b"},
    "valve-2": {"name": "back\\slash", "description": "null"},
}


@pytest.fixture
async def fleet(operator: httpx.AsyncClient) -> httpx.AsyncClient:
    for controller, fields in FLEET.items():
        await make_targets(operator, controller, **fields)
    ok(await operator.post("/rest/v1/targets/Pump-1/metadata", json=[{"key": "Site.A", "value": "Kiel"}]))
    ok(await operator.post("/rest/v1/targets/pump-2/metadata", json=[{"key": "Site.A", "value": "Ulm"}]))
    [tag] = ok(await operator.post("/rest/v1/targettags", json=[{"name": "beta"}]))
    ok(await operator.post(f"/rest/v1/targettags/{tag['id']}/assigned", json=["Pump-1", "valve-2"]))
    return operator


ANSWERS: Final[list[tuple[str, list[str]]]] = [
    ("controllerid==PUMP-1", ["Pump-1"]),
    ("ID==pump-1", ["Pump-1"]),
    ("controllerid==pump*", ["Pump-1", "pump-2"]),
    ("controllerid==*-2", ["pump-2", "valve-2"]),
    ("name==*", ["Pump-1", "pump-2", "valve_1", "valve-2"]),
    ("name=='50%*'", ["pump-2"]),
    ("name==%", []),
    ("controllerid==valve_*", ["valve_1"]),
    (r"name=='a\\*b'", ["valve_1"]),
    ("name=='a*b'", ["valve_1"]),
    (r"name=='back\\slash'", ["valve-2"]),
    ("description==''", ["pump-2", "valve_1"]),
    ("description!=''", ["Pump-1", "valve-2"]),
    ("description=is=null", ["valve_1"]),
    ("description=not=null", ["Pump-1", "pump-2", "valve-2"]),
    ("description==null", ["valve-2"]),
    ("description!='in kiel'", ["pump-2", "valve_1", "valve-2"]),
    ("controllerid=in=(pump-1,VALVE-2,ghost)", ["Pump-1", "valve-2"]),
    ("controllerid=out=(pump-1,valve-2)", ["pump-2", "valve_1"]),
    ("controllerid=gt=pump-1;controllerid=lt=valve", ["pump-2"]),
    ("metadata.site.a==kiel", ["Pump-1"]),
    ("metadata.Site.A!=Kiel", ["pump-2", "valve_1", "valve-2"]),
    ("metadata.site.a!=*", ["valve_1", "valve-2"]),
    ("metadata.site.a=out=(kiel,ulm)", ["valve_1", "valve-2"]),
    ("tag==beta", ["Pump-1", "valve-2"]),
    ("tags.name==BETA", ["Pump-1", "valve-2"]),
    ("tag!=beta", ["pump-2", "valve_1"]),
    ("tag==''", ["pump-2", "valve_1"]),
    ("tag!=''", ["Pump-1", "valve-2"]),
    ("updatestatus==UNKNOWN;tag==beta", ["Pump-1", "valve-2"]),
    ("lastcontrollerrequestat=le=${now_ts}", []),
    ("createdat=le=${now_ts}", ["Pump-1", "pump-2", "valve_1", "valve-2"]),
    ("createdat=lt=${overdue_ts}", []),
    ("type==''", ["Pump-1", "pump-2", "valve_1", "valve-2"]),
    ("targettype.name==x", []),
    ("assignedds.name==x,installedds.version==1", []),
    ("assigneddistributionset.name!=x", ["Pump-1", "pump-2", "valve_1", "valve-2"]),
]


async def test_a_filter_finds_what_it_says(fleet: httpx.AsyncClient) -> None:
    for query, expected in ANSWERS:
        page = ok(await fleet.get("/rest/v1/targets", params={"q": query}))
        assert {target["controllerId"] for target in page["content"]} == set(expected), query
        assert page["total"] == len(expected), query


@pytest.mark.parametrize("query", ["name==\0", "name=='\ud7ff'", "name==" + "ö" * 200, "attribute.'==x", "name=='%_*'"])
async def test_odd_characters_are_answered_not_failed_on(operator: httpx.AsyncClient, query: str) -> None:
    answer = await operator.get("/rest/v1/targets", params={"q": query})
    assert answer.status_code in (200, 400)


TEXTS: Final = ("", "a", "A", "ab", "a%", "a_b", "/", "\\", "null", "ö")


def model(field: str | None, operator: str, value: str) -> bool:
    """hawkBit's meaning of a comparison with a text column, in Python; `*` is not used here."""
    if operator in ("is", "not") and value == "null":
        return (field is None) == (operator == "is")
    equal = not field if value == "" else field is not None and field.lower() == value.lower()
    return equal if operator in ("==", "is", "in") else not equal


async def test_comparisons_agree_with_the_model_on_every_pair_of_texts(database: Database) -> None:
    stored: list[str | None] = [None, *TEXTS]
    texts = [select(literal(n).label("n"), literal(text).label("description")) for n, text in enumerate(stored)]
    rows = union_all(*texts).subquery()
    described = column("description", type_=String())
    async with database.read() as session:
        for operator in ("==", "!=", "is", "not", "in", "out"):
            for value in TEXTS:
                condition = rsql_sql.compare(described, Comparison("description", operator, (value,), 1))
                found = set(await session.scalars(select(rows.c.n).where(condition)))
                expected = {n for n, text in enumerate(stored) if model(text, operator, value)}
                assert found == expected, f"description {operator} {value!r}"
