"""Families of templates that make English premise-hypothesis pairs out of ``lexicon``.

A family is a function ``family(rng, label) -> (premise, hypothesis)``. It draws the hypothesis first, without
looking at the label, and only then writes a premise which gives that label to that hypothesis; so nothing in
the hypothesis alone tells which label a pair has. Families which can fail to keep premise and hypothesis
apart leave it to the caller to throw such pairs away.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import lexicon as lx

ENTAILMENT, NEUTRAL, CONTRADICTION = 0, 1, 2
Pair = tuple[str, str]
Family = Callable[[random.Random, int], Pair]


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    return text[0].upper() + text[1:] + "."


def with_article(phrase: str) -> str:
    """The phrase with "a" or "an" before it."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def plural(noun: str) -> str:
    """The plural of a regular noun."""
    return {"scarf": "scarves", "box": "boxes"}.get(noun, f"{noun}s")


def two(rng: random.Random, items: tuple[str, ...]) -> tuple[str, str]:
    """Two different items."""
    first, second = rng.sample(items, 2)
    return first, second


def person(rng: random.Random) -> lx.Person:
    """Anybody."""
    return rng.choice(lx.PEOPLE)


def actor(rng: random.Random, activity: lx.Activity) -> lx.Person:
    """Somebody who can do the activity."""
    return rng.choice(lx.PEOPLE if activity.children_too else lx.NAMES + lx.ADULTS)


def gendered(rng: random.Random) -> lx.Person:
    """Somebody whose possessive pronoun is known."""
    return rng.choice([p for p in lx.PEOPLE if p.poss])


def settle(label: int, negated: bool) -> str:
    """What the premise has to say about the plain statement: "yes", "no" or "nothing"."""
    if label == NEUTRAL:
        return "nothing"
    return "yes" if (label == ENTAILMENT) != negated else "no"


def owner_of(rng: random.Random, noun: str, but: str = "") -> str:
    """Somebody who can own the thing (a dress is a woman's) and is not ``but``."""
    return rng.choice([p.text for p in lx.PEOPLE if p.text != but and (noun != "dress" or p.poss == "her")])


def owned_thing(rng: random.Random) -> tuple[str, tuple[tuple[str, str, bool], ...]]:
    """A thing, mostly somebody's, with the adjective pairs that can describe it."""
    if rng.random() < 0.3:
        return rng.choice(list(lx.PUBLIC_THINGS.items()))
    noun, dims = rng.choice(list(lx.THINGS.items()))
    owner = owner_of(rng, noun)
    return (f"the {noun} of {owner}" if rng.random() < 0.3 else f"{owner}'s {noun}"), dims


def attribute(rng: random.Random, label: int) -> Pair:
    """A thing has or lacks a property: antonyms, negation, a second property beside it."""
    thing, dims = owned_thing(rng)
    other, other_dims = owned_thing(rng)
    dim, aside_dim = rng.sample(dims, 2)
    word, opposite = rng.sample(dim[:2], 2)
    if {word, opposite} & set(aside_dim[:2]):
        return attribute(rng, label)
    aside = rng.choice(aside_dim[:2])
    negated = rng.random() < 0.5
    said = settle(label, negated)
    if said == "nothing":
        far = rng.choice(rng.choice(other_dims)[:2])
        forms = [
            f"{thing} is {aside}",
            f"{thing} is not {aside}",
            f"{thing} is {aside} and {other} is {far}",
            f"{thing} is {aside} but {other} is not",
        ]
        if aside not in {w for d in other_dims for w in d[:2]}:
            forms.pop()
    else:
        right, wrong = (word, opposite) if said == "yes" else (opposite, word)
        forms = [f"{thing} is {right}", f"{thing} is {right} and {aside}", f"{thing} is {aside} and {right}"]
        if dim[2] or said == "no":
            forms += [f"{thing} is not {wrong}", f"{thing} is {aside} and not {wrong}"]
    return sentence(rng.choice(forms)), sentence(f"{thing} is {'not ' if negated else ''}{word}")


def contrast(rng: random.Random, label: int) -> Pair:
    """Two things of one kind of property, joined by "but": which of them has it."""
    noun = rng.choice(list(lx.THINGS))
    dim = rng.choice(lx.THINGS[noun])
    owners = {p.text for p in lx.PEOPLE if noun != "dress" or p.poss == "her"}
    first, second, third = rng.sample(sorted(owners), 3)
    word, opposite = rng.sample(dim[:2], 2)
    negated = rng.random() < 0.5
    said = settle(label, negated)
    mine, theirs, hers = f"{first}'s {noun}", f"{second}'s {noun}", f"{third}'s {noun}"
    if said == "nothing":
        forms = [f"{theirs} is {word} but {hers} is {opposite}", f"{theirs} is {opposite} but {hers} is not"]
    else:
        right, wrong = (word, opposite) if said == "yes" else (opposite, word)
        forms = [f"{mine} is {right} but {theirs} is {wrong}", f"{theirs} is {wrong} but {mine} is {right}"]
        forms.append(f"{theirs} is {wrong} but {mine} is not" if dim[2] else forms[0])
        if said == "no":
            forms.append(f"{theirs} is {word} but {mine} is not")
    return sentence(rng.choice(forms)), sentence(f"{mine} is {'not ' if negated else ''}{word}")


def colour(rng: random.Random, label: int) -> Pair:
    """The colour of somebody's thing, said in several ways."""
    noun = rng.choice(lx.COLOURED)
    owner = owner_of(rng, noun)
    stranger = owner_of(rng, noun, but=owner)
    right, wrong = two(rng, lx.COLOURS)
    size = rng.choice(("big", "small", "old", "new", "beautiful"))
    form = rng.choice(("is", "the colour", "has", "is not"))
    said = settle(label, form == "is not")
    hypothesis = {
        "is": f"{owner}'s {noun} is {right}",
        "the colour": f"the colour of {owner}'s {noun} is {right}",
        "has": f"the {noun} of {owner} is {right}",
        "is not": f"{owner}'s {noun} is not {right}",
    }[form]
    if said == "nothing":
        premise = rng.choice(
            [
                f"{owner}'s {noun} is {size}",
                f"{owner} has {with_article(f'{size} {noun}')}",
                f"{owner}'s {noun} is next to the {right} {noun}",
                f"{stranger}'s {noun} is {right}",
            ]
        )
    else:
        seen = right if said == "yes" else wrong
        premise = rng.choice(
            [
                f"{owner}'s {noun} is {seen} and {size}",
                f"{owner}'s {size} {noun} is {seen}",
                f"{owner}'s {noun} is {seen} but {stranger}'s {noun} is {wrong if said == 'yes' else right}",
                f"the {size} {noun} of {owner} is {seen}",
            ]
        )
    return sentence(premise), sentence(hypothesis)


def hypernym(rng: random.Random, label: int) -> Pair:
    """Bread is food, a horse is an animal: from the kind to the whole and back, affirmed or denied."""
    act = rng.choice(lx.ACTIVITIES)
    who = actor(rng, act).text
    thing, extra = two(rng, act.objects)
    place = rng.choice(act.places)
    form = rng.choice(("kind", "whole", "not kind", "not whole"))
    hypothesis = {
        "kind": f"{who} is {act.ing} {thing}",
        "whole": f"{who} is {act.ing} {act.general}",
        "not kind": f"{who} is not {act.ing} {thing}",
        "not whole": f"{who} is not {act.ing} {act.any_general}",
    }[form]
    has_kind = [f"{who} is {act.ing} {thing} {place}", f"{who} is {act.ing} {extra} and {thing}"]
    has_other = [f"{who} is {act.ing} {extra} {place}"]
    has_none = [
        f"{who} is not {act.ing} {act.any_general} {place}",
        f"{who} is {place} and is not {act.ing} {act.any_general}",
    ]
    lacks_kind = [f"{who} is {act.ing} {extra} but not {thing}", f"{who} is not {act.ing} {thing} {place}"]
    has_whole = [f"{who} is {act.ing} {act.general} {place}"]
    silent = [f"{who} is {place}"]
    table = {
        "kind": (has_kind, has_whole * 2 + silent, has_none + lacks_kind),
        "whole": (has_kind + has_other, [*silent, f"{who} is not {act.ing} {thing} {place}"], has_none),
        "not kind": (has_none + lacks_kind, has_whole * 2 + silent, has_kind),
        "not whole": (has_none, [*silent, f"{who} is not {act.ing} {thing} {place}"], has_kind + has_other),
    }
    return sentence(rng.choice(table[form][label])), sentence(hypothesis)


def modifier(rng: random.Random, label: int) -> Pair:
    """Adjectives of an object: dropped, added or turned round."""
    ing, base, noun, pairs, places = rng.choice(lx.OBJECT_SCENES)
    who = person(rng).text
    pair, aside_pair = rng.sample(pairs, 2)
    adj, opposite = rng.sample(pair, 2)
    aside = rng.choice(aside_pair)
    if adj in lx.COLOURS and aside in lx.COLOURS:
        return modifier(rng, label)
    place = rng.choice(places)
    both = " ".join(sorted((adj, aside), key=lx.ADJECTIVE_ORDER.index))
    against = " ".join(sorted((opposite, aside), key=lx.ADJECTIVE_ORDER.index))
    with_adj = [
        f"{who} is {ing} {with_article(f'{adj} {noun}')} {place}",
        f"{who} is {ing} {with_article(both)} {noun}",
    ]
    with_opposite = [
        f"{who} is {ing} {with_article(f'{opposite} {noun}')} {place}",
        f"{who} is {ing} {with_article(against)} {noun}",
    ]
    plain = [
        f"{who} is {ing} {with_article(noun)} {place}",
        f"{who} is {ing} {with_article(f'{aside} {noun}')}",
    ]
    form = rng.choice(("adjective", "plain", "is", "is not"))
    hypothesis = {
        "adjective": f"{who} is {ing} {with_article(f'{adj} {noun}')}",
        "plain": f"{who} is {ing} {with_article(noun)}",
        "is": f"the {noun} that {who} is {ing} is {adj}",
        "is not": f"the {noun} that {who} is {ing} is not {adj}",
    }[form]
    wish = [
        f"{who} wants to {base} {with_article(f'{adj} {noun}')}",
        f"{who} has {with_article(f'{adj} {noun}')}",
    ]
    table = {
        "adjective": (with_adj, plain, with_opposite),
        "plain": (with_adj + with_opposite, wish, [f"{who} is {place} and is not {ing} any {plural(noun)}"]),
        "is": (with_adj, plain, with_opposite),
        "is not": (with_opposite, plain, with_adj),
    }
    return sentence(rng.choice(table[form][label])), sentence(hypothesis)


def conjunction(rng: random.Random, label: int) -> Pair:
    """Two people do something, or only one of them does."""
    doing, places = rng.choice(lx.JOINT_ACTIVITIES)
    place, elsewhere = rng.choice(places), rng.choice(lx.APART)
    first, second, third = (p.text for p in rng.sample(lx.NAMES, 3))
    form = rng.choice(("one", "not one", "both", "place"))
    if form == "place" and (place not in lx.APART or place == elsewhere):
        return conjunction(rng, label)
    hypothesis = {
        "one": f"{first} is {doing}",
        "not one": f"{first} is not {doing}",
        "both": f"{first} and {second} are {doing}",
        "place": f"{first} is {place} now",
    }[form]
    together = rng.choice(((first, second), (second, first)))
    joint = [
        f"{together[0]} and {together[1]} are {doing} {place}",
        f"{first}, {second} and {third} are {doing}",
    ]
    only_second = [
        f"{second} is {doing} {place} but {first} is not",
        f"{first} is not {doing} but {second} is",
    ]
    neither = [f"{first} and {second} are not {doing}"]
    only_first = [f"{first} is {doing} {place} but {second} is not"]
    silent = [f"{second} is {doing} {place}", f"{second} and {third} are {doing} {place}"]
    here = [
        f"{together[0]} and {together[1]} are {place}",
        f"{together[0]} and {together[1]} are {doing} {place}",
    ]
    table = {
        "one": (joint + only_first, silent, only_second + neither),
        "not one": (only_second + neither, silent, joint + only_first),
        "both": (joint, [f"{together[0]} is {doing} {place}"], only_second + only_first + neither),
        "place": (
            here,
            silent,
            [f"{together[0]} and {together[1]} are {elsewhere}", f"{first} is {elsewhere}"],
        ),
    }
    return sentence(rng.choice(table[form][label])), sentence(hypothesis)


def counting(rng: random.Random, label: int) -> Pair:
    """So many boys are so many children; nobody is none of them."""
    _, plural, child = rng.choice(lx.COUNTED_PEOPLE)
    kind = "children" if child else "people"
    number, other_number = two(rng, lx.NUMBERS)
    doing, places = rng.choice(
        [a for a in lx.JOINT_ACTIVITIES if child <= (a[0] not in ("drinking tea", "cooking rice", "working"))]
    )
    place = rng.choice(places)
    form = rng.choice(("there are", "doing", "some", "none", "none of kind"))
    hypothesis = {
        "there are": f"there are {number} {plural} {place}",
        "doing": f"{number} {plural} are {doing}",
        "some": f"some {kind} are {doing} {place}",
        "none": f"there are no {plural} {place}",
        "none of kind": f"there are no {kind} {place}",
    }[form]
    exact = [f"{number} {plural} are {doing} {place}"]
    empty = [f"there is nobody {place}", f"there are no {kind} {place}", f"nobody is {place}"]
    others = "women" if child else "dogs"
    table = {
        "there are": (
            exact,
            [f"there are some {kind} {place}", f"{number} {kind} are {doing} {place}"],
            [*empty, f"there are no {plural} {place}"],
        ),
        "doing": (
            exact,
            [f"{number} {kind} are {doing} {place}", f"there are {number} {plural} {place}"],
            [f"{number} {plural} are {place} but they are not {doing}", f"no {plural} are {doing}"],
        ),
        "some": (exact, [f"there are {number} {plural} {place}", f"some {kind} are {place}"], empty),
        "none": (
            empty,
            [f"there are {number} {kind} {place}", f"{number} {kind} are {doing} {place}"],
            exact,
        ),
        "none of kind": (
            [f"there is nobody {place}", f"nobody is {place}"],
            [f"there are {number} {others} {place}"],
            [*exact, f"there are {other_number} {plural} {place}"],
        ),
    }
    return sentence(rng.choice(table[form][label])), sentence(hypothesis)


def location(rng: random.Random, label: int) -> Pair:
    """Where an animal, a thing or a person is, and where it is not."""
    kind = rng.choice(("animal", "thing", "person"))
    here, there = two(rng, lx.APART if kind == "person" else lx.SPOTS)
    if kind == "animal":
        noun = rng.choice(lx.SMALL_ANIMALS)
        state, trait = rng.choice(("sleeping", "sitting")), rng.choice(("hungry", "very old", "wet"))
    elif kind == "thing":
        noun, state = rng.choice(lx.SMALL_THINGS), ""
        trait = rng.choice(("new", "very old", "beautiful", "wet"))
    else:
        noun, state, trait = (
            "",
            rng.choice(("singing", "talking", "")),
            rng.choice(("tired", "happy", "hungry")),
        )
    who = f"the {noun}" if noun else person(rng).text
    there_is = bool(noun) and rng.random() < 0.3
    negated = not there_is and rng.random() < 0.5
    hypothesis = (
        f"there is {with_article(noun)} {here}" if there_is else f"{who} is {'not ' if negated else ''}{here}"
    )
    said = settle(label, negated)
    doing = f"{state} " if state else ""
    if said == "nothing":
        friend = rng.choice(("window", "door", "wall"))
        forms = [f"{who} is {trait}", f"{who} is near the {friend}" if noun else f"{who} is {trait} today"]
        if there_is:
            forms = [f"there is something {here}", f"{who} is {trait}"]
        elif state:
            forms.append(f"{who} is {state}")
    elif said == "yes":
        forms = [
            f"{who} is {doing}{here} and is {trait}",
            f"the {trait} {noun} is {doing}{here}" if noun else "",
        ]
        if not noun or trait.startswith("very"):
            forms = [f"{who} is {doing}{here} and is {trait}", f"{who} is {here} and not {there}"]
    else:
        forms = [f"{who} is {doing}{there}", f"{who} is {there} and not {here}"]
        if there_is:
            forms = [f"there is nothing {here}", f"there is no {noun} {here}"]
    return sentence(rng.choice([f for f in forms if f])), sentence(hypothesis)


def two_places(rng: random.Random, label: int) -> Pair:
    """Two beings in two places: the words are the same whichever of them is where."""
    people = rng.random() < 0.5
    here, there = two(rng, lx.APART if people else lx.SPOTS)
    if people:
        first, second = (p.text for p in rng.sample(lx.PEOPLE, 2))
    else:
        first, second = (f"the {n}" for n in rng.sample(lx.SMALL_ANIMALS[:3] + lx.SMALL_THINGS, 2))
    negated = rng.random() < 0.5
    said = settle(label, negated)
    trait = rng.choice(("tired", "hungry") if people else ("wet", "very old"))
    if said == "nothing":
        clauses = [f"{second} is {rng.choice((here, there))}", f"{first} is {trait}"]
    else:
        mine, theirs = (here, there) if said == "yes" else (there, here)
        clauses = [f"{first} is {mine}", f"{second} is {theirs}"]
    rng.shuffle(clauses)
    return sentence(" and ".join(clauses)), sentence(f"{first} is {'not ' if negated else ''}{here}")


def day(rng: random.Random, label: int) -> Pair:
    """What somebody did or did not do yesterday or today."""
    act = rng.choice(lx.ACTIVITIES)
    who = actor(rng, act).text
    thing, extra = two(rng, act.objects)
    when, other = rng.sample(("yesterday", "today"), 2)
    form = rng.choice(("kind", "not kind", "whole", "not whole", "something", "not anything"))
    hypothesis = {
        "kind": f"{who} {act.past} {thing} {when}",
        "not kind": f"{who} did not {act.base} {thing} {when}",
        "whole": f"{who} {act.past} {act.general} {when}",
        "not whole": f"{who} did not {act.base} {act.any_general} {when}",
        "something": f"{who} {act.past} something {when}",
        "not anything": f"{who} did not {act.base} anything {when}",
    }[form]
    did = [f"{when} {who} {act.past} {thing} and {extra}", f"{when} {who} {act.past} {extra} and {thing}"]
    did.append(f"{when} {who} {act.past} {thing}")
    none = [f"{when} {who} {act.past} nothing", f"{who} did not {act.base} {act.any_general} {when}"]
    if act.any_general != "anything":
        none.append(f"{when} {who} did not {act.base} {act.any_general}")
    lacks = [f"{who} {act.past} {extra} but not {thing} {when}", f"{when} {who} did not {act.base} {thing}"]
    nothing = [none[0], f"{when} {who} did not {act.base} anything"]
    other_day = [f"{other} {who} {act.past} {thing}", f"{other} {who} {act.past} {thing} and {extra}"]
    other_not = [f"{other} {who} did not {act.base} {thing}", f"{other} {who} {act.past} nothing"]
    silent = [*other_day, *other_not]
    table = {
        "kind": (did, [*silent, f"{when} {who} {act.past} {act.general}"], none + lacks),
        "not kind": (none + lacks, [*silent, f"{when} {who} {act.past} {act.general}"], did),
        "whole": (did, [*silent, f"{when} {who} did not {act.base} {thing}"], none),
        "not whole": (none, [*silent, f"{when} {who} did not {act.base} {thing}"], did),
        "something": (did, [*silent, f"{when} {who} did not {act.base} {thing}"], nothing),
        "not anything": (nothing, [*silent, f"{when} {who} did not {act.base} {thing}"], did),
    }
    return sentence(rng.choice(table[form][label])), sentence(hypothesis)


def possession(rng: random.Random, label: int) -> Pair:
    """Whose animals there are: one kind, another kind, any at all."""
    who = person(rng).text
    one, two_kind, third = rng.sample(lx.ANIMALS, 3)
    number = rng.choice(lx.NUMBERS)
    size = rng.choice(("small", "big", "young", "old", "black", "white"))
    form = rng.choice(("one", "not one", "animal", "no animals", "sized", "list"))
    hypothesis = {
        "one": f"{who} has {with_article(one)}",
        "not one": f"{who} does not have {with_article(one)}",
        "animal": f"{who} has an animal",
        "no animals": f"{who} does not have any animals",
        "sized": f"{who} has {with_article(f'{size} {one}')}",
        "list": f"{who} has {with_article(one)} and {number} {lx.PLURAL_ANIMALS[two_kind]}",
    }[form]
    has = [
        f"{who} has {with_article(one)} and {number} {lx.PLURAL_ANIMALS[two_kind]}",
        f"{who} has {number} {lx.PLURAL_ANIMALS[two_kind]} and {with_article(one)}",
        f"{who} has {with_article(f'{size} {one}')}",
        f"{who} has {with_article(one)} but does not have {with_article(two_kind)}",
    ]
    none = [f"{who} does not have any animals", f"{who} has no animals"]
    lacks = [
        f"{who} has {with_article(two_kind)} but does not have {with_article(one)}",
        f"{who} has {with_article(two_kind)} but no {one}",
    ]
    some = [f"{who} has an animal", f"{who} has an old animal at home"]
    wish = [
        f"{who} likes animals",
        f"{who} is looking at {with_article(one)}",
        f"{who} does not have {with_article(third)}",
    ]
    has_sized = [
        f"{who} has {with_article(f'{size} {one}')} and {number} {lx.PLURAL_ANIMALS[two_kind]}",
        f"{who} has {number} {lx.PLURAL_ANIMALS[two_kind]} and {with_article(f'{size} {one}')}",
    ]
    full_list = [
        f"{who} has {number} {lx.PLURAL_ANIMALS[two_kind]} and {with_article(f'{size} {one}')}",
        f"{who} has {number} {lx.PLURAL_ANIMALS[two_kind]}, {with_article(one)} and {with_article(third)}",
    ]
    table = {
        "one": (has, some + wish, none + lacks),
        "not one": (none + lacks, some + wish, has),
        "animal": (has, wish, none),
        "no animals": (none, [*wish, f"{who} does not have {with_article(one)}"], has),
        "sized": (has_sized, [has[0], has[1], *some], none + lacks),
        "list": (full_list, [f"{who} has {with_article(one)}", *some], none + lacks),
    }
    premise = rng.choice([p for p in table[form][label] if sentence(p) != sentence(hypothesis)] or ["x"])
    return sentence(premise), sentence(hypothesis)


def likes(rng: random.Random, label: int) -> Pair:
    """What somebody likes and what the same person does not like."""
    who, stranger = (p.text for p in rng.sample(lx.PEOPLE, 2))
    (one, doing), (other, _), (third, _) = rng.sample(lx.LIKED[rng.random() < 0.3], 3)
    form = rng.choice(("likes", "not", "both"))
    hypothesis = {
        "likes": f"{who} likes {one}",
        "not": f"{who} does not like {one}",
        "both": f"{who} likes {one} and {other}",
    }[form]
    yes = [
        f"{who} likes {one} and {third}",
        f"{who} likes {one} but does not like {third}",
        f"{who} likes {third} and {one}",
    ]
    no = [f"{who} likes {third} but does not like {one}", f"{who} does not like {one} or {third}"]
    silent = [
        f"{who} likes {third} but does not like {other}",
        f"{who} is {doing} {one}",
        f"{stranger} likes {one}",
        f"{stranger} does not like {one}",
    ]
    all_three = [
        f"{who} likes {one}, {other} and {third}",
        f"{who} likes {other} and {one} but does not like {third}",
    ]
    table = {
        "likes": (yes, silent, no),
        "not": (no, silent, yes),
        "both": (
            all_three,
            [f"{who} likes {one} and {third}", f"{who} likes {other}"],
            [f"{who} likes {one} but does not like {other}", f"{who} likes {other} but does not like {one}"],
        ),
    }
    return sentence(rng.choice(table[form][label])), sentence(hypothesis)


def crowd(rng: random.Random, label: int) -> Pair:
    """Places full of people, empty places, and a few people in a place."""
    place, noun = rng.choice(lx.CROWD_PLACES)
    when = rng.choice(lx.TIMES)
    later = "yesterday"
    number = rng.choice(lx.NUMBERS)
    plural = rng.choice(("women", "men", "boys", "girls", "children"))
    form = rng.choice(("nobody", "empty", "many", "full", "not empty", "not full"))
    hypothesis = {
        "nobody": f"there is nobody {place} {when}",
        "empty": f"{noun} is empty {when}",
        "many": f"there are many people {place} {when}",
        "full": f"{noun} is full of people {when}",
        "not empty": f"{noun} is not empty {when}",
        "not full": f"{noun} is not full of people {when}",
    }[form]
    empty = [f"nobody is {place} {when}", f"{noun} is empty {when}", f"there are no people {place} {when}"]
    empty.append(f"there is nobody {place} {when}")
    full = [f"{noun} is full of people {when}", f"{when} {noun} is full of people"]
    few = [f"{number} {plural} are {place} {when}", f"there are {number} {plural} {place} {when}"]
    look = rng.choice(lx.CROWD_NEUTRAL)
    silent = [f"{noun} is {look}", f"{noun} is {look} {when}"]
    silent += [
        f"{noun} was empty {later}",
        f"{noun} was full of people {later}",
        f"there was nobody {place} {later}",
    ]
    some = [f"some people are {place} {when}"]
    table = {
        "nobody": (empty, silent, full + few),
        "empty": (empty, silent, full + few),
        "many": (full, silent + some, empty),
        "full": (full, silent + some, empty),
        "not empty": (full + few + some, silent, empty),
        "not full": (empty, silent + some, full),
    }
    if when == "now" and label == NEUTRAL:
        table[form] = (
            table[form][0],
            [f for f in table[form][1] if not f.endswith("now") or f in some],
            table[form][2],
        )
    return sentence(rng.choice(table[form][label])), sentence(hypothesis)


def clothing(rng: random.Random, label: int) -> Pair:
    """What one person or a group wears: the garment, its colour, its kind."""
    group = rng.random() < 0.4
    garment = rng.choice(("coat", "hat", "scarf"))
    other = rng.choice([g for g in ("coat", "hat", "scarf", "shirt") if g != garment])
    right, wrong = two(rng, lx.COLOURS)
    who = (
        rng.choice(("the children", "the boys", "the girls", "the women", "the men"))
        if group
        else person(rng).text
    )
    every = f"all {who}" if group and rng.random() < 0.5 else who
    be = "are" if group else "is"
    place = rng.choice(("in the street", "at school", "at the station", "in the park"))

    def wear(adjective: str, noun: str) -> str:
        text = f"{adjective} {noun}".strip()
        return text[: -len(noun)] + plural(noun) if group else with_article(text)

    denied = f"any {plural(garment)}" if group else with_article(garment)
    form = rng.choice(("garment", "coloured", "not garment", "warm"))
    if form == "warm":
        garment, other = rng.choice(("coat", "scarf")), rng.choice(("hat", "shirt"))
    hypothesis = {
        "garment": f"{every} {be} wearing {wear('', garment)}",
        "coloured": f"{every} {be} wearing {wear(right, garment)}",
        "not garment": f"{who} {be} not wearing {denied}",
        "warm": f"{every} {be} wearing warm clothes",
    }[form]
    has = [
        f"{every} {be} wearing {wear(right, garment)} {place}",
        f"{every} {be} wearing {wear(right, garment)} and {wear(wrong, other)}",
        f"{every} {be} wearing {wear('new', garment)}",
    ]
    lacks = [
        f"{every} {be} wearing {wear(right, other)} but no {plural(garment) if group else garment}",
        f"{who} {be} not wearing {denied} {place}",
    ]
    silent = [
        f"{every} {be} wearing {wear(wrong, other)}",
        f"{every} {be} {place}",
        f"{every} {be} wearing {wear('new', other)} {place}",
    ]
    plain = f"{every} {be} wearing {wear('', garment)} {place}"
    against = [f"{every} {be} wearing {wear(wrong, garment)} {place}", *lacks]
    warm = [f"{every} {be} wearing {wear(w, garment)} {place}" for w in ("warm", f"warm {right}")]
    maybe_warm = [
        f"{every} {be} wearing {wear(right, other)} {place}",
        f"{every} {be} wearing {right} clothes",
    ]
    not_warm = [
        f"{who} {be} not wearing any warm clothes {place}",
        f"{every} {be} {place} without warm clothes",
    ]
    table = {
        "garment": (has, silent, lacks),
        "coloured": (has[:2], [plain, has[2], silent[0]], against),
        "not garment": (lacks, silent, has),
        "warm": (warm, maybe_warm, not_warm),
    }
    return sentence(rng.choice(table[form][label])), sentence(hypothesis)


def posture(rng: random.Random, label: int) -> Pair:
    """Sleeping, sitting, running, ...: what somebody does rules the others out."""
    who = person(rng).text
    (one, one_places), (other, other_places) = rng.sample(lx.POSTURES, 2)
    form = rng.choice(("doing", "not doing", "awake", "not awake"))
    if {one, other} == {"sleeping", "sitting"}:
        return posture(rng, label)
    if form in ("awake", "not awake") and one == "sleeping":
        one, one_places, other, other_places = other, other_places, one, one_places
    at_one, at_other = rng.choice(one_places), rng.choice(other_places)
    stay = rng.choice(lx.STAY_PLACES)
    hypothesis = {
        "doing": f"{who} is {one}",
        "not doing": f"{who} is not {one} now",
        "awake": f"{who} is awake now",
        "not awake": f"{who} is not awake now",
    }[form]
    if rng.random() < 0.5 and form == "doing":
        hypothesis = f"{who} is {one} {at_one}"
    silent = [f"{who} is {stay}", f"{who} is {stay} today"]
    if "doing" in form:
        silent = [
            f"{who} is happy and healthy",
            f"{who} is with a friend",
            f"{who} is tired today",
            f"{who} is not hungry",
        ]
    asleep = [f"{who} is sleeping {rng.choice(lx.POSTURES[0][1])}", f"{who} is asleep at home"]
    does, does_other = [f"{who} is {one} {at_one}"], [f"{who} is {other} {at_other}"]
    with_extra = [f"{who} is happy and is {one} {at_one}", f"this morning {who} is {one} {at_one}"]
    with_extra.append(f"{who} is {one} {at_one} and is alone")
    table = {
        "doing": (with_extra, silent, [*does_other, f"{who} is not {one} now"]),
        "not doing": (does_other, silent, does + with_extra[1:2]),
        "awake": (does, silent, asleep),
        "not awake": (asleep, silent, does),
    }
    return sentence(rng.choice(table[form][label])), sentence(hypothesis)


def company(rng: random.Random, label: int) -> Pair:
    """With whom somebody does something, or alone."""
    who = gendered(rng)
    doing = rng.choice(lx.COMPANY_ACTIVITIES)
    pool = lx.RELATIVES[:5] if who in lx.NAMES or who.child else lx.ELDER_RELATIVES
    friend, other = (f"{who.poss} {r}" for r in rng.sample(pool, 2))
    form = rng.choice(("with", "not with", "plain", "alone"))
    hypothesis = {
        "with": f"{who.text} is {doing} with {friend}",
        "not with": f"{who.text} is not {doing} with {friend}",
        "plain": f"{who.text} is {doing}",
        "alone": f"{who.text} is {doing} alone",
    }[form]
    together = [
        f"{who.text} is {doing} with {friend} and {other}",
        f"{who.text} is {doing} with {other} and {friend}",
    ]
    just = [f"{who.text} is {doing} with {friend}"]
    alone = [f"{who.text} is {doing} alone", f"{who.text} is {doing} alone today"]
    silent = [f"{who.text} is {doing}", f"{who.text} is {doing} today"]
    table = {
        "with": (together, silent, alone),
        "not with": (alone, silent, just + together),
        "plain": (
            just + alone[:1],
            [f"{who.text} is with {friend}", f"{who.text} is alone today"],
            [f"{who.text} is not {doing} today", f"{who.text} and {friend} are not {doing}"],
        ),
        "alone": (
            [f"{who.text} is alone and is {doing}", f"today {who.text} is {doing} alone"],
            silent,
            just + together,
        ),
    }
    premise = rng.choice(table[form][label])
    return sentence(premise), sentence(hypothesis)


def purpose(rng: random.Random, label: int) -> Pair:
    """For whom somebody buys, cooks or carries something."""
    act = rng.choice([a for a in lx.ACTIVITIES if a.base in ("buy", "cook", "draw")])
    who = rng.choice([p for p in lx.PEOPLE if p.poss and (act.children_too or not p.child)])
    thing, extra = two(rng, act.objects)
    pool = lx.RELATIVES if who in lx.NAMES or who.child else lx.ELDER_RELATIVES
    friend, other = (f"{who.poss} {r}" for r in rng.sample(pool, 2))
    place = rng.choice(act.places)
    form = rng.choice(("for", "not for", "something"))
    hypothesis = {
        "for": f"{who.text} is {act.ing} {thing} for {friend}",
        "not for": f"{who.text} is not {act.ing} {thing} for {friend}",
        "something": f"{who.text} is {act.ing} something for {friend}",
    }[form]
    does = [
        f"{who.text} is {act.ing} {thing} and {extra} for {friend}",
        f"{who.text} is {act.ing} {thing} for {friend} and {other}",
        f"{who.text} is {place} and is {act.ing} {thing} for {friend}",
    ]
    not_for = [
        f"{who.text} is not {act.ing} anything for {friend}",
        f"{who.text} is {act.ing} {thing} for {other} but nothing for {friend}",
    ]
    silent = [
        f"{who.text} is {act.ing} {thing} {place}",
        f"{who.text} is {act.ing} {thing} and {extra} {place}",
    ]
    table = {
        "for": (does, silent, not_for),
        "not for": (not_for, silent, does),
        "something": (does, silent, not_for),
    }
    return sentence(rng.choice(table[form][label])), sentence(hypothesis)


def synonym(rng: random.Random, label: int) -> Pair:
    """Another word for the same property, or its opposite."""
    word, same, opposite, subjects = rng.choice(lx.SYNONYMS)
    if rng.random() < 0.3:
        word, same, opposite = opposite, opposite, rng.choice((word, same))
    noun, other = two(rng, subjects)
    who, them = f"the {noun}", f"the {other}"
    negated = rng.random() < 0.5
    said = settle(label, negated)
    hypothesis = f"{who} is {'not ' if negated else ''}{same}"
    if rng.random() < 0.3:
        word, same = same, word
        hypothesis = f"{who} is {'not ' if negated else ''}{same}"
    if said == "nothing":
        premise = rng.choice(
            [
                f"{them} is {word}",
                f"{them} is {opposite}",
                f"{them} is not {word}",
                f"{them} is {opposite} today",
            ]
        )
    elif said == "yes":
        premise = rng.choice(
            [
                f"{who} is {word}",
                f"{who} is {word} but {them} is {opposite}",
                f"{them} is {opposite} and {who} is {word}",
            ]
        )
    else:
        premise = rng.choice(
            [f"{who} is {opposite}", f"{who} is {opposite} but {them} is {word}", f"{who} is not {word}"]
        )
    return sentence(premise), sentence(hypothesis)


def weather(rng: random.Random, label: int) -> Pair:
    """The weather here and there, yesterday and today."""
    pair = rng.choice(lx.WEATHER)
    word, opposite = rng.sample(pair, 2)
    place = rng.choice(lx.WEATHER_PLACES)
    unrelated = rng.choice(("dry", "wet") if "cold" in pair else ("hot", "cold"))
    when = rng.choice(("yesterday", "today"))
    other = "today" if when == "yesterday" else "yesterday"
    be, other_be = ("was", "is") if when == "yesterday" else ("is", "was")
    negated = rng.random() < 0.5
    said = settle(label, negated)
    hypothesis = f"it {be} {'not ' if negated else ''}{word} {place} {when}"
    if said == "nothing":
        forms = [
            f"it {other_be} {word} {place} {other}",
            f"it {other_be} {opposite} {place} {other}",
            f"it {other_be} not {word} {place} {other}",
            f"{other} it {other_be} very {word} {place}",
            f"it {be} {unrelated} {place} {when}",
            f"it {be} not {unrelated} {place} {when}",
        ]
    else:
        right = word if said == "yes" else opposite
        wrong = opposite if said == "yes" else word
        forms = [
            f"{when} it {be} {right} {place}",
            f"it {be} very {right} {place} {when}",
            f"it {be} {right} {place} {when} but it {other_be} {wrong} {other}",
            f"{when} it {be} {right} and not {wrong} {place}",
        ]
    return sentence(rng.choice(forms)), sentence(hypothesis)


def quantity(rng: random.Random, label: int) -> Pair:
    """All, some and none of a group."""
    group, properties = rng.choice(lx.GROUPS)
    one, other = two(rng, properties)
    form = rng.choice(("all", "some", "none", "some not"))
    hypothesis = {
        "all": f"all the {group} are {one}",
        "some": f"some of the {group} are {one}",
        "none": f"none of the {group} are {one}",
        "some not": f"some of the {group} are not {one}",
    }[form]
    every = [f"all the {group} are {one} and {other}", f"all the {group} are {other} and {one}"]
    nothing = [
        f"none of the {group} are {one} or {other}",
        f"all the {group} are {other} but none of them are {one}",
    ]
    every_other = [f"all the {group} are {other}", f"some of the {group} are {other}"]
    some_not = [f"some of the {group} are not {one}", f"all the {group} are {other} but some are not {one}"]
    table = {
        "all": (every, [f"some of the {group} are {one}", *every_other], some_not + nothing),
        "some": ([*every, f"all the {group} are {one}"], every_other, nothing),
        "none": (nothing, every_other, [*every, f"some of the {group} are {one} and {other}"]),
        "some not": (nothing, every_other, every),
    }
    return sentence(rng.choice(table[form][label])), sentence(hypothesis)


def feeling(rng: random.Random, label: int) -> Pair:
    """How somebody is: two states denied or affirmed together."""
    who = (
        rng.choice([p for p in lx.PEOPLE if p.text != "the cook"]).text if rng.random() < 0.8 else "the baby"
    )
    state, opposite, asides = rng.choice(lx.FEELINGS)
    aside = rng.choice(asides)
    if who == "the baby" and aside not in ("hungry", "thirsty", "cold", "happy", "in the bedroom", "at home"):
        return feeling(rng, label)
    negated = rng.random() < 0.5
    said = settle(label, negated)
    hypothesis = f"{who} is {'not ' if negated else ''}{state}"
    forms = {
        "yes": [
            f"{who} is {state} and {aside}",
            f"{who} is {state} and is not {aside}",
            f"{who} is {aside} and {state}",
        ],
        "no": [f"{who} is not {state} and is not {aside}", f"{who} is {aside} but not {state}"],
        "nothing": [f"{who} is {aside}", f"{who} is not {aside}", f"{who} is {aside} today"],
    }[said]
    if said == "no" and opposite:
        forms += [f"{who} is {opposite}", f"{who} is {opposite} today"]
    return sentence(rng.choice(forms)), sentence(hypothesis)


FAMILIES: tuple[Family, ...] = (
    attribute,
    contrast,
    colour,
    hypernym,
    modifier,
    conjunction,
    counting,
    location,
    two_places,
    day,
    possession,
    likes,
    crowd,
    clothing,
    posture,
    company,
    purpose,
    synonym,
    weather,
    quantity,
    feeling,
)
