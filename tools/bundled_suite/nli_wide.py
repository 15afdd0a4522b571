"""Families of templates over a wide everyday vocabulary: kinds of things, doings, states, reasons.

They follow ``nli_templates``: the hypothesis is drawn without looking at the label. They have many words and few
forms, where those have few words and many forms. No word of the out-of-distribution test items' fields belongs here.
"""

from __future__ import annotations

import random

import lexicon as lx
from nli_templates import (
    CONTRADICTION,
    ENTAILMENT,
    NEUTRAL,
    Family,
    Pair,
    gendered,
    sentence,
    two,
    with_article,
)

# kind of thing: (what a thing of it is called, its things, (doing in -ing, base form) that fits them all)
KINDS: tuple[tuple[str, tuple[str, ...], tuple[tuple[str, str], ...]], ...] = (
    ("piece of fruit", ("apple", "pear", "plum", "peach", "banana", "orange", "lemon", "cherry", "mango"),
     (("washing", "wash"), ("eating", "eat"), ("cutting", "cut"), ("smelling", "smell"), ("holding", "hold"))),
    ("vegetable", ("carrot", "onion", "cabbage", "potato", "cucumber", "pumpkin", "turnip", "radish", "leek"),
     (("washing", "wash"), ("cutting", "cut"), ("cooking", "cook"), ("weighing", "weigh"))),
    ("tool", ("hammer", "saw", "spade", "rake", "screwdriver", "axe", "drill", "pair of scissors", "ladder"),
     (("holding", "hold"), ("hanging up", "hang up"), ("cleaning", "clean"), ("looking for", "look for"))),
    ("musical instrument", ("drum", "flute", "guitar", "piano", "trumpet", "harp", "accordion"),
     (("playing", "play"), ("buying", "buy"), ("listening to", "listen to"), ("selling", "sell"))),
    ("piece of furniture", ("chair", "table", "bed", "sofa", "cupboard", "desk", "shelf", "bench", "stool"),
     (("moving", "move"), ("painting", "paint"), ("mending", "mend"), ("dusting", "dust"))),
    ("vehicle", ("car", "bus", "tractor", "motorbike", "taxi", "lorry", "van", "bicycle", "scooter"),
     (("washing", "wash"), ("looking at", "look at"), ("photographing", "photograph"), ("drawing", "draw"))),
    ("bird", ("sparrow", "pigeon", "owl", "crow", "parrot", "eagle", "swan", "goose", "stork", "robin"),
     (("watching", "watch"), ("drawing", "draw"), ("feeding", "feed"), ("describing", "describe"))),
    ("insect", ("ant", "fly", "mosquito", "wasp", "beetle", "grasshopper", "moth", "cricket"),
     (("watching", "watch"), ("drawing", "draw"), ("catching", "catch"), ("chasing", "chase"))),
    ("flower", ("rose", "tulip", "daisy", "sunflower", "lily", "poppy", "violet", "carnation"),
     (("picking", "pick"), ("smelling", "smell"), ("watering", "water"), ("planting", "plant"))),
    ("toy", ("doll", "ball", "kite", "puppet", "balloon", "teddy bear", "rocking horse", "puzzle", "top"),
     (("hiding", "hide"), ("throwing away", "throw away"), ("wrapping", "wrap"), ("finding", "find"))),
    ("piece of clothing", ("skirt", "jacket", "jumper", "scarf", "coat", "dress", "blouse", "cap", "belt"),
     (("ironing", "iron"), ("folding", "fold"), ("sewing", "sew"), ("choosing", "choose"))),
    ("piece of jewellery", ("ring", "necklace", "bracelet", "brooch", "golden chain"),
     (("stealing", "steal"), ("polishing", "polish"), ("wearing", "wear"), ("hiding", "hide"))),
    ("animal", ("goat", "pig", "mouse", "fox", "elephant", "monkey", "lion", "camel", "frog", "turtle", "hedgehog"),
     (("watching", "watch"), ("stroking", "stroke"), ("photographing", "photograph"), ("following", "follow"))),
    ("pet", ("kitten", "puppy", "hamster", "goldfish", "canary", "guinea pig"),
     (("stroking", "stroke"), ("feeding", "feed"), ("buying", "buy"), ("looking for", "look for"))),
    ("sweet thing", ("biscuit", "piece of candy", "pancake", "doughnut", "spoonful of honey", "piece of cake"),
     (("eating", "eat"), ("tasting", "taste"), ("sharing", "share"), ("enjoying", "enjoy"))),
    ("building", ("house", "school", "church", "library", "cinema", "bakery", "barn", "castle", "mosque"),
     (("entering", "enter"), ("leaving", "leave"), ("painting", "paint"), ("sketching", "sketch"))),
    ("relative", ("aunt", "uncle", "cousin", "grandmother", "nephew", "niece", "brother", "sister"),
     (("visiting", "visit"), ("calling", "call"), ("hugging", "hug"), ("helping", "help"))),
    ("game", ("game of chess", "game of cards", "game of dominoes", "game of hide-and-seek", "round of golf"),
     (("winning", "win"), ("playing", "play"), ("starting", "start"), ("planning", "plan"))),
)  # fmt: skip
KIND_PLACES = (
    "in the yard", "at the market", "in the living room", "on the balcony", "near the pond", "at the farm",
    "in a small town", "by the window", "next door", "on the roof", "at the seaside", "behind the barn",
)  # fmt: skip
ADVERBS = (
    "again", "quietly", "this afternoon", "with a smile", "after lunch", "in the rain", "for the first time",
    "slowly", "before dinner", "on Sunday", "with great care", "in a hurry",
)  # fmt: skip
SURNAMES = (
    "Mrs Brown", "Mr Khan", "my aunt", "our neighbour", "the postman", "the baker", "the shepherd", "Julia",
    "Hassan", "the tall boy", "Lucy", "my cousin", "David", "the gardener", "Fatima",
    "the old lady", "the shopkeeper", "Ivan", "the new pupil", "the milkman", "Clara", "his uncle",
)  # fmt: skip

# What somebody is doing or how somebody is: (narrow, wide, what rules both out). The narrow one entails the wide one.
DOINGS: tuple[tuple[str, str, str], ...] = (
    ("whispering to a friend", "talking to somebody", "quiet and still"),
    ("running along the beach", "outdoors", "indoors"),
    ("sobbing loudly", "crying", "laughing"),
    ("giggling at a joke", "laughing", "crying"),
    ("jogging in the woods", "moving", "standing still"),
    ("fast asleep", "asleep", "wide awake"),
    ("lying on the sofa", "lying down", "standing up"),
    ("kneeling on the carpet", "on the floor", "up on the roof"),
    ("having breakfast", "having a meal", "fasting"),
    ("eating soup", "eating", "chewing nothing"),
    ("furious", "angry", "calm"),
    ("terrified of the storm", "afraid", "without fear"),
    ("overjoyed", "happy", "unhappy"),
    ("sleepy", "tired", "full of energy"),
    ("starving", "hungry", "full after a big meal"),
    ("freezing", "cold", "warm"),
    ("soaked to the skin", "wet", "completely dry"),
    ("penniless", "poor", "rich"),
    ("a widow", "without a husband", "married to a baker"),
    ("a baby", "very young", "old and wrinkled"),
    ("very old", "old", "a small child"),
    ("driving a taxi", "in a car", "on a horse"),
    ("riding a donkey", "riding an animal", "walking on foot"),
    ("climbing a tall tree", "off the ground", "sitting on the ground"),
    ("swimming in the lake", "in the water", "on dry land"),
    ("singing a lullaby", "singing", "keeping quiet"),
    ("shouting at the dog", "making noise", "making no noise"),
    ("reading a novel", "reading", "watching television"),
    ("painting the fence", "busy", "resting"),
    ("digging in the garden", "outside", "relaxing inside"),
    ("washing the plates", "doing housework", "doing nothing"),
    ("sweeping the stairs", "cleaning something", "making a mess"),
    ("knitting a jumper", "making clothes", "tearing clothes apart"),
    ("baking biscuits", "making something to eat", "far from any kitchen"),
    ("waiting for the train", "waiting", "on the moving train"),
    ("in the bathroom", "inside the house", "outside the house"),
    ("alone on the island", "alone", "surrounded by friends"),
    ("an only child", "without brothers and sisters", "one of seven brothers and sisters"),
    ("bald", "without hair", "proud of long hair"),
    ("deaf", "unable to hear", "able to hear everything"),
    ("the tallest pupil", "taller than the other pupils", "the shortest pupil"),
    ("wearing a woollen hat", "wearing something warm", "wearing only swimming trunks"),
    ("wearing sunglasses", "wearing glasses", "wearing no glasses"),
    ("barefoot", "without shoes", "wearing heavy boots"),
    ("limping", "walking with difficulty", "walking with ease"),
    ("late for the lesson", "not on time", "on time"),
    ("the first to arrive", "early", "long overdue"),
    ("coughing and sneezing", "not well", "perfectly healthy"),
    ("in bed with a fever", "ill", "in good health"),
    ("wandering through the fog", "walking", "sitting down"),
    ("carrying two suitcases", "with luggage", "travelling without luggage"),
    ("skipping and jumping", "moving about", "sitting still"),
    ("drinking lemonade", "drinking", "without a drink"),
    ("writing a postcard", "writing", "reading quietly"),
    ("peeling potatoes", "preparing food", "away from any food"),
    ("on holiday in the mountains", "on holiday", "busy in the office"),
    ("tied to a chair", "unable to walk away", "able to walk about"),
    ("hiding under the blanket", "hiding", "in plain sight"),
    ("whistling a tune", "making music", "quiet as a mouse"),
    ("blind", "unable to see", "able to see well"),
)
ASIDES = (
    "wearing a yellow shirt", "thinking about the weekend", "from a small town", "together with a cousin", "left-handed",
    "fond of animals", "the owner of a grey cat", "new in the village", "a good dancer", "wearing a silver ring", "born in May",
    "a friend of the baker", "proud of the family", "curious about the news", "fond of cakes", "looking forward to summer",
)  # fmt: skip

# (things, one property, another word or what follows from it, its opposite)
STATES: tuple[tuple[tuple[str, ...], str, str, str], ...] = (
    (("glass", "jug", "bucket", "jar", "basin"), "empty", "without anything in it", "full to the brim"),
    (("window", "gate", "drawer", "cupboard", "suitcase"), "wide open", "open", "locked"),
    (("knife", "axe", "pair of scissors", "needle"), "sharp", "not a toy for small children", "blunt"),
    (("blanket", "towel", "pillow", "carpet"), "soft", "pleasant to touch", "rough"),
    (("lamp", "candle", "torch", "lantern"), "lit", "giving light", "out"),
    (("river", "lake", "pond", "well"), "deep", "not shallow", "shallow"),
    (("hill", "tower", "chimney", "fence"), "tall", "high", "low"),
    (("sum", "puzzle", "exercise", "riddle"), "hard", "difficult", "simple"),
    (("sum", "address", "spelling", "date"), "wrong", "not right", "right"),
    (("bread", "milk", "fish", "cheese"), "spoiled", "no longer good to eat or drink", "fresh"),
    (("ring", "shirt", "present", "toy"), "costly", "not cheap", "cheap"),
    (("rope", "path", "hall", "ribbon"), "narrow", "not wide", "wide"),
    (("baby", "puppy", "kitten", "lamb"), "lively", "full of life", "motionless"),
    (("horse", "bull", "dog", "goose"), "tame", "used to people", "wild"),
    (("chair", "toy", "clock", "zip"), "torn apart", "no good any more", "in perfect order"),
    (("soup", "tea", "stew", "porridge"), "boiling", "hot", "ice-cold"),
    (("street", "hall", "square", "park"), "crowded", "full of people", "without a soul"),
    (("road", "floor", "step", "path"), "slippery", "not safe to run on", "dry and safe"),
    (("sky", "sea", "evening", "room"), "dark", "not bright", "bright"),
    (("story", "film", "song", "joke"), "boring", "not interesting", "exciting"),
    (("egg", "potato", "bean", "sausage"), "raw", "uncooked", "well cooked"),
    (("shirt", "sheet", "apron", "sock"), "spotless", "clean", "filthy"),
    (("pencil", "stick", "string", "tail"), "very long", "long", "very short"),
    (("rock", "box", "sack", "chest"), "very heavy", "heavy", "as light as a feather"),
    (("garden", "meadow", "lawn", "field"), "green", "not brown", "brown and dry"),
    (("glove", "parcel", "postcard", "message"), "missing", "nowhere to be found", "in its place"),
    (("twin", "boy", "girl", "pupil"), "honest", "not a liar", "a liar"),
    (("cup", "plate", "mirror", "vase"), "chipped", "not perfect", "flawless"),
)
MORE_ABOUT = ("old", "from Italy", "a present from the grandfather", "well known in the village", "the property of the school",
    "much loved", "near the fountain", "in an old photograph", "the subject of many jokes")  # fmt: skip

# (what happened, why); either clause may be asked about, and each has its denial
REASONS: tuple[tuple[str, str, str, str], ...] = (
    (
        "{n} stayed at home",
        "{n} did not stay at home",
        "the roads were flooded",
        "the roads were not flooded",
    ),
    (
        "{n} gave the piano away",
        "{n} did not give the piano away",
        "the flat was tiny",
        "the flat was large enough",
    ),
    ("{n} missed the wedding", "{n} came to the wedding", "the train was late", "the train was on time"),
    ("{n} wore gloves", "{n} wore no gloves", "the snow was deep", "there was no snow"),
    ("{n} bought new boots", "{n} bought no boots", "the old boots had holes", "the old boots had no holes"),
    ("{n} whispered", "{n} talked in a loud voice", "the baby was asleep", "the baby was awake"),
    ("{n} laughed", "{n} did not laugh", "the clown fell over", "the clown did not fall"),
    ("{n} was punished", "{n} was not punished", "the vase was in pieces", "the vase was in one piece"),
    ("{n} could not sleep", "{n} slept well", "the neighbours were noisy", "the neighbours were quiet"),
    ("{n} lit a candle", "{n} did not light a candle", "the lamp was out", "the lamp was on"),
    (
        "{n} thanked the baker",
        "{n} did not thank the baker",
        "the cake was free",
        "the cake was not free",
    ),
    ("{n} went to the doctor", "{n} did not go to the doctor", "the cough got worse", "the cough got better"),
    ("{n} opened the umbrella", "{n} left the umbrella closed", "it began to rain", "it did not rain"),
    ("{n} left the party", "{n} remained at the party", "the music was too loud", "the music was soft"),
    ("{n} closed the curtains", "{n} left the curtains open", "the sun was too bright", "there was no sun"),
    (
        "{n} climbed onto the roof",
        "{n} stayed off the roof",
        "the ball lay on the roof",
        "there was no ball on the roof",
    ),
    (
        "{n} left the soup in the bowl",
        "{n} ate the soup",
        "the soup was salty",
        "there was no salt in the soup",
    ),
    ("{n} won a prize", "{n} did not win anything", "the drawing was excellent", "the drawing was poor"),
    ("{n} walked home", "{n} did not walk home", "there were no buses", "there were many buses"),
    (
        "{n} was proud",
        "{n} was not proud",
        "the children won the match",
        "the children did not win the match",
    ),
)


def somebody(rng: random.Random) -> str:
    """Somebody, of all that there are."""
    return rng.choice(SURNAMES) if rng.random() < 0.6 else gendered(rng).text


def kinds(rng: random.Random, label: int) -> Pair:
    """A pear is a piece of fruit, a hammer is a tool: from the thing to the kind and back, affirmed or denied."""
    kind, things, doings = rng.choice(KINDS)
    ing, _ = rng.choice(doings)
    thing, other = two(rng, things)
    who, aside = somebody(rng), rng.choice((*KIND_PLACES, *ADVERBS))
    form = rng.choice(("thing", "kind", "not thing", "not kind"))
    a_thing, an_other, a_kind = with_article(thing), with_article(other), with_article(kind)
    hypothesis = {
        "thing": f"{who} is {ing} {a_thing}",
        "kind": f"{who} is {ing} {a_kind}",
        "not thing": f"{who} is not {ing} {a_thing}",
        "not kind": f"{who} is not {ing} {a_kind}",
    }[form]
    has_thing = [f"{who} is {ing} {a_thing} {aside}", f"{who} is {ing} {an_other} and {a_thing}"]
    has_other = [f"{who} is {ing} {an_other} {aside}"]
    has_kind = [f"{who} is {ing} {a_kind} {aside}"]
    lacks = [f"{who} is not {ing} {a_thing} {aside}", f"{who} is {ing} {an_other}, not {a_thing}"]
    lacks_all = [f"{who} is not {ing} any kind of {kind} {aside}", f"{who} is {aside} without {ing} {a_kind}"]
    them = somebody(rng)
    silent = [f"{who} is {rng.choice(KIND_PLACES)}"]
    if them != who:
        silent.append(f"{them} is {ing} {a_thing} {aside}")
    table = {
        "thing": (has_thing, has_kind + silent, lacks + lacks_all),
        "kind": (has_thing + has_other, silent, lacks_all),
        "not thing": (lacks + lacks_all, has_kind + silent, has_thing),
        "not kind": (lacks_all, silent, has_thing + has_other),
    }
    return sentence(rng.choice(table[form][label])), sentence(hypothesis)


def doing(rng: random.Random, label: int) -> Pair:
    """Somebody who whispers talks, who is silent does not: narrow and wide words for what one does or is."""
    narrow, wide, against = rng.choice(DOINGS)
    who, be = somebody(rng), rng.choice(("is", "was"))
    aside, further = two(rng, ASIDES)
    asked = rng.choice(("narrow", "wide", "against", "not narrow", "not wide", "not against"))
    word = {"narrow": narrow, "wide": wide, "against": against}[asked.removeprefix("not ")]
    hypothesis = f"{who} {be} {'not ' if asked.startswith('not') else ''}{word}"

    def said(text: str) -> list[str]:
        return [
            f"{who} {be} {text}",
            f"{who}, who {be} {aside}, {be} {text}",
            f"{who} {be} {text} and {aside}",
            f"{who} {be} {aside} and {text}",
        ]

    silent = [f"{who} {be} {aside}", f"{who} {be} {aside} and {further}", f"{who} {be} not {aside}"]
    denied = [f"{who} {be} not {wide}", f"{who} {be} {aside} but not {wide}"]
    table = {
        "narrow": (said(narrow)[1:], said(wide) + silent, said(against) + denied),
        "wide": (said(narrow), silent, said(against) + denied),
        "against": (said(against)[1:], silent, said(narrow) + said(wide)),
        "not narrow": (said(against) + denied, said(wide) + silent, said(narrow)),
        "not wide": (said(against), silent, said(narrow)),
        "not against": (said(narrow) + said(wide), silent, said(against)[1:]),
    }
    return sentence(rng.choice(table[asked][label])), sentence(hypothesis)


def state(rng: random.Random, label: int) -> Pair:
    """A thing has a property, what follows from it, or its opposite; another thing has it."""
    things, word, follows, opposite = rng.choice(STATES)
    noun, other = two(rng, things)
    owner = rng.choice(("the", "the", somebody(rng) + "'s"))
    be = rng.choice(("is", "was"))
    it, them = f"{owner} {noun}", f"the {other}"
    about = rng.choice(MORE_ABOUT)
    asked = rng.choice(("word", "follows", "opposite", "not word", "not opposite"))
    text = {"word": word, "follows": follows, "opposite": opposite}[asked.removeprefix("not ")]
    hypothesis = f"{it} {be} {'not ' if asked.startswith('not') else ''}{text}"
    yes = [f"{it} {be} {word} and {about}", f"{it}, which {be} {about}, {be} {word}"]
    yes += [f"{it} {be} {word} but {them} {be} {opposite}"]
    no = [
        f"{it} {be} {opposite}",
        f"{it} {be} {opposite} and {about}",
        f"{them} {be} {word} but {it} {be} {opposite}",
    ]
    silent = [f"{it} {be} {about}", f"{them} {be} {word}", f"{them} {be} {opposite} and {it} {be} {about}"]
    table = {
        "word": (yes, silent, no),
        "follows": (yes, silent, no),
        "opposite": (no[1:], silent, yes),
        "not word": (no, silent, yes),
        "not opposite": (yes, silent, no[1:]),
    }
    return sentence(rng.choice(table[asked][label])), sentence(hypothesis)


def reason(rng: random.Random, label: int) -> Pair:
    """What happened and why; one of the two is asked about, affirmed or denied."""
    one, another = rng.sample(REASONS, 2)
    who = somebody(rng)
    side = rng.choice((0, 2))
    asked = rng.choice((side, side + 1))
    event, no_event, cause, no_cause = (text.format(n=who) for text in one)
    yes = [f"{event} because {cause}", f"{cause}, so {event}"]
    no = [f"{no_event} because {no_cause}", f"{no_cause}, so {no_event}"]
    kept = (event, no_event, cause, no_cause)[2 - side : 4 - side]  # the half that is not asked about
    silent = [f"{another[0].format(n=who)} because {another[2]}", *kept]
    right, wrong = (yes, no) if asked in (0, 2) else (no, yes)
    premise = {ENTAILMENT: right, NEUTRAL: silent, CONTRADICTION: wrong}[label]
    return sentence(rng.choice(premise)), sentence((event, no_event, cause, no_cause)[asked])


def among_others(rng: random.Random, label: int) -> Pair:
    """A pair of another family of this file, with more in the premise that does not matter."""
    premise, hypothesis = rng.choice((kinds, doing, state, reason))(rng, label)
    person, aside = rng.choice(lx.NAMES).text, rng.choice(ASIDES)
    more = [f"{person} is {aside}", f"it is {rng.choice(('cold', 'hot', 'late', 'windy'))} today"]
    text = premise.rstrip(".")
    first = text if text.split()[0] in NAMED else text[0].lower() + text[1:]
    extra = rng.choice(more)
    if person in text:
        return premise, hypothesis
    return sentence(rng.choice([f"{extra}, and {first}", f"{text}, and {extra}"])), hypothesis


NAMED = {
    word
    for name in (*SURNAMES, *(p.text for p in lx.NAMES))
    for word in name.split()[:1]
    if word[0].isupper()
}
NAMED |= {f"{word}'s" for word in NAMED}
# each has several times the share of a family of ``nli_templates``
WIDE_FAMILIES: tuple[Family, ...] = (kinds, doing, state, reason, among_others)
