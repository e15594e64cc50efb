"""Recipes as people read them."""

from __future__ import annotations

from controller.core.readings.recipe import (
    First,
    Fold,
    Kind,
    Leaf,
    Less,
    Mean,
    Plus,
    Quantile,
    Recipe,
    Term,
    Times,
    Written,
)


def recipe_text(recipe: Recipe) -> str:  # noqa: PLR0911 - one for each form
    """Return a recipe in one line, metrics in backquotes; rates are marked as such."""
    match recipe:
        case Leaf() | Written():
            return _term_text(recipe)
        case Mean(total, count):
            return f"{_leaf_text(total)} ÷ {_leaf_text(count)}"
        case Quantile(q, buckets):
            return f"p{100 * q:g} of {_leaf_text(buckets)}"
        case Less(whole, part):
            return f"{recipe_text(whole)} − {recipe_text(part)}"
        case Plus(parts):
            return " + ".join(recipe_text(part) for part in parts)
        case Times(inner, factor):
            return f"({recipe_text(inner)}) × {factor:g}"
        case First(of):
            return "; else ".join(recipe_text(one) for one in of)


def _term_text(term: Term) -> str:
    return _leaf_text(term) if isinstance(term, Leaf) else f"`{' '.join(term.text.split())}`"


def _leaf_text(leaf: Leaf) -> str:
    names = " or ".join(f"`{name}`" for name in leaf.names)
    having = ", ".join(f"{label}={value or 'none'}" for label, value in leaf.having)
    role = f"{leaf.role} " if leaf.role is not None else ""
    how = "rate of " if leaf.kind is not Kind.GAUGE else ""
    mean = "mean " if leaf.over is Fold.MEAN else ""
    return f"{mean}{role}{how}{names}{f' ({having})' if having else ''}"
