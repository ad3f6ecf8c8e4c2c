"""What is next is one short walk along an index, however many items are open: no sorting, no reading of all of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from monitor.store.engine import Store, open_store
from monitor.store.review import leasing
from tests.review.items import item, put

ITEMS = 4_000
PARAMETERS: dict[str, Any] = {"reviewer": "ann", "now_us": 5}
COLUMNS = {"pool": "p1", "language": "de", "segment": "s3"}


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = open_store(store_url)
    put(
        store,
        [
            item(n, n * 7919 % ITEMS / ITEMS, pool=f"p{n % 3}", language=("de", "en")[n % 7 > 2], segment=f"s{n % 11}")
            for n in range(ITEMS)
        ],
    )
    if store.dialect == "postgresql":  # SQLite has to do without
        with store.write() as connection:
            connection.exec_driver_sql("ANALYZE")
    yield store
    store.close()


def plan(store: Store, query: Any, parameters: dict[str, Any]) -> str:
    compiled = query.compile(dialect=store.engine.dialect)
    explain = "EXPLAIN QUERY PLAN " if store.dialect == "sqlite" else "EXPLAIN "
    values = {**compiled.params, **parameters}
    known: Any = tuple(values[name] for name in compiled.positiontup) if compiled.positional else values
    with store.write() as connection:
        return "\n".join(str(row[-1]) for row in connection.exec_driver_sql(explain + str(compiled), known))


def test_the_next_item_is_found_along_an_index_whatever_the_filters(store: Store) -> None:
    for names in (n for k in range(4) for n in itertools.combinations(COLUMNS, k)):
        query = leasing._free_query(names, 2)
        found = plan(store, query, PARAMETERS | {name: COLUMNS[name] for name in names})
        assert "Seq Scan on review_items" not in found, found
        assert "ix_labels_reviewer" not in found, found  # which leads to all that a reviewer ever answered
        if len(names) == len(COLUMNS) and store.dialect == "postgresql":
            continue  # it knows how few pass all three, and may sort those
        assert "ix_review_items_open_" in found, found
        assert "race" in found, found
        assert "Sort" not in found, found
        assert "TEMP B-TREE" not in found, found
    assert "ix_review_items_leased" in plan(store, leasing._HELD, PARAMETERS)
