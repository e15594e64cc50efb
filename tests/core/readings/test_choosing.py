"""What services with queries of their own read, and for whom each is asked."""

from __future__ import annotations

from controller.core.readings.attach import ByLabels
from controller.core.readings.choosing import asked, recipes_for
from controller.core.readings.presets import PRESETS, terms_of
from controller.core.readings.recipe import First, Kind, Leaf, Written, placed
from controller.core.readings.sources import EndpointKind, Plan, Source, Use

TEXT = 'sum(x{service="$service"})'


def _use(source: str, known_as: str = "chat", **written: str) -> Use:
    return Use(source, known_as, ("vllm",), written)


def test_a_query_of_ones_own_stands_in_the_place_of_every_preset() -> None:
    names = ("decode_tps", "prefill_tps")
    recipes = recipes_for([_use("a"), _use("b", decode_tps=TEXT)], names)
    preset = PRESETS["vllm"].recipes["prefill_tps"]
    assert recipes == {
        "decode_tps": Written(TEXT, "b"),
        "prefill_tps": First((placed(preset, "a"), placed(preset, "b"))),
    }


def test_of_two_the_first_use_counts_first() -> None:
    uses = [_use("a", decode_tps=TEXT), _use("b", decode_tps=TEXT)]
    recipe = recipes_for(uses, ("decode_tps",))["decode_tps"]
    assert recipe == First((Written(TEXT, "a"), Written(TEXT, "b")))
    assert terms_of([recipe]) == (Written(TEXT, "a"), Written(TEXT, "b"))


def test_it_is_asked_for_those_that_wrote_it_by_their_names_there() -> None:
    uses = {
        "chat": [_use("a", "chat-prod", decode_tps=TEXT)],
        "code": [_use("a", "code-prod", decode_tps=TEXT)],
        "search": [_use("a", "search-prod")],
    }
    source = Source("a", EndpointKind.PROMETHEUS, "http://a:9090", ByLabels())
    choices = {key: recipes_for(each, ("decode_tps",)) for key, each in uses.items()}
    found = asked(Plan({"a": source}, uses), choices)["a"]
    output = Leaf(("vllm:generation_tokens_total",), Kind.COUNTER, None)
    assert [getattr(each, "names", each) for each in found.leaves] == [
        Written(TEXT, "a"),
        output.names,
    ]
    assert found.written_for == {Written(TEXT, "a"): {"chat-prod", "code-prod"}}
    assert set(found.services.values()) == {"chat-prod", "code-prod", "search-prod"}
